"""The node worklist: a page of studies, narrowed by what the address says, and kept fresh while it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from dicom_node.app.queries import counted_page
from dicom_node.core.account import Action
from dicom_node.core.standing import WorklistFilter
from dicom_node.core.worklist import WorklistState
from dicom_node.web.accesses import note_query
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page as _page
from dicom_node.web.shown import shown_row

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)

PAGE_LENGTH = 100
LAST_PAGE = 100_000
_LONGEST_TEXT = 200
_DAYS = (date(1970, 1, 2), date(9998, 12, 30))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the address of the page says."""

    wanted: WorklistFilter
    from_day: date | None = None
    to_day: date | None = None

    def address(self, *, page: int = 1, part: str = "") -> str:
        """The address that says the same, of another page."""
        wanted = self.wanted
        said = {
            "q": wanted.text,
            "status": wanted.state.value if wanted.state else "",
            "fracture": {True: "yes", False: "no", None: ""}[wanted.is_positive],
            "source": wanted.source,
            "from": self.from_day.isoformat() if self.from_day else "",
            "to": self.to_day.isoformat() if self.to_day else "",
            "page": str(page) if page > 1 else "",
            "part": part,
        }
        query = urlencode({name: value for name, value in said.items() if value})
        return f"/?{query}" if query else "/"

    def but(self, **changes: object) -> Asked:
        """Narrowed otherwise."""
        return replace(self, wanted=replace(self.wanted, **changes))  # type: ignore[arg-type]

    @property
    def is_narrowed(self) -> bool:
        """Whether it means anything else than every study."""
        return self.wanted != WorklistFilter()


def asked(
    q: Annotated[str, Query(max_length=_LONGEST_TEXT)] = "",
    status: WorklistState | None = None,
    fracture: Annotated[str, Query(pattern="^(yes|no|)$")] = "",
    source: Annotated[str, Query(max_length=64)] = "",
    from_day: Annotated[str, Query(alias="from", max_length=10)] = "",
    to_day: Annotated[str, Query(alias="to", max_length=10)] = "",
) -> Asked:
    """The filter that a form's fields mean. What is no date narrows nothing, as an empty field does."""
    first, last = _day(from_day), _day(to_day)
    wanted = WorklistFilter(
        text=q.strip(),
        state=status,
        is_positive={"yes": True, "no": False}.get(fracture),
        source=source.strip(),
        from_at=_midnight(first) if first else None,
        before=_midnight(last + timedelta(days=1)) if last else None,
    )
    return Asked(wanted=wanted, from_day=first, to_day=last)


@router.get("/")
@needs(Action.LOOK)
def worklist(
    request: Request,
    asked: Annotated[Asked, Depends(asked)],
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
    part: str = "",
) -> Response:
    """The node worklist; `part=rows` is the table alone, for the refresh."""
    with _sources(request).unit_of_work() as uow:
        found = counted_page(uow, asked.wanted, limit=PAGE_LENGTH, offset=(page - 1) * PAGE_LENGTH)
    if part != "rows":  # the page refreshes itself: whoever is shown it was recorded when it was opened
        note_query(request)
    context = {
        "rows": [shown_row(row) for row in found.rows],
        "asked": asked,
        "states": _by_state(found.tally),
        "total": found.total,
        "page": page,
        "page_length": PAGE_LENGTH,
        "has_more": found.total > page * PAGE_LENGTH,
    }
    return _page(request, "rows.html" if part == "rows" else "worklist.html", context)


def _by_state(tally: Mapping[tuple[WorklistState, bool], int]) -> tuple[tuple[WorklistState, int], ...]:
    return tuple((state, sum(count for (each, _), count in tally.items() if each is state)) for state in WorklistState)


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _DAYS[0] <= day <= _DAYS[1] else None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
