"""The node worklist of the in-memory twin: everything is derived at each look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from dicom_node.core.standing import Standing, WorklistFilter, standing_of
from dicom_node.core.study import StudyIntake
from dicom_node.core.worklist import WorklistState
from storage.memory_transaction import MemoryTransaction


class MemoryWorklist:
    """`WorklistRepository` of the ports. `with_derived` fills in what a study's row does not hold."""

    def __init__(self, transaction: MemoryTransaction, with_derived: Callable[[StudyIntake], StudyIntake]) -> None:
        self._transaction = transaction
        self._with_derived = with_derived

    def page(self, wanted: WorklistFilter, *, limit: int, offset: int = 0) -> tuple[StudyIntake, ...]:
        found = self._found(wanted)
        found.sort(key=lambda each: (each[1].place, each[0].study_instance_uid))
        return tuple(self._with_derived(study) for study, _ in found[offset : offset + limit])

    def tally(self, wanted: WorklistFilter) -> Mapping[tuple[WorklistState, bool], int]:
        return dict(Counter((standing.state, bool(standing.is_positive)) for _, standing in self._found(wanted)))

    def _found(self, wanted: WorklistFilter) -> list[tuple[StudyIntake, Standing]]:
        tables = self._transaction.read()
        found = []
        for uid, study in tables.studies.items():
            jobs = [job for job in tables.jobs.values() if job.study_instance_uid == uid]
            deliveries = [each for each in tables.deliveries.values() if each.study_instance_uid == uid]
            standing = standing_of(study, jobs, deliveries)
            if wanted.takes(study, standing):
                found.append((study, standing))
        return found
