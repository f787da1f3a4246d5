"""Chunks of large contents, revisions of states, and who holds the name of a worker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chunks",
        sa.Column("owner", sa.String(length=129), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "hash", "place"),
    )
    op.create_index("chunks_received", "chunks", ["received"], unique=False)
    # With defaults, so that a control plane of the version before can go on meanwhile.
    for table in ("orders", "runs"):
        op.add_column(
            table, sa.Column("revision", sa.BigInteger(), nullable=False, server_default="0")
        )
    op.add_column(
        "workers", sa.Column("heard", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column(
        "workers", sa.Column("host", sa.String(length=200), nullable=False, server_default="")
    )
