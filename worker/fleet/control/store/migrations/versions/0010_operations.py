"""Pauses of workflows and projects, who did what, and acknowledged alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("workflow", sa.String(length=1000), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("project", "workflow"),
    )
    op.create_table(
        "actions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=1000), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("actions_subject", "actions", ["subject", "at"], unique=False)
    op.create_index("actions_at", "actions", ["at"], unique=False)
    op.add_column("alerts", sa.Column("acknowledged", sa.BigInteger(), nullable=True))
    op.add_column("alerts", sa.Column("acknowledged_by", sa.String(length=64), nullable=True))
