"""Readers' verdicts in the database: added and read, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, func, insert, select

from dicom_node.core.verdict import Called, Verdict
from storage.rows import VerdictRow, table_of
from storage.transaction import Transaction

_verdict = table_of(VerdictRow)


class VerdictRows:
    """`VerdictRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, verdict: Verdict) -> Verdict:
        statement = insert(_verdict).values(_values(verdict)).returning(_verdict)
        return _verdict_from(self._transaction.write(statement).mappings().one())

    def of_study(self, study_instance_uid: str) -> tuple[Verdict, ...]:
        of_study = _verdict.c.study_instance_uid == study_instance_uid
        return self._verdicts(select(_verdict).where(of_study).order_by(_verdict.c.id.desc()))

    def newest(self, *, since: datetime | None = None) -> tuple[Verdict, ...]:
        last = select(func.max(_verdict.c.id)).group_by(_verdict.c.study_instance_uid)
        statement = select(_verdict).where(_verdict.c.id.in_(last))
        if since is not None:
            statement = statement.where(_verdict.c.at >= since)
        return self._verdicts(statement.order_by(_verdict.c.at, _verdict.c.id))

    def _verdicts(self, statement: Select[Any]) -> tuple[Verdict, ...]:
        return tuple(_verdict_from(row) for row in self._transaction.read(statement).mappings())


def _values(verdict: Verdict) -> dict[str, Any]:
    called = verdict.called
    return {
        "study_instance_uid": verdict.study_instance_uid,
        "revision": verdict.revision,
        "at": verdict.at,
        "reader": verdict.reader,
        "false_positives": _text(verdict.false_positives),
        "missed": _text(verdict.missed),
        "note": verdict.note,
        "called_levels": _text(called.levels),
        "assessed_levels": _text(called.assessed),
        "called_whole": called.whole,
        "bundle_name": called.bundle_name,
        "bundle_version": called.bundle_version,
        "bundle_sha256": called.bundle_sha256,
    }


def _verdict_from(row: RowMapping) -> Verdict:
    return Verdict(
        id=row["id"],
        study_instance_uid=row["study_instance_uid"],
        revision=row["revision"],
        called=Called(
            levels=_levels(row["called_levels"]),
            assessed=_levels(row["assessed_levels"]),
            whole=row["called_whole"],
            bundle_name=row["bundle_name"],
            bundle_version=row["bundle_version"],
            bundle_sha256=row["bundle_sha256"],
        ),
        false_positives=_levels(row["false_positives"]),
        missed=_levels(row["missed"]),
        note=row["note"],
        reader=row["reader"],
        at=row["at"],
    )


def _text(levels: Iterable[str]) -> str:
    return " ".join(levels)


def _levels(text: str) -> tuple[str, ...]:
    return tuple(text.split())
