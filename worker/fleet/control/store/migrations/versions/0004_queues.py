"""Queues by project and priority, without the counters that each transaction had to write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "queues",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "priority"),
    )
    op.create_index("queues_rank", "queues", ["rank", "since"], unique=False)
    op.drop_index("runs_queue", table_name="runs")
    op.create_index(
        "runs_waiting", "runs", ["phase", "project", "priority", "age", "workflow"], unique=False
    )
    op.execute(
        "INSERT INTO queues (project, priority, since, rank) "
        "SELECT project, priority, min(age), min(age) / 300000000 - priority "
        "FROM runs WHERE phase = 'available' GROUP BY project, priority"
    )
    op.drop_table("lanes")
