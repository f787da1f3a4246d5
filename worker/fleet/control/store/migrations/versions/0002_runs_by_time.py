"""Indexes for the list of the newest runs."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("runs_created", "runs", ["created"], unique=False)
    op.create_index("runs_status", "runs", ["status", "created"], unique=False)
