"""An index for late runs: each tick read all waiting runs to find those."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("runs_late", "runs", ["phase", "start_by"], unique=False)
    op.drop_index("runs_start_by", table_name="runs")
