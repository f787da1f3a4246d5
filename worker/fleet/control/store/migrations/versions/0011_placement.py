"""Offers of workers, and the needs of orders and runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("needs", sa.Text(), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("needs", sa.Text(), nullable=False, server_default=""))
    op.add_column("workers", sa.Column("offers", sa.Text(), nullable=True))
