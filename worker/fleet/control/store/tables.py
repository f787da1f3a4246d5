"""The tables. Times are in microseconds since the epoch; states and events are JSON text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

METADATA = MetaData()
_ID = String(64)
_NAME = String(1000)
_WORKFLOW = String(200)
# The owner of a dataclip and its id, as ``owner/id``: twice 64 characters and the slash.
_DATACLIP = String(129)

ORDERS = Table(
    "orders",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("project", _ID, nullable=False),
    Column("workflow", _NAME, nullable=False),
    # The foreign key keeps retention from deleting a plan that another control plane has just
    # accepted an order for.
    Column("plan", _ID, ForeignKey("plans.id"), nullable=False, index=True),
    Column("input", _DATACLIP, nullable=False),
    Column("options", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("created", BigInteger, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("last_run", _ID),
    Column("ref", String(200)),
    Column("content", _ID),
    Column("request", _ID),
    Column("unique_key", String(200)),
    Column("retry", Text),
    Column("tags", Text, nullable=False, server_default=""),
    Column("erased", BigInteger),
    Column("needs", Text, nullable=False, server_default=""),
    Column("placement", Text),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Index("orders_created", "created"),
    Index("orders_status", "status", "created"),
    Index("orders_project", "project", "created"),
    Index("orders_workflow", "workflow", "created"),
    Index("orders_erased", "erased"),
    Index("orders_unique", "unique_key", "project", "status"),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("order_id", _ID, nullable=False),
    Column("number", Integer, nullable=False),
    Column("project", _ID, nullable=False),
    Column("workflow", _NAME, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("age", BigInteger, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("start", _NAME, nullable=False),
    Column("input", _DATACLIP, nullable=False),
    Column("claim_id", _ID),
    Column("worker", _ID),
    Column("incarnation", _ID),
    Column("token", _ID),
    Column("expires", BigInteger, nullable=False),
    Column("cancelling", Boolean, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Column("error_type", String(200)),
    Column("error_message", Text),
    Column("plan", _ID, ForeignKey("plans.id")),
    Column("changed", BigInteger, nullable=False, server_default="0"),
    Column("skew", BigInteger),
    Column("assigned", BigInteger),
    Column("not_before", BigInteger, nullable=False, server_default="0"),
    Column("start_by", BigInteger),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("needs", Text, nullable=False, server_default=""),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Index("runs_order", "order_id", "number"),
    Index("runs_expiry", "phase", "expires"),
    Index("runs_claim", "claim_id"),
    Index("runs_phase_changed", "phase", "changed", "id"),
    Index("runs_created", "created"),
    Index("runs_status", "status", "created"),
    Index("runs_plan", "plan"),
    # In the order of a queue, with the workflow, as runs over its limit are passed over.
    Index("runs_waiting", "phase", "project", "priority", "age", "workflow"),
    Index("runs_project", "project", "created"),
    Index("runs_workflow", "workflow", "created"),
    Index("runs_late", "phase", "start_by"),
    Index("runs_assigned", "assigned", "project"),
)

# The queues that have runs, or had some a moment ago. They are not counted: a counter would be
# written by each transaction, and control planes would wait for each other's.
QUEUES = Table(
    "queues",
    METADATA,
    Column("project", _ID, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("rank", BigInteger, nullable=False),
    PrimaryKeyConstraint("project", "priority"),
    Index("queues_rank", "rank", "since"),
)

# Rows to lock, so that two orders do not both take the last room of a project. The counts of
# versions before 0003 are written as 0.
PROJECTS = Table(
    "projects",
    METADATA,
    Column("name", _ID, primary_key=True),
    Column("period_began", BigInteger, nullable=False),
    Column("accepted", Integer, nullable=False),
)

PLANS = Table(
    "plans",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("text", Text, nullable=False),
)

# The owner of a dataclip is the order whose input it is, or the run that produced it.
DATACLIPS = Table(
    "clips",
    METADATA,
    Column("owner", _ID, nullable=False),
    Column("id", _ID, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("owner", "id"),
)

# Parts of contents that are too large for a message, until something refers to them.
CHUNKS = Table(
    "chunks",
    METADATA,
    Column("owner", _DATACLIP, nullable=False),
    Column("hash", _ID, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("owner", "hash", "place"),
    Index("chunks_received", "received"),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("run_id", _ID, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", String(16), nullable=False),
    Column("clip", _ID),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "attempt", "seq"),
)

# Reports that came after their lease had ended, for the record alone.
STALE_REPORTS = Table(
    "stale_reports",
    METADATA,
    Column("run_id", _ID, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("worker", _ID, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "attempt", "seq"),
)

ALERTS = Table(
    "alerts",
    METADATA,
    Column("run_id", _ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("notified", BigInteger),
    Column("delivered", String(200)),
    Column("acknowledged", BigInteger),
    Column("acknowledged_by", _ID),
    Index("alerts_notified", "notified", "at"),
)

# The workflows whose runs are not leased for now. The project ``*`` is all of them, and an empty
# workflow all of a project.
ALL_PROJECTS = "*"
WHOLE_PROJECT = ""
PAUSES = Table(
    "pauses",
    METADATA,
    Column("project", _ID, nullable=False),
    Column("workflow", _NAME, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("client", _ID, nullable=False),
    PrimaryKeyConstraint("project", "workflow"),
)

# Who did what. The subject is an order, a workflow or a project.
ACTIONS = Table(
    "actions",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("client", _ID, nullable=False),
    Column("action", String(32), nullable=False),
    Column("project", _ID, nullable=False),
    Column("subject", _NAME, nullable=False),
    Column("detail", Text, nullable=False),
    Index("actions_subject", "subject", "at"),
    Index("actions_at", "at"),
)

WORKERS = Table(
    "workers",
    METADATA,
    Column("name", _ID, primary_key=True),
    Column("incarnation", _ID, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("version", _ID, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("offers", Text),
    Column("heard", BigInteger, nullable=False, server_default="0"),
    Column("host", String(200), nullable=False, server_default=""),
)

META = Table(
    "meta",
    METADATA,
    Column("key", _ID, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# The plan stands here and not in a row of PLANS, which retention deletes when no order needs it.
WORKFLOW_VERSIONS = Table(
    "workflow_versions",
    METADATA,
    Column("project", _ID, nullable=False),
    Column("name", _WORKFLOW, nullable=False),
    Column("version", _ID, nullable=False),
    Column("plan_id", _ID, nullable=False),
    Column("plan", Text, nullable=False),
    Column("credentials", Text, nullable=False),
    Column("triggers", Text, nullable=False),
    PrimaryKeyConstraint("project", "name", "version"),
)

# The version of a workflow is that of its deployment with the highest number.
DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    Column("project", _ID, nullable=False),
    Column("name", _WORKFLOW, nullable=False),
    Column("number", Integer, nullable=False),
    Column("version", _ID, nullable=False),
    Column("action", String(16), nullable=False),
    Column("client", _ID, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("project", "name", "number"),
)

# The triggers of present versions are live unless disabled. ``address`` is a topic or a path.
TRIGGERS = Table(
    "triggers",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("project", _ID, nullable=False),
    Column("workflow", _WORKFLOW, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("live", Boolean, nullable=False),
    Column("definition", Text, nullable=False),
    Column("address", _NAME, nullable=False),
    Column("next_tick", BigInteger),
    Column("last_fired", BigInteger),
    Column("fired", BigInteger, nullable=False),
    Index("triggers_live", "live", "kind", "next_tick"),
    Index("triggers_workflow", "project", "workflow"),
)

# The keys of messages that have an order, for the time that a repetition may come.
TRIGGER_KEYS = Table(
    "trigger_keys",
    METADATA,
    Column("trigger_id", _ID, nullable=False),
    Column("key", _ID, nullable=False),
    Column("order_id", _ID, nullable=False),
    Column("expires", BigInteger, nullable=False),
    PrimaryKeyConstraint("trigger_id", "key"),
    Index("trigger_keys_expires", "expires"),
)

# The primary key is what makes a tick fire once, whatever control planes do.
TRIGGER_TICKS = Table(
    "trigger_ticks",
    METADATA,
    Column("trigger_id", _ID, nullable=False),
    Column("tick", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("order_id", _ID),
    PrimaryKeyConstraint("trigger_id", "tick"),
    Index("trigger_ticks_outcome", "outcome", "tick"),
)

# The orders of triggers, and where to send the result of each.
TRIGGER_FIRINGS = Table(
    "trigger_firings",
    METADATA,
    Column("order_id", _ID, primary_key=True),
    Column("trigger_id", _ID, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reply_topic", _NAME, nullable=False),
    Column("correlation", Text, nullable=False),
    Column("reply_due", Boolean, nullable=False),
    Index("trigger_firings_trigger", "trigger_id", "at"),
    Index("trigger_firings_reply", "reply_due", "at"),
)

DEAD_LETTERS = Table(
    "dead_letters",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("trigger_id", _ID, nullable=False),
    Column("project", _ID, nullable=False),
    Column("workflow", _WORKFLOW, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("topic", _NAME, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index("dead_letters_at", "at"),
)
