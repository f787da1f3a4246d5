"""An index for pages of states: among many runs that have ended, a page read all of these."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("runs_phase_changed", "runs", ["phase", "changed", "id"], unique=False)
    op.drop_index("runs_changed", table_name="runs")
