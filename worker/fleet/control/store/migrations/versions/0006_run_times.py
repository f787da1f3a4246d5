"""The control plane's time of a run's last change: its start and end are the worker's times."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("changed", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("skew", sa.BigInteger(), nullable=True))
    op.execute("UPDATE runs SET changed = coalesce(finished, started, created)")
    op.drop_index("runs_finished", table_name="runs")
    op.create_index("runs_changed", "runs", ["changed"], unique=False)
