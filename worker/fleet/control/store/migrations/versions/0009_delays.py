"""Delays and deadlines of runs, unique keys, tags and retry policies of orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("unique_key", sa.String(length=200), nullable=True))
    op.add_column("orders", sa.Column("retry", sa.Text(), nullable=True))
    op.add_column("orders", sa.Column("tags", sa.Text(), nullable=False, server_default=""))
    op.create_index("orders_unique", "orders", ["unique_key", "project", "status"], unique=False)
    op.add_column("runs", sa.Column("assigned", sa.BigInteger(), nullable=True))
    not_before = sa.Column("not_before", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("runs", not_before)
    op.add_column("runs", sa.Column("start_by", sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("runs_assigned", "runs", ["assigned", "project"], unique=False)
    op.create_index("runs_start_by", "runs", ["start_by"], unique=False)
