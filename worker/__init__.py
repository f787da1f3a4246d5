"""Run, replay and test OpenFn workflows: the same rules, a real sandbox, no server.

    import worker

    workflow = worker.load("graphs/referral.yaml")
    result = worker.run(workflow, input={"data": {}}, timeout=30, memory_mb=128)
    result.status, result.error_type, result.final_state, result.path

The names in ``__all__`` are public, and those of ``worker.testing``. Every other module is private:
it moves and changes without notice.

The path of a run: a file is **loaded** into a Workflow (``worker.workflow``), **compiled** into a
Plan and **walked** by a pure machine (``worker.core``). Its steps are **executed** in a process of
their own (``worker.sandbox``), and each **event** of it goes to **sinks** (``worker.sinks``).
``worker.runner`` connects these parts; ``worker.cli`` is the command. The documentation follows a
run through them, function by function (``docs/explanation/architecture.md``).
"""

from __future__ import annotations

from worker.util.lazy_exports import lazy_exports
from worker.version import VERSION

# Not that of typing, which takes a third as long to import as an interpreter to start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from worker.adaptors.collections.settings import Collections
    from worker.adaptors.http.allowlist import HostPattern, parse_host_pattern
    from worker.core.events import (
        AnyEvent,
        Dataclip,
        Event,
        RunComplete,
        RunLog,
        RunStart,
        StepComplete,
        StepStart,
    )
    from worker.core.outcome import Position, StepError
    from worker.core.scripted import Script, ScriptedStep
    from worker.core.status import Reason, Status
    from worker.errors import LoadError, MachineError, PlanError, UsageError, WorkerError
    from worker.fleet.client import Client
    from worker.fleet.connect import connect
    from worker.fleet.control.alerts import AlertNotifier
    from worker.fleet.control.policy import (
        ClientRights,
        CredentialUse,
        Policy,
        ProjectLimits,
        RateLimit,
        read_policy,
    )
    from worker.fleet.control.unit_of_work import Settings
    from worker.fleet.control_errors import ControlError, NoAnswer
    from worker.fleet.local_fleet import local_fleet
    from worker.fleet.messaging.client_messages import OrderQuery, RunQuery
    from worker.fleet.messaging.messages import RunOptions
    from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
    from worker.fleet.notifications import Gap, Notification
    from worker.fleet.reply_objects import (
        ListedWorker,
        Order,
        ReplyObject,
        Run,
        RunLease,
        RunStep,
    )
    from worker.fleet.worker.run_executor import Allowance
    from worker.runner.pool import Pool, run, run_async
    from worker.runner.prepare import Options
    from worker.runner.result import PathEntry, Result, StepResult
    from worker.runner.run_fields import RunFields
    from worker.sandbox.clock import ClockKind
    from worker.sandbox.isolation import Isolation
    from worker.sandbox.limits import Limits
    from worker.sandbox.parent.host import (
        CallTraffic,
        Host,
        HostCall,
        HostReply,
        RunTraffic,
        TrafficExceeded,
    )
    from worker.sinks.base import Sink
    from worker.sinks.journal import EventLines, Journal, JournalError, read_journal
    from worker.sinks.log import LeveledLogger, LogSink
    from worker.sinks.terminal import LiveTree, PlainLines
    from worker.view.report.write import report
    from worker.workflow.load import load
    from worker.workflow.model import (
        Edge,
        EdgeKind,
        Language,
        LoadWarning,
        Step,
        StepKind,
        Workflow,
    )
    from worker.workflow.order_retry import OrderRetry

__version__ = VERSION

# The one table of public names. It holds too what their signatures and docstrings mention, so that
# nobody needs a private module to annotate or to catch what they were given.
_MODULES = {
    "Alert": "worker.fleet.messaging.state_messages",
    "AlertNotifier": "worker.fleet.control.alerts",
    "Allowance": "worker.fleet.worker.run_executor",
    "AnyEvent": "worker.core.events",
    "CallTraffic": "worker.sandbox.parent.host",
    "Client": "worker.fleet.client",
    "ClientRights": "worker.fleet.control.policy",
    "ClockKind": "worker.sandbox.clock",
    "Collections": "worker.adaptors.collections.settings",
    "ControlError": "worker.fleet.control_errors",
    "CredentialUse": "worker.fleet.control.policy",
    "Dataclip": "worker.core.events",
    "Edge": "worker.workflow.model",
    "EdgeKind": "worker.workflow.model",
    "Event": "worker.core.events",
    "EventLines": "worker.sinks.journal",
    "Gap": "worker.fleet.notifications",
    "Host": "worker.sandbox.parent.host",
    "HostCall": "worker.sandbox.parent.host",
    "HostPattern": "worker.adaptors.http.allowlist",
    "HostReply": "worker.sandbox.parent.host",
    "Isolation": "worker.sandbox.isolation",
    "Journal": "worker.sinks.journal",
    "JournalError": "worker.sinks.journal",
    "Language": "worker.workflow.model",
    "LeveledLogger": "worker.sinks.log",
    "Limits": "worker.sandbox.limits",
    "ListedWorker": "worker.fleet.reply_objects",
    "LiveTree": "worker.sinks.terminal",
    "LoadError": "worker.errors",
    "LoadWarning": "worker.workflow.model",
    "LogSink": "worker.sinks.log",
    "NoAnswer": "worker.fleet.control_errors",
    "Notification": "worker.fleet.notifications",
    "Options": "worker.runner.prepare",
    "Order": "worker.fleet.reply_objects",
    "OrderQuery": "worker.fleet.messaging.client_messages",
    "OrderRetry": "worker.workflow.order_retry",
    "OrderState": "worker.fleet.messaging.state_messages",
    "PathEntry": "worker.runner.result",
    "PlainLines": "worker.sinks.terminal",
    "PlanError": "worker.errors",
    "Policy": "worker.fleet.control.policy",
    "Pool": "worker.runner.pool",
    "Position": "worker.core.outcome",
    "ProjectLimits": "worker.fleet.control.policy",
    "RateLimit": "worker.fleet.control.policy",
    "Reason": "worker.core.status",
    "ReplyObject": "worker.fleet.reply_objects",
    "Result": "worker.runner.result",
    "Run": "worker.fleet.reply_objects",
    "RunComplete": "worker.core.events",
    "RunEvents": "worker.fleet.messaging.state_messages",
    "RunLease": "worker.fleet.reply_objects",
    "RunLog": "worker.core.events",
    "RunOptions": "worker.fleet.messaging.messages",
    "RunQuery": "worker.fleet.messaging.client_messages",
    "RunStart": "worker.core.events",
    "RunStep": "worker.fleet.reply_objects",
    "RunState": "worker.fleet.messaging.state_messages",
    "RunTraffic": "worker.sandbox.parent.host",
    "Script": "worker.core.scripted",
    "ScriptedStep": "worker.core.scripted",
    "Settings": "worker.fleet.control.unit_of_work",
    "Sink": "worker.sinks.base",
    "Status": "worker.core.status",
    "StepResult": "worker.runner.result",
    "MachineError": "worker.errors",
    "RunFields": "worker.runner.run_fields",
    "Step": "worker.workflow.model",
    "StepComplete": "worker.core.events",
    "StepError": "worker.core.outcome",
    "StepKind": "worker.workflow.model",
    "StepStart": "worker.core.events",
    "TrafficExceeded": "worker.sandbox.parent.host",
    "UsageError": "worker.errors",
    "WorkerError": "worker.errors",
    "Workflow": "worker.workflow.model",
    "connect": "worker.fleet.connect",
    "load": "worker.workflow.load",
    "local_fleet": "worker.fleet.local_fleet",
    "parse_host_pattern": "worker.adaptors.http.allowlist",
    "read_journal": "worker.sinks.journal",
    "read_policy": "worker.fleet.control.policy",
    "report": "worker.view.report.write",
    "run": "worker.runner.pool",
    "run_async": "worker.runner.pool",
}

# Spelled out for type checkers and editors, which read no table; a test compares the two.
__all__ = [
    "Alert",
    "AlertNotifier",
    "Allowance",
    "AnyEvent",
    "CallTraffic",
    "Client",
    "ClientRights",
    "ClockKind",
    "Collections",
    "ControlError",
    "CredentialUse",
    "Dataclip",
    "Edge",
    "EdgeKind",
    "Event",
    "EventLines",
    "Gap",
    "Host",
    "HostCall",
    "HostPattern",
    "HostReply",
    "Isolation",
    "Journal",
    "JournalError",
    "Language",
    "LeveledLogger",
    "Limits",
    "ListedWorker",
    "LiveTree",
    "LoadError",
    "LoadWarning",
    "LogSink",
    "MachineError",
    "NoAnswer",
    "Notification",
    "Options",
    "Order",
    "OrderQuery",
    "OrderRetry",
    "OrderState",
    "PathEntry",
    "PlainLines",
    "PlanError",
    "Policy",
    "Pool",
    "Position",
    "ProjectLimits",
    "RateLimit",
    "Reason",
    "ReplyObject",
    "Result",
    "Run",
    "RunComplete",
    "RunEvents",
    "RunFields",
    "RunLease",
    "RunLog",
    "RunOptions",
    "RunQuery",
    "RunStart",
    "RunState",
    "RunStep",
    "RunTraffic",
    "Script",
    "ScriptedStep",
    "Settings",
    "Sink",
    "Status",
    "Step",
    "StepComplete",
    "StepError",
    "StepKind",
    "StepResult",
    "StepStart",
    "TrafficExceeded",
    "UsageError",
    "WorkerError",
    "Workflow",
    "__version__",
    "connect",
    "load",
    "local_fleet",
    "parse_host_pattern",
    "read_journal",
    "read_policy",
    "report",
    "run",
    "run_async",
]

# On first use: the process that forks runs and `worker --help` need next to nothing of this.
__getattr__, __dir__ = lazy_exports(__name__, _MODULES, ("testing",))
