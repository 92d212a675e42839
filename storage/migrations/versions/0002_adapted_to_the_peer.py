"""What was sent instead of what, notifications beside objects, second rounds, and what routes look at.

`delivery` gets another unique key, which SQLite can only do by making the table anew. Its children point at it, and
foreign keys cannot be switched off within a transaction: so the children move with it, and the old tables go last,
children first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Forward only: to go back, restore the copy made before."""
    op.add_column("instance", sa.Column("body_part_examined", sa.Text(), nullable=False, server_default=""))
    op.add_column("instance", sa.Column("station_name", sa.Text(), nullable=False, server_default=""))
    op.add_column("job", sa.Column("is_told", sa.Boolean(), nullable=False, server_default=sa.false()))
    # What ended before this version is not told of: nobody waits for it any more.
    op.execute(sa.text("UPDATE job SET is_told = :told").bindparams(sa.bindparam("told", True, sa.Boolean())))
    if op.get_bind().dialect.name == "sqlite":
        _make_deliveries_anew()
    else:
        op.add_column("delivery", sa.Column("channel", sa.String(length=16), nullable=False, server_default="objects"))
        op.add_column("delivery", sa.Column("route", sa.Text(), nullable=False, server_default=""))
        op.add_column("delivery", sa.Column("round", sa.Integer(), nullable=False, server_default="1"))
        op.drop_constraint("uq_delivery_job_id_peer", "delivery", type_="unique")
        op.create_unique_constraint(
            "uq_delivery_job_id_channel_peer_round", "delivery", ["job_id", "channel", "peer", "round"]
        )
    op.create_table(
        "delivery_substitution",
        sa.Column("delivery_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("wanted", sa.String(length=16), nullable=False),
        sa.Column("sent", sa.String(length=16), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_substitution_delivery_id_delivery")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_delivery_substitution")),
    )


def _make_deliveries_anew() -> None:
    op.create_table(
        "delivery_new",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False, server_default="objects"),
        sa.Column("route", sa.Text(), nullable=False, server_default=""),
        sa.Column("round", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_delivery_job_id_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "job_id", "channel", "peer", "round", name=op.f("uq_delivery_job_id_channel_peer_round")
        ),
    )
    op.create_table(
        "delivery_answer_new",
        sa.Column("delivery_id", _ID, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery_new.id"], name=op.f("fk_delivery_answer_delivery_id_delivery")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "sop_instance_uid", name=op.f("pk_delivery_answer")),
    )
    op.create_table(
        "delivery_object_new",
        sa.Column("delivery_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery_new.id"], name=op.f("fk_delivery_object_delivery_id_delivery")
        ),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_delivery_object")),
    )
    kept = "job_id, peer, id, study_instance_uid, revision, state, attempt, created_at, next_attempt_at, "
    kept += "lease_owner, lease_expires_at, failure, finished_at"
    op.execute(
        f"INSERT INTO delivery_new ({kept}, channel, route, round) SELECT {kept}, 'objects', '', 1 FROM delivery"
    )
    for child, columns in (
        ("delivery_answer", "delivery_id, sop_instance_uid, status, answered_at"),
        ("delivery_object", "delivery_id, position, kind, sop_class_uid, sop_instance_uid, series_instance_uid, file"),
    ):
        op.execute(f"INSERT INTO {child}_new ({columns}) SELECT {columns} FROM {child}")
        op.drop_table(child)
    op.drop_table("delivery")
    for table in ("delivery", "delivery_answer", "delivery_object"):
        op.rename_table(f"{table}_new", table)
    op.create_index(op.f("ix_delivery_created_at"), "delivery", ["created_at"], unique=False)
    op.create_index(op.f("ix_delivery_state_next_attempt_at"), "delivery", ["state", "next_attempt_at"], unique=False)
    op.create_index(op.f("ix_delivery_study_instance_uid"), "delivery", ["study_instance_uid"], unique=False)
