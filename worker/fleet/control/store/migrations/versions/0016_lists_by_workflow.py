"""Indexes for lists of a workflow: among many orders, that of a rare one read all of them."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("orders", "runs"):
        op.create_index(f"{table}_workflow", table, ["workflow", "created"], unique=False)
