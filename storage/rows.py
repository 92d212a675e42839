"""The tables. Private to `storage`: nothing outside sees a row.

How to edit: change a row here, then write a revision in `migrations/versions`; a test compares the two. Columns that
carry a core dataclass's field have the field's name, so `mapping` stays a list of names.

Times are stored as UTC: `timestamp with time zone` on PostgreSQL, fixed-width text on SQLite, which sorts as time
does. Text that comes from a data set is cleaned of what a database refuses (NUL, lone surrogates).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in, the same instant as aware UTC out. A naive one is a bug and raises ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class HeaderText(TypeDecorator[str]):
    """Text from a data set, without the characters that PostgreSQL (NUL) or UTF-8 (lone surrogates) cannot hold."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\x00" not in value):
            return value
        return value.replace("\x00", "").encode("utf-8", "replace").decode()


NEVER_DERIVED = ""
"""The worklist state of a study from before there was one, until the database is opened."""

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite gives an alias of its rowid only to INTEGER, never to BIGINT.
_Id = BigInteger().with_variant(Integer(), "sqlite")


class Row(DeclarativeBase):
    """Base of all rows; its metadata is what migrations are compared with."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {datetime: UtcDateTime(), str: Text()}


def table_of(row: type[Row]) -> Table:
    """The table of a row class, as statements want it."""
    return cast(Table, row.__table__)


class _PatientColumns:
    patient_id: Mapped[str] = mapped_column(HeaderText)
    patient_name: Mapped[str] = mapped_column(HeaderText)
    accession_number: Mapped[str] = mapped_column(HeaderText)
    study_date: Mapped[str] = mapped_column(HeaderText)
    study_description: Mapped[str] = mapped_column(HeaderText)


class StudyRow(_PatientColumns, Row):
    """A study. `instance_count` is kept by the repository, because COUNT(*) for each received instance is slow.

    The last five columns are its standing in the node worklist (`storage.worklist`).
    """

    __tablename__ = "study"
    __table_args__ = (
        Index(None, "state", "last_received_at"),
        Index(None, "last_received_at"),
        Index(None, "worklist_state", "finding_rank"),
        Index(
            "ix_study_worklist",
            "finding_rank",
            "progress_rank",
            "time_rank",
            "study_instance_uid",
            "worklist_state",
            "calling_aet",
            "last_received_at",
            "search_text",
        ),
    )

    study_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int]
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    instance_count: Mapped[int]
    calling_aet: Mapped[str] = mapped_column(HeaderText)
    close_reason: Mapped[str]
    closed_at: Mapped[datetime | None]
    worklist_state: Mapped[str] = mapped_column(String(16), server_default=text("''"))
    finding_rank: Mapped[int] = mapped_column(server_default=text("1"))
    progress_rank: Mapped[int] = mapped_column(server_default=text("0"))
    time_rank: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    search_text: Mapped[str] = mapped_column(HeaderText, server_default=text("''"))


class InstanceRow(_PatientColumns, Row):
    """A stored SOP Instance; `id` is the order of arrival."""

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), unique=True)
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    # Deferred: the instance may be written before its study, as long as both are there at the commit.
    study_instance_uid: Mapped[str] = mapped_column(
        ForeignKey("study.study_instance_uid", deferrable=True, initially="DEFERRED"), index=True
    )
    calling_aet: Mapped[str] = mapped_column(HeaderText)
    called_aet: Mapped[str] = mapped_column(HeaderText)
    association_id: Mapped[str]
    received_at: Mapped[datetime]
    file: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    modality: Mapped[str] = mapped_column(HeaderText)
    body_part_examined: Mapped[str] = mapped_column(HeaderText, server_default=text("''"))
    station_name: Mapped[str] = mapped_column(HeaderText, server_default=text("''"))


class AssociationRow(Row):
    """An association that has carried instances; open while `closed_at` is null."""

    __tablename__ = "association"

    association_id: Mapped[str] = mapped_column(primary_key=True)
    calling_aet: Mapped[str] = mapped_column(HeaderText)
    address: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None] = mapped_column(index=True)
    how: Mapped[str]


class CarriedStudyRow(Row):
    """Which studies an association has carried. The study may not have a row yet."""

    __tablename__ = "carried_study"

    association_id: Mapped[str] = mapped_column(ForeignKey("association.association_id"), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)


class _LeasedColumns:
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    failure: Mapped[str]
    finished_at: Mapped[datetime | None]


class JobRow(_LeasedColumns, Row):
    """An analysis job."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("study_instance_uid", "revision"),
        Index(None, "state", "next_attempt_at"),
    )

    reason: Mapped[str]
    result_json: Mapped[str]
    is_told: Mapped[bool] = mapped_column(server_default=false())


class DeliveryRow(_LeasedColumns, Row):
    """A delivery of what one job has to say to one receiver."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("job_id", "channel", "peer", "round"),
        Index(None, "state", "next_attempt_at"),
        Index(None, "study_instance_uid"),
        Index(None, "created_at"),
        Index(None, "state", "created_at"),
        Index(None, "peer", "created_at"),
        Index(None, "peer", "state", "created_at"),
    )

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    peer: Mapped[str]
    channel: Mapped[str] = mapped_column(String(16), server_default="objects")
    route: Mapped[str] = mapped_column(server_default=text("''"))
    round: Mapped[int] = mapped_column(server_default="1")
    is_urgent: Mapped[bool] = mapped_column(server_default=false())


class DeliveryObjectRow(Row):
    """An object of a delivery, at its place in the order of sending."""

    __tablename__ = "delivery_object"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    series_instance_uid: Mapped[str] = mapped_column(String(64))
    file: Mapped[str]


class DeliveryAnswerRow(Row):
    """The peer's last answer to an object of a delivery."""

    __tablename__ = "delivery_answer"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[int | None]
    answered_at: Mapped[datetime | None]


class DeliverySubstitutionRow(Row):
    """A kind of object that the peer was to get and did not; `sent` is null where nothing stands in for it."""

    __tablename__ = "delivery_substitution"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    wanted: Mapped[str] = mapped_column(String(16))
    sent: Mapped[str | None] = mapped_column(String(16))
    why: Mapped[str]


class CircuitRow(Row):
    """A receiver that could not be reached. One that can be has no row."""

    __tablename__ = "circuit"

    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    peer: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    failing_since: Mapped[datetime]
    probe_at: Mapped[datetime]
    is_open: Mapped[bool]
    why: Mapped[str]


class CommitmentRequestRow(Row):
    """A commitment that we asked of a peer; `committed` and `failed` are JSON, as it reported."""

    __tablename__ = "commitment_request"

    transaction_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    asked_at: Mapped[datetime]
    reported_at: Mapped[datetime | None]
    committed: Mapped[str]
    failed: Mapped[str]


class CommitmentDutyRow(Row):
    """A commitment that a peer asked of us; `instances` is JSON."""

    __tablename__ = "commitment_duty"
    __table_args__ = (UniqueConstraint("peer", "transaction_uid"), Index(None, "finished_at", "next_attempt_at"))

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(String(64))
    calling_aet: Mapped[str] = mapped_column(HeaderText)
    peer: Mapped[str]
    instances: Mapped[str]
    asked_at: Mapped[datetime]
    attempt: Mapped[int]
    next_attempt_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str]


class QuarantineRow(Row):
    """A file set aside. UIDs are as they came: an unreadable file may say anything."""

    __tablename__ = "quarantine"
    __table_args__ = (Index(None, "state", "set_aside_at"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    file: Mapped[str] = mapped_column(unique=True)
    reason: Mapped[str] = mapped_column(String(32))
    why: Mapped[str] = mapped_column(HeaderText)
    set_aside_at: Mapped[datetime]
    digest: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    sop_instance_uid: Mapped[str] = mapped_column(HeaderText)
    sop_class_uid: Mapped[str] = mapped_column(HeaderText)
    transfer_syntax_uid: Mapped[str] = mapped_column(HeaderText)
    study_instance_uid: Mapped[str] = mapped_column(HeaderText, index=True)
    calling_aet: Mapped[str] = mapped_column(HeaderText)
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str] = mapped_column(HeaderText)
    settled_why: Mapped[str] = mapped_column(HeaderText)


class VerdictRow(Row):
    """A reader's verdict with what it is about; levels are names with spaces between. Rows are only ever added."""

    __tablename__ = "verdict"
    __table_args__ = (Index(None, "study_instance_uid", "id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"))
    revision: Mapped[int]
    at: Mapped[datetime]
    reader: Mapped[str] = mapped_column(HeaderText)
    false_positives: Mapped[str]
    missed: Mapped[str]
    note: Mapped[str] = mapped_column(HeaderText)
    called_levels: Mapped[str]
    assessed_levels: Mapped[str]
    called_whole: Mapped[bool]
    bundle_name: Mapped[str]
    bundle_version: Mapped[str]
    bundle_sha256: Mapped[str] = mapped_column(String(64))


class AccountRow(Row):
    """Somebody who may log in."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str]
    is_disabled: Mapped[bool]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    language: Mapped[str] = mapped_column(String(8), server_default=text("''"))


class SessionRow(Row):
    """Somebody who is logged in. The token itself is nowhere here: a copy of the database opens no session."""

    __tablename__ = "session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(HeaderText)


class ApiTokenRow(Row):
    """A script's way in, hashed as well."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    label: Mapped[str] = mapped_column(HeaderText)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class HistoryRow(Row):
    """One transition. Rows are only ever added."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    at: Mapped[datetime]
    subject: Mapped[str] = mapped_column(index=True)
    event: Mapped[str]
    from_state: Mapped[str]
    to_state: Mapped[str]
    reason: Mapped[str]
    actor: Mapped[str] = mapped_column(HeaderText)
    study_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
