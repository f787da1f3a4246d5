"""Orders whose states and logs were erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("erased", sa.BigInteger(), nullable=True))
    op.create_index("orders_erased", "orders", ["erased"], unique=False)
