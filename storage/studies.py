"""Studies, instances and associations in the database.

The statements are built once: `get`, `find_instance`, `save`, `add_instance` and `carry` run for every received
instance, and building them costs more than running them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, delete, func, insert, or_, select, update

from dicom_node.core.standing import is_receiving
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.tally import Tally
from storage.mapping import instance_from, instance_values, path_text, study_from, study_values
from storage.rows import AssociationRow, CarriedStudyRow, InstanceRow, StudyRow, table_of
from storage.transaction import UPSERT, Transaction
from storage.worklist import receiving_values

_study = table_of(StudyRow)
_instance = table_of(InstanceRow)
_association = table_of(AssociationRow)
_carried = table_of(CarriedStudyRow)


def _insert_or_update(statement: Any) -> Any:
    written_elsewhere = ("study_instance_uid", "instance_count", "finding_rank")
    key = _study.c.study_instance_uid
    kept = {column.name: statement.excluded[column.name] for column in _study.c if column.name not in written_elsewhere}
    return statement.on_conflict_do_update(index_elements=[key], set_=kept)


_OF_STUDY = _study.c.study_instance_uid == bindparam("uid")

_GET = select(_study).where(_OF_STUDY)
# Until the transaction ends, no other writer decides about this study. SQLite has locked the database already.
_GET_AND_LOCK = _GET.with_for_update()
_OF_STUDIES = select(_study).where(_study.c.study_instance_uid.in_(bindparam("uids", expanding=True)))
_LOCKED = _OF_STUDIES.order_by(_study.c.study_instance_uid).with_for_update()
_OPEN_ASSOCIATIONS = (
    select(_carried.c.study_instance_uid, _carried.c.association_id)
    .join(_association, _association.c.association_id == _carried.c.association_id)
    .where(
        _association.c.closed_at.is_(None),
        _carried.c.study_instance_uid.in_(bindparam("uids", expanding=True)),
    )
    .order_by(_association.c.opened_at, _association.c.association_id)
)
_SAVE_NEW = {name: _insert_or_update(upsert(_study)) for name, upsert in UPSERT.items()}
_SAVE = update(_study).where(_OF_STUDY)
_RECOUNT = (
    update(_study)
    .where(_OF_STUDY)
    .values(
        instance_count=select(func.count()).where(_instance.c.study_instance_uid == bindparam("uid")).scalar_subquery()
    )
)
_COUNT_MORE = update(_study).where(_OF_STUDY).values(instance_count=_study.c.instance_count + bindparam("more"))
_FIND_INSTANCE = select(_instance).where(_instance.c.sop_instance_uid == bindparam("uid"))
_ADD_INSTANCE = insert(_instance)
_INSTANCES = select(_instance).where(_instance.c.study_instance_uid == bindparam("uid")).order_by(_instance.c.id)
_HAS_FILE = select(_instance.c.id).where(_instance.c.file == bindparam("path"))
_IDENTITY = ("sop_instance_uid", "study_instance_uid")
_CARRY = {name: upsert(_carried).on_conflict_do_nothing() for name, upsert in UPSERT.items()}
_CLOSE = update(_association).where(_association.c.closed_at.is_(None))


class Studies:
    """`StudyRepository` of the ports."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        # Studies that had no row when an instance of theirs was added, so that there was no counter to raise.
        self._uncounted: set[str] = set()
        transaction.before_commit(self._count_the_rest)

    def get(self, study_instance_uid: str) -> StudyIntake | None:
        """The study; where this unit of work may write, nobody else changes it until the end."""
        statement = _GET_AND_LOCK if self._transaction.is_writing else _GET
        row = self._transaction.read(statement, {"uid": study_instance_uid}).mappings().one_or_none()
        return None if row is None else self._intakes([row])[0]

    def save(self, intake: StudyIntake) -> None:
        uid, values = intake.study_instance_uid, study_values(intake) | receiving_values(intake)
        if not is_receiving(intake):
            self._transaction.touch(uid)
        if self._transaction.write(_SAVE, {"uid": uid, **values}).rowcount == 0:
            # Another transaction may have inserted it meanwhile, and instances may be there before their study.
            self._transaction.write(_SAVE_NEW[self._transaction.dialect], {**values, "instance_count": 0})
            self._uncounted.add(uid)
        if uid in self._uncounted:
            self._count(uid)

    def of(self, study_instance_uids: Sequence[str]) -> tuple[StudyIntake, ...]:
        """Those that there are, in any order."""
        return self._intakes(self._transaction.read(_OF_STUDIES, {"uids": study_instance_uids}).mappings().all())

    def locked(self, study_instance_uids: Sequence[str]) -> tuple[StudyIntake, ...]:
        """As `of`; nobody else changes them until the end."""
        return self._intakes(self._transaction.read(_LOCKED, {"uids": study_instance_uids}).mappings().all())

    def list(
        self, *, states: Iterable[StudyState] | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[StudyIntake, ...]:
        statement = (
            select(_study)
            .order_by(_study.c.last_received_at.desc(), _study.c.study_instance_uid)
            .limit(limit)
            .offset(offset)
        )
        if states is not None:
            statement = statement.where(_study.c.state.in_([state.value for state in states]))
        return self._intakes(self._transaction.read(statement).mappings().all())

    def oldest(
        self,
        *,
        states: Iterable[StudyState],
        before: datetime,
        after: StudyIntake | None = None,
        limit: int = 100,
    ) -> tuple[StudyIntake, ...]:
        order = (_study.c.last_received_at, _study.c.study_instance_uid)
        wanted = [_study.c.state.in_([state.value for state in states]), _study.c.last_received_at < before]
        if after is not None:
            is_later = _study.c.last_received_at > after.last_received_at
            is_next = and_(
                _study.c.last_received_at == after.last_received_at,
                _study.c.study_instance_uid > after.study_instance_uid,
            )
            wanted.append(or_(is_later, is_next))
        statement = select(_study).where(*wanted).order_by(*order).limit(limit)
        return self._intakes(self._transaction.read(statement).mappings().all())

    def tally(self) -> Mapping[StudyState, Tally]:
        counted = (func.count().label("count"), func.min(_study.c.last_received_at).label("oldest"))
        rows = self._transaction.read(select(_study.c.state, *counted).group_by(_study.c.state)).mappings()
        return {StudyState(row["state"]): Tally(count=row["count"], oldest=row["oldest"]) for row in rows}

    def find_instance(self, sop_instance_uid: str) -> InstanceRecord | None:
        row = self._transaction.read(_FIND_INSTANCE, {"uid": sop_instance_uid}).mappings().one_or_none()
        return None if row is None else instance_from(row)

    def add_instance(self, record: InstanceRecord) -> None:
        self.add_instances((record,))

    def add_instances(self, records: Sequence[InstanceRecord]) -> None:
        uids = {record.study_instance_uid for record in records}
        if len(uids) != 1:
            raise ValueError(f"instances of one study are added together, not of {len(uids)}")
        (uid,) = uids
        self._transaction.write(_ADD_INSTANCE, [instance_values(record) for record in records])
        if self._transaction.write(_COUNT_MORE, {"uid": uid, "more": len(records)}).rowcount == 0:
            self._uncounted.add(uid)

    def replace_instance(self, record: InstanceRecord) -> None:
        values = {name: value for name, value in instance_values(record).items() if name not in _IDENTITY}
        this = _instance.c.sop_instance_uid == record.sop_instance_uid
        of_study = _instance.c.study_instance_uid == record.study_instance_uid
        self._transaction.write(update(_instance).where(this, of_study).values(values))

    def remove_instance(self, sop_instance_uid: str) -> None:
        known = self.find_instance(sop_instance_uid)
        if known is not None:
            self._transaction.write(delete(_instance).where(_instance.c.sop_instance_uid == sop_instance_uid))
            self._count(known.study_instance_uid)

    def remove_instances(self, study_instance_uid: str) -> int:
        self._transaction.write(delete(_carried).where(_carried.c.study_instance_uid == study_instance_uid))
        removed = self._transaction.write(delete(_instance).where(_instance.c.study_instance_uid == study_instance_uid))
        self._count(study_instance_uid)
        return removed.rowcount

    def instances(self, study_instance_uid: str) -> tuple[InstanceRecord, ...]:
        """In the order of arrival."""
        rows = self._transaction.read(_INSTANCES, {"uid": study_instance_uid}).mappings()
        return tuple(instance_from(row) for row in rows)

    def has_file(self, file: Path) -> bool:
        return self._transaction.read(_HAS_FILE, {"path": path_text(file)}).first() is not None

    def open_association(self, association_id: str, *, calling_aet: str, address: str, at: datetime) -> None:
        self._transaction.write(
            insert(_association),
            {
                "association_id": association_id,
                "calling_aet": calling_aet,
                "address": address,
                "opened_at": at,
                "closed_at": None,
                "how": "",
            },
        )

    def carry(self, association_id: str, study_instance_uid: str) -> None:
        self._transaction.write(
            _CARRY[self._transaction.dialect],
            {"association_id": association_id, "study_instance_uid": study_instance_uid},
        )

    def close_association(self, association_id: str, *, at: datetime, how: str) -> None:
        one = _CLOSE.where(_association.c.association_id == association_id)
        self._transaction.write(one, {"closed_at": at, "how": how})

    def open_association_count(self) -> int:
        count = select(func.count()).select_from(_association).where(_association.c.closed_at.is_(None))
        return int(self._transaction.read(count).scalar_one())

    def forget_open_associations(self, *, at: datetime) -> int:
        return self._transaction.write(_CLOSE, {"closed_at": at, "how": "forgotten at start-up"}).rowcount

    def _count(self, uid: str) -> None:
        """The counter is right. The study's row must be locked, or an instance that is just being added is missed."""
        self._transaction.write(_RECOUNT, {"uid": uid})
        self._uncounted.discard(uid)

    def _count_the_rest(self) -> None:
        for uid in tuple(self._uncounted):
            self._transaction.read(_GET_AND_LOCK, {"uid": uid})
            self._count(uid)

    def _intakes(self, rows: Iterable[RowMapping]) -> tuple[StudyIntake, ...]:
        rows = tuple(rows)
        uids = [row["study_instance_uid"] for row in rows]
        carried: dict[str, tuple[str, ...]] = dict.fromkeys(uids, ())
        if uids:
            for row in self._transaction.read(_OPEN_ASSOCIATIONS, {"uids": uids}).mappings():
                carried[row["study_instance_uid"]] += (row["association_id"],)
        return tuple(study_from(row, carried[row["study_instance_uid"]]) for row in rows)
