"""Each study's standing in the node worklist beside it.

The standings are not filled in here: what they follow from is code that goes on changing. A study from before has the
state "" until the database is opened, which derives what was never derived (`storage/database.py`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: to go back, restore the copy made before."""
    op.add_column("study", sa.Column("worklist_state", sa.String(length=16), server_default=sa.text("''"), nullable=False))
    op.add_column("study", sa.Column("finding_rank", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("study", sa.Column("progress_rank", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("study", sa.Column("time_rank", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("study", sa.Column("search_text", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.create_index(
        "ix_study_worklist_state_finding_rank", "study", ["worklist_state", "finding_rank"], unique=False
    )
    op.create_index(
        "ix_study_worklist",
        "study",
        [
            "finding_rank",
            "progress_rank",
            "time_rank",
            "study_instance_uid",
            "worklist_state",
            "calling_aet",
            "last_received_at",
            "search_text",
        ],
        unique=False,
    )
