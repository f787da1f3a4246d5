"""Deployed workflows, their versions and triggers, and what the triggers have fired."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID, _NAME = sa.String(length=64), sa.String(length=1000)
_WORKFLOW = sa.String(length=200)


def upgrade() -> None:
    op.create_table(
        "workflow_versions",
        sa.Column("project", _ID, nullable=False),
        sa.Column("name", _WORKFLOW, nullable=False),
        sa.Column("version", _ID, nullable=False),
        sa.Column("plan_id", _ID, nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=False),
        sa.Column("triggers", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "version"),
    )
    op.create_table(
        "deployments",
        sa.Column("project", _ID, nullable=False),
        sa.Column("name", _WORKFLOW, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("version", _ID, nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("client", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "number"),
    )
    op.create_table(
        "triggers",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("project", _ID, nullable=False),
        sa.Column("workflow", _WORKFLOW, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("address", _NAME, nullable=False),
        sa.Column("next_tick", sa.BigInteger(), nullable=True),
        sa.Column("last_fired", sa.BigInteger(), nullable=True),
        sa.Column("fired", sa.BigInteger(), nullable=False),
    )
    op.create_index("triggers_live", "triggers", ["live", "kind", "next_tick"], unique=False)
    op.create_index("triggers_workflow", "triggers", ["project", "workflow"], unique=False)
    op.create_table(
        "trigger_keys",
        sa.Column("trigger_id", _ID, nullable=False),
        sa.Column("key", _ID, nullable=False),
        sa.Column("order_id", _ID, nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trigger_id", "key"),
    )
    op.create_index("trigger_keys_expires", "trigger_keys", ["expires"], unique=False)
    op.create_table(
        "trigger_ticks",
        sa.Column("trigger_id", _ID, nullable=False),
        sa.Column("tick", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("order_id", _ID, nullable=True),
        sa.PrimaryKeyConstraint("trigger_id", "tick"),
    )
    op.create_index("trigger_ticks_outcome", "trigger_ticks", ["outcome", "tick"], unique=False)
    op.create_table(
        "trigger_firings",
        sa.Column("order_id", _ID, primary_key=True),
        sa.Column("trigger_id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reply_topic", _NAME, nullable=False),
        sa.Column("correlation", sa.Text(), nullable=False),
        sa.Column("reply_due", sa.Boolean(), nullable=False),
    )
    op.create_index("trigger_firings_trigger", "trigger_firings", ["trigger_id", "at"])
    op.create_index("trigger_firings_reply", "trigger_firings", ["reply_due", "at"])
    op.create_table(
        "dead_letters",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("trigger_id", _ID, nullable=False),
        sa.Column("project", _ID, nullable=False),
        sa.Column("workflow", _WORKFLOW, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("topic", _NAME, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
    )
    op.create_index("dead_letters_at", "dead_letters", ["at"], unique=False)
