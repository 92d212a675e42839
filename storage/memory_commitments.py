"""Storage commitment in the in-memory twin; compare `commitments`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, CommitmentRequest
from storage.memory_transaction import MemoryTransaction


class MemoryCommitments:
    """`CommitmentRepository` of the ports."""

    def __init__(self, transaction: MemoryTransaction) -> None:
        self._transaction = transaction

    def ask(self, request: CommitmentRequest) -> None:
        tables = self._transaction.write(request.asked_at, request.reported_at)
        if request.transaction_uid in tables.requests:
            self._transaction.conflict("this transaction is known already")
        if request.delivery_id not in tables.deliveries:
            self._transaction.conflict("this delivery does not exist")
        tables.requests[request.transaction_uid] = request

    def request(self, transaction_uid: str) -> CommitmentRequest | None:
        return self._transaction.read().requests.get(transaction_uid)

    def requests_of(self, delivery_id: int) -> tuple[CommitmentRequest, ...]:
        requests = self._transaction.read().requests.values()
        found = (each for each in requests if each.delivery_id == delivery_id)
        return tuple(sorted(found, key=lambda each: (each.asked_at, each.transaction_uid)))

    def report(self, report: CommitmentReport, *, at: datetime) -> None:
        requests = self._transaction.write(at).requests
        if report.transaction_uid in requests:
            requests[report.transaction_uid] = requests[report.transaction_uid].told(report, at)

    def take_on(self, duty: CommitmentDuty) -> CommitmentDuty:
        duties = self._transaction.write(duty.asked_at, duty.next_attempt_at, duty.finished_at).duties
        mark = (duty.peer, duty.transaction_uid)
        known = (each.id for each in duties.values() if (each.peer, each.transaction_uid) == mark)
        taken = replace(duty, id=next(known, len(duties) + 1))
        duties[taken.id] = taken
        return taken

    def duties_due(self, now: datetime, *, limit: int = 20) -> tuple[CommitmentDuty, ...]:
        due = [
            (each.next_attempt_at, each.id, each)
            for each in self._transaction.read().duties.values()
            if each.finished_at is None and each.next_attempt_at is not None and each.next_attempt_at <= now
        ]
        return tuple(each for _, _, each in sorted(due, key=lambda entry: entry[:2])[:limit])

    def open_duties(self) -> tuple[CommitmentDuty, ...]:
        duties = (each for each in self._transaction.read().duties.values() if each.finished_at is None)
        return tuple(sorted(duties, key=lambda each: each.id))

    def duties(self, *, limit: int = 100) -> tuple[CommitmentDuty, ...]:
        duties = self._transaction.read().duties.values()
        return tuple(sorted(duties, key=lambda each: (each.asked_at, each.id), reverse=True)[:limit])

    def unfinished_duties(self) -> int:
        return sum(each.finished_at is None for each in self._transaction.read().duties.values())

    def save_duty(self, duty: CommitmentDuty) -> None:
        duties = self._transaction.write(duty.next_attempt_at, duty.finished_at).duties
        if duty.id in duties:
            duties[duty.id] = replace(
                duties[duty.id],
                attempt=duty.attempt,
                next_attempt_at=duty.next_attempt_at,
                finished_at=duty.finished_at,
                outcome=duty.outcome,
            )
