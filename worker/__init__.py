"""Run, replay and test OpenFn workflows: the same rules, a real sandbox, no server.

The journey of a run: a file is **loaded** into a Workflow (``worker.plan.load``), **compiled**
into a Plan (``worker.plan.compile``), **walked** by a pure machine (``worker.walk.machine``) whose
steps are **executed** in a process of their own (``worker.execute``), and every fact becomes an
**event** (``worker.walk.events``) that **sinks** receive (``worker.sinks``). ``worker.runner`` ties
them together; ``worker.cli`` is the command.

    workflow = worker.load("graphs/referral.yaml")
    result = worker.run(workflow, input={"data": {}}, timeout=30, memory_mb=128)
    result.status, result.error_type, result.final_state, result.path
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker import version

if TYPE_CHECKING:
    from worker.client import Client
    from worker.connect import connect, local_fleet
    from worker.errors import LoadError, PlanError, UsageError, WorkerError
    from worker.execute.limits import Limits
    from worker.plan.load import load
    from worker.plan.workflow import Workflow
    from worker.prepare import Options
    from worker.result import Result
    from worker.runner import Pool, run, run_async
    from worker.walk.status import Status

__version__ = version.VERSION

_HOMES = {
    "Client": "worker.client",
    "connect": "worker.connect",
    "local_fleet": "worker.connect",
    "LoadError": "worker.errors",
    "PlanError": "worker.errors",
    "UsageError": "worker.errors",
    "WorkerError": "worker.errors",
    "Limits": "worker.execute.limits",
    "load": "worker.plan.load",
    "Workflow": "worker.plan.workflow",
    "Status": "worker.walk.status",
    "Options": "worker.runner",
    "Pool": "worker.runner",
    "Result": "worker.runner",
    "run": "worker.runner",
    "run_async": "worker.runner",
}

__all__ = [
    "Client",
    "Limits",
    "LoadError",
    "Options",
    "PlanError",
    "Pool",
    "Result",
    "Status",
    "UsageError",
    "WorkerError",
    "Workflow",
    "__version__",
    "connect",
    "load",
    "local_fleet",
    "run",
    "run_async",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the zygote and ``worker --help`` need next to nothing of this."""
    if name not in _HOMES:
        raise AttributeError(f"module 'worker' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
