"""Content of an order, and the plan of a run that differs from its order's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("ref", sa.String(length=200), nullable=True))
    op.add_column("orders", sa.Column("content", sa.String(length=64), nullable=True))
    op.add_column("orders", sa.Column("request", sa.String(length=64), nullable=True))
    # As text: with a constraint of its own, SQLite would have to copy the whole table.
    op.execute("ALTER TABLE runs ADD COLUMN plan VARCHAR(64) REFERENCES plans (id)")
    op.create_index("runs_plan", "runs", ["plan"], unique=False)
    op.create_index("runs_project", "runs", ["project", "created"], unique=False)
