"""Storage commitment in the database: what we asked, and what we are asked."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import RowMapping, func, insert, select, update

from dicom_node.core.commitment import CommitmentDuty, CommitmentReport, CommitmentRequest, Reference
from storage.rows import CommitmentDutyRow, CommitmentRequestRow, table_of
from storage.transaction import UPSERT, Transaction

_request = table_of(CommitmentRequestRow)
_duty = table_of(CommitmentDutyRow)
_DUTY = ("transaction_uid", "calling_aet", "peer", "asked_at", "attempt", "next_attempt_at", "finished_at", "outcome")


class Commitments:
    """`CommitmentRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def ask(self, request: CommitmentRequest) -> None:
        values = {
            "transaction_uid": request.transaction_uid,
            "delivery_id": request.delivery_id,
            "asked_at": request.asked_at,
            **_answer_values(request),
        }
        self._transaction.write(insert(_request).values(values))

    def request(self, transaction_uid: str) -> CommitmentRequest | None:
        of_this = select(_request).where(_request.c.transaction_uid == transaction_uid)
        row = self._transaction.read(of_this).mappings().one_or_none()
        return None if row is None else _request_from(row)

    def requests_of(self, delivery_id: int) -> tuple[CommitmentRequest, ...]:
        of_this = select(_request).where(_request.c.delivery_id == delivery_id)
        rows = self._transaction.read(of_this.order_by(_request.c.asked_at, _request.c.transaction_uid)).mappings()
        return tuple(_request_from(row) for row in rows)

    def report(self, report: CommitmentReport, *, at: datetime) -> None:
        request = self.request(report.transaction_uid)
        if request is None:
            return
        told = request.told(report, at)
        of_this = _request.c.transaction_uid == report.transaction_uid
        self._transaction.write(update(_request).where(of_this).values(_answer_values(told)))

    def take_on(self, duty: CommitmentDuty) -> CommitmentDuty:
        values = {name: getattr(duty, name) for name in _DUTY}
        values["instances"] = json.dumps([(ref.sop_class_uid, ref.sop_instance_uid) for ref in duty.references])
        statement = UPSERT[self._transaction.dialect](_duty).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=[_duty.c.peer, _duty.c.transaction_uid], set_=values
        ).returning(_duty)
        return _duty_from(self._transaction.write(statement).mappings().one())

    def duties_due(self, now: datetime, *, limit: int = 20) -> tuple[CommitmentDuty, ...]:
        is_due = (_duty.c.finished_at.is_(None), _duty.c.next_attempt_at <= now)
        statement = select(_duty).where(*is_due).order_by(_duty.c.next_attempt_at, _duty.c.id).limit(limit)
        return tuple(_duty_from(row) for row in self._transaction.read(statement).mappings())

    def open_duties(self) -> tuple[CommitmentDuty, ...]:
        statement = select(_duty).where(_duty.c.finished_at.is_(None)).order_by(_duty.c.id)
        return tuple(_duty_from(row) for row in self._transaction.read(statement).mappings())

    def duties(self, *, limit: int = 100) -> tuple[CommitmentDuty, ...]:
        statement = select(_duty).order_by(_duty.c.asked_at.desc(), _duty.c.id.desc()).limit(limit)
        return tuple(_duty_from(row) for row in self._transaction.read(statement).mappings())

    def unfinished_duties(self) -> int:
        count = select(func.count()).select_from(_duty).where(_duty.c.finished_at.is_(None))
        return int(self._transaction.read(count).scalar_one())

    def save_duty(self, duty: CommitmentDuty) -> None:
        names = ("attempt", "next_attempt_at", "finished_at", "outcome")
        values = {name: getattr(duty, name) for name in names}
        self._transaction.write(update(_duty).where(_duty.c.id == duty.id).values(values))


def _answer_values(request: CommitmentRequest) -> dict[str, object]:
    return {
        "reported_at": request.reported_at,
        "committed": json.dumps(request.committed),
        "failed": json.dumps(request.failed),
    }


def _request_from(row: RowMapping) -> CommitmentRequest:
    return CommitmentRequest(
        transaction_uid=row["transaction_uid"],
        delivery_id=row["delivery_id"],
        asked_at=row["asked_at"],
        reported_at=row["reported_at"],
        committed=tuple(json.loads(row["committed"])),
        failed=tuple((uid, reason) for uid, reason in json.loads(row["failed"])),
    )


def _duty_from(row: RowMapping) -> CommitmentDuty:
    references = tuple(
        Reference(sop_class_uid=sop_class, sop_instance_uid=uid) for sop_class, uid in json.loads(row["instances"])
    )
    return CommitmentDuty(id=row["id"], references=references, **{name: row[name] for name in _DUTY})
