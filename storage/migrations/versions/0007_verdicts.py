"""Readers' verdicts, an account's language, and the orders in which deliveries are shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Forward only: to go back, restore the copy made before. Nobody has given a verdict yet."""
    op.create_table(
        "verdict",
        sa.Column("id", _ID, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("false_positives", sa.Text(), nullable=False),
        sa.Column("missed", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("called_levels", sa.Text(), nullable=False),
        sa.Column("assessed_levels", sa.Text(), nullable=False),
        sa.Column("called_whole", sa.Boolean(), nullable=False),
        sa.Column("bundle_name", sa.Text(), nullable=False),
        sa.Column("bundle_version", sa.Text(), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name=op.f("fk_verdict_study_instance_uid_study")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
    )
    op.create_index(op.f("ix_verdict_study_instance_uid_id"), "verdict", ["study_instance_uid", "id"], unique=False)
    op.create_index(op.f("ix_verdict_at"), "verdict", ["at"], unique=False)
    op.add_column("account", sa.Column("language", sa.String(length=8), nullable=False, server_default=sa.text("''")))
    for columns in (["state", "created_at"], ["peer", "created_at"], ["peer", "state", "created_at"]):
        op.create_index(op.f(f"ix_delivery_{'_'.join(columns)}"), "delivery", columns, unique=False)
