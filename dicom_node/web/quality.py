"""How far readers agree with the analysis, over time: the page, the table to take away, and the API."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from dicom_node.app.verdicts import Quality, quality
from dicom_node.core.account import Action
from dicom_node.core.agreement import Share, Week
from dicom_node.core.verdict import Verdict
from dicom_node.web.accesses import note_query
from dicom_node.web.api_parts import api_router
from dicom_node.web.auth.needs import needs
from dicom_node.web.rendering import page

if TYPE_CHECKING:
    from dicom_node.web.app import WebSources

router = APIRouter(include_in_schema=False)
api = api_router()

PERIODS = (30, 90, 365, 3650)
MOST_SHOWN = 200
MOST_WEEKS = 52
_COLUMNS = (
    "study_instance_uid",
    "revision",
    "at",
    "reader",
    "agrees",
    "called",
    "called_as_a_whole",
    "assessed",
    "false_positives",
    "missed",
    "bundle",
    "bundle_sha256",
    "note",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Days = Annotated[int, Query(ge=1, le=3650, description="Of verdicts given in the last so many days.")]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A week in the picture, in its units: the bar from `y` down, the interval from `high` down to `low`."""

    monday: date
    x: float
    y: float
    height: float
    high: float
    low: float
    agreed: Share


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Shares of agreement by week. The picture is `width` by `height`; shares go from `bottom` (0) up to `top` (1)."""

    width: float
    height: float
    left: float
    top: float
    bottom: float
    bar_width: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, float], ...]


def chart_of(weeks: Sequence[Week]) -> Chart:
    """The picture of these weeks, of the last `MOST_WEEKS` of them; a week without a verdict is a gap."""
    left, top, bottom, width = 44.0, 12.0, 172.0, 720.0
    weeks = weeks[-MOST_WEEKS:]
    step = (width - left - 8) / max(len(weeks), 8)

    def height_of(share: float) -> float:
        return round(bottom - share * (bottom - top), 1)

    bars = []
    for place, week in enumerate(weeks):
        value, interval = week.agreed.value, week.agreed.interval
        if value is None or interval is None:
            continue
        y = height_of(value)
        bars.append(
            Bar(
                monday=week.monday,
                x=round(left + place * step, 1),
                y=y,
                height=round(bottom - y, 1),
                high=height_of(interval[1]),
                low=height_of(interval[0]),
                agreed=week.agreed,
            )
        )
    return Chart(
        width=width,
        height=bottom + 24,
        left=left,
        top=top,
        bottom=bottom,
        bar_width=round(step * 0.7, 1),
        bars=tuple(bars),
        ticks=tuple((share, height_of(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
    )


@router.get("/quality")
@needs(Action.LOOK)
def quality_page(request: Request, days: Days = 365) -> Response:
    """Figures, their picture, and the studies where a reader saw it otherwise."""
    found = _found(request, days)
    note_query(request)
    context = {
        "days": days,
        "periods": PERIODS,
        "found": found.agreement,
        "chart": chart_of(found.agreement.weeks),
        "disagreements": found.disagreements[:MOST_SHOWN],
        "more": max(0, len(found.disagreements) - MOST_SHOWN),
    }
    return page(request, "quality.html", context)


@router.get("/quality.csv")
@needs(Action.LOOK)
def quality_table(request: Request, days: Days = 365) -> Response:
    """One line a study with its newest verdict, for a spreadsheet."""
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        verdicts = uow.verdicts.newest(since=sources.clock.now() - timedelta(days=days))
    note_query(request)
    headers = {"Content-Disposition": 'attachment; filename="verdicts.csv"'}
    return Response(as_csv(verdicts), media_type="text/csv; charset=utf-8", headers=headers)


@api.get("/quality", summary="How far readers agree with the analysis, among the studies they gave a verdict on")
@needs(Action.LOOK)
def quality_figures(request: Request, days: Days = 365) -> dict[str, Any]:
    """Shares with their 95 % intervals (Wilson), by week, level and bundle. Reviewed studies are a selected sample."""
    note_query(request)
    return _found(request, days).as_json()


def as_csv(verdicts: Iterable[Verdict]) -> str:
    """RFC 4180. What a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    for verdict in verdicts:
        called = verdict.called
        cells = (
            verdict.study_instance_uid,
            verdict.revision,
            verdict.at.isoformat(),
            verdict.reader,
            "yes" if verdict.agrees else "no",
            " ".join(called.levels),
            "yes" if called.whole else "no",
            " ".join(called.assessed),
            " ".join(verdict.false_positives),
            " ".join(verdict.missed),
            f"{called.bundle_name} {called.bundle_version}",
            called.bundle_sha256,
            verdict.note,
        )
        table.writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _found(request: Request, days: int) -> Quality:
    sources = _sources(request)
    with sources.unit_of_work() as uow:
        return quality(uow, since=sources.clock.now() - timedelta(days=days))


def _sources(request: Request) -> WebSources:
    sources: WebSources = request.app.state.sources
    return sources
