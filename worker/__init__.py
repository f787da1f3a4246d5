"""Run, replay and test OpenFn workflows: the same rules, a real sandbox, no server.

The path of a run: a file is **loaded** into a Workflow (``worker.workflow.load``), **compiled**
into a Plan (``worker.core.compile_plan``), **walked** by a pure machine
(``worker.core.machine``) whose steps are **executed** in a process of their own
(``worker.sandbox``); everything that happens becomes an **event** (``worker.core.events``) that
**sinks** receive (``worker.sinks``).
``worker.runner.pool`` connects them; ``worker.cli.main`` is the command.

    workflow = worker.load("graphs/referral.yaml")
    result = worker.run(workflow, input={"data": {}}, timeout=30, memory_mb=128)
    result.status, result.error_type, result.final_state, result.path
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker import version

if TYPE_CHECKING:
    from worker.core.status import Status
    from worker.errors import LoadError, PlanError, UsageError, WorkerError
    from worker.fleet.client import Client
    from worker.fleet.connect import connect
    from worker.fleet.local_fleet import local_fleet
    from worker.runner.pool import Pool, run, run_async
    from worker.runner.prepare import Options
    from worker.runner.result import Result
    from worker.sandbox.limits import Limits
    from worker.workflow.load import load
    from worker.workflow.model import Workflow

__version__ = version.VERSION

_HOMES = {
    "Client": "worker.fleet.client",
    "connect": "worker.fleet.connect",
    "local_fleet": "worker.fleet.local_fleet",
    "LoadError": "worker.errors",
    "PlanError": "worker.errors",
    "UsageError": "worker.errors",
    "WorkerError": "worker.errors",
    "Limits": "worker.sandbox.limits",
    "load": "worker.workflow.load",
    "Workflow": "worker.workflow.model",
    "Status": "worker.core.status",
    "Options": "worker.runner.pool",
    "Pool": "worker.runner.pool",
    "Result": "worker.runner.pool",
    "run": "worker.runner.pool",
    "run_async": "worker.runner.pool",
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
