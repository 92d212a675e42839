"""The node worklist in the database: each study's standing in columns of its row, and pages of it.

How the columns stay true: whoever changes a study, a job or a delivery says so (`Standings.touch`), and before the
commit the standings of those studies are derived anew from the rows, in the same transaction and under the lock of the
study's row. `studies.save` writes those of a study that is being received itself, because that state follows from the
study alone and an image must not cost more statements. `tests/contract/test_worklist.py` holds columns against
`core.standing`.

One index holds everything that narrows and orders a page, so that a page is read from it in order and stops when it is
full; a small one counts. What is asked for a page is written so that SQLite, which knows nothing of how many there are
of each state, cannot take the small one for it and sort a hundred thousand rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, func, select, update

from dicom_node.core.standing import Standing, WorklistFilter, is_receiving, search_text, standing_of, time_rank
from dicom_node.core.study import StudyIntake
from dicom_node.core.worklist import WorklistState
from storage.rows import NEVER_DERIVED, StudyRow, table_of
from storage.transaction import Transaction

if TYPE_CHECKING:
    from storage.deliveries import Deliveries
    from storage.jobs import Jobs
    from storage.studies import Studies

_study = table_of(StudyRow)
_ORDER = (_study.c.finding_rank, _study.c.progress_rank, _study.c.time_rank, _study.c.study_instance_uid)
_DERIVED = update(_study).where(_study.c.study_instance_uid == bindparam("uid"))
_MISSING = select(_study.c.study_instance_uid).where(_study.c.worklist_state == NEVER_DERIVED)
_AT_ONCE = 200
_STATE_WITHOUT_INDEX = _study.c.worklist_state + ""


class Standings:
    """Derives the standings of the studies that a transaction has touched, before it commits."""

    def __init__(self, transaction: Transaction, studies: Studies, jobs: Jobs, deliveries: Deliveries) -> None:
        self._transaction = transaction
        self._studies = studies
        self._jobs = jobs
        self._deliveries = deliveries
        transaction.before_commit(self._derive_touched)

    def derive(self, uids: Sequence[str]) -> None:
        """The columns of these studies are those of `standing_of`."""
        jobs, deliveries = self._jobs.of_studies(uids), self._deliveries.of_studies(uids)
        for study in self._studies.locked(uids):
            uid = study.study_instance_uid
            standing = standing_of(study, jobs.get(uid, ()), deliveries.get(uid, ()))
            texts = {"search_text": search_text(study)}
            self._transaction.write(_DERIVED, {"uid": uid, **texts, **standing_values(standing)})

    def are_missing(self) -> bool:
        """Whether there are studies whose standing was never derived."""
        return self._transaction.read(_MISSING.limit(1)).first() is not None

    def derive_the_rest(self) -> int:
        """Some of the studies whose standing was never derived have one; returns how many, 0 where none is left."""
        uids = tuple(self._transaction.read(_MISSING.limit(_AT_ONCE)).scalars())
        self.derive(uids)
        return len(uids)

    def _derive_touched(self) -> None:
        touched = tuple(sorted(self._transaction.take_touched()))
        if touched:
            # The lock comes before the look at what the standing follows from: the last to have it sees all.
            self._studies.locked(touched)
            self.derive(touched)


class Worklist:
    """`WorklistRepository` of the ports."""

    def __init__(self, transaction: Transaction, studies: Studies) -> None:
        self._transaction = transaction
        self._studies = studies

    def page(self, wanted: WorklistFilter, *, limit: int, offset: int = 0) -> tuple[StudyIntake, ...]:
        if limit <= 0:
            return ()
        places = select(_study.c.study_instance_uid).where(*_where(wanted, _STATE_WITHOUT_INDEX)).order_by(*_ORDER)
        uids = tuple(self._transaction.read(places.limit(limit).offset(offset)).scalars())
        found = {study.study_instance_uid: study for study in self._studies.of(uids)}
        return tuple(found[uid] for uid in uids if uid in found)

    def tally(self, wanted: WorklistFilter) -> Mapping[tuple[WorklistState, bool], int]:
        columns = (_study.c.worklist_state, _study.c.finding_rank)
        counted = (
            select(*columns, func.count().label("count"))
            .where(*_where(wanted, _study.c.worklist_state))
            .group_by(*columns)
        )
        rows = self._transaction.read(counted).mappings()
        return {
            (WorklistState(row["worklist_state"]), row["finding_rank"] == 0): row["count"]
            for row in rows
            if row["worklist_state"] != NEVER_DERIVED
        }


def receiving_values(intake: StudyIntake) -> dict[str, Any]:
    """The columns that every image of a study changes: only what narrows by text, where it is not being received."""
    values: dict[str, Any] = {"search_text": search_text(intake)}
    if is_receiving(intake) and intake.last_received_at.tzinfo is not None:  # else its own column refuses it
        values |= {
            "worklist_state": WorklistState.RECEIVING.value,
            "progress_rank": 0,
            "time_rank": time_rank(intake.last_received_at, is_finished=False),
        }
    return values


def standing_values(standing: Standing) -> dict[str, Any]:
    """The columns that are derived."""
    return {
        "worklist_state": standing.state.value,
        "finding_rank": standing.finding_rank,
        "progress_rank": standing.progress_rank,
        "time_rank": standing.time_rank,
    }


def _where(wanted: WorklistFilter, state: ColumnElement[str]) -> Iterable[ColumnElement[bool]]:
    if wanted.state is not None:
        yield state == wanted.state.value
    if wanted.is_positive is not None:
        yield _study.c.finding_rank == (0 if wanted.is_positive else 1)
    if wanted.source:
        yield _study.c.calling_aet == wanted.source
    if wanted.from_at is not None:
        yield _study.c.last_received_at >= wanted.from_at
    if wanted.before is not None:
        yield _study.c.last_received_at < wanted.before
    for word in wanted.words:
        yield _study.c.search_text.contains(word, autoescape=True)
