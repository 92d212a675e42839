"""Readers' verdicts in the in-memory twin; compare `verdicts`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dicom_node.core.verdict import Verdict
from storage.memory_transaction import MemoryTransaction


class MemoryVerdicts:
    """`VerdictRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def add(self, verdict: Verdict) -> Verdict:
        tables = self._transaction.write(verdict.at)
        if verdict.study_instance_uid not in tables.studies:
            self._transaction.conflict("this study does not exist")
        added = replace(verdict, id=max(tables.verdicts, default=0) + 1)
        tables.verdicts[added.id] = added
        return added

    def of_study(self, study_instance_uid: str) -> tuple[Verdict, ...]:
        found = (each for each in self._all() if each.study_instance_uid == study_instance_uid)
        return tuple(sorted(found, key=lambda verdict: verdict.id, reverse=True))

    def newest(self, *, since: datetime | None = None) -> tuple[Verdict, ...]:
        last = {each.study_instance_uid: each for each in sorted(self._all(), key=lambda verdict: verdict.id)}
        found = (each for each in last.values() if since is None or each.at >= since)
        return tuple(sorted(found, key=lambda verdict: (verdict.at, verdict.id)))

    def _all(self) -> tuple[Verdict, ...]:
        return tuple(self._transaction.read().verdicts.values())
