"""Workload of a simulation: its workflows, the policy over them, and what follows from the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from worker.core.compile_plan import compile_plan
from worker.errors import PlanError, UsageError
from worker.fleet.control.policy import ANYBODY, Policy
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import DEFAULT_NAMES, WorkflowRegistry, register
from worker.fleet.worker.worker_publisher import WorkerOffer
from worker.workflow.load import load
from worker.workflow.model import Workflow
from worker.workflow.order_retry import OrderRetry

_PROJECTS = tuple(f"p{number}" for number in range(12))
BUILT_IN = load(
    {
        "workflow": {
            "name": "simulated",
            "steps": [{"id": "a", "adaptor": "common", "expression": "fn(state => state)"}],
        }
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """How often the runs of an order are done again, and after which ends."""

    times: int = 0
    idempotent: bool = False
    policy: OrderRetry | None = None

    def covers(self, status: str, error_type: str | None) -> bool:
        """Return True where a run that ended so may be followed by a new one."""
        if status == "lost" and not self.idempotent:
            return False
        return status == "lost" if self.policy is None else self.policy.covers(status, error_type)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Workflows that orders name, and the policy that holds for them.

    The rights of clients are left out: those of a simulation are no users of a broker.
    """

    workflows: tuple[Workflow, ...] = (BUILT_IN,)
    policy: Policy = field(default_factory=Policy)

    def check(self) -> None:
        """Raise :class:`WorkerError` where a workflow cannot run, or no project may run it."""
        self.registry()
        for workflow in self.workflows:
            try:
                compile_plan(workflow)
            except PlanError as error:
                raise PlanError(f"{workflow.file}: {error}") from error
        placed = {name for name, _ in self.places}
        for name in self._by_name:
            if name not in placed:
                raise UsageError(f"the policy lets no project use the credentials of '{name}'")

    @cached_property
    def _by_name(self) -> Mapping[str, Workflow]:
        return {_order_name(workflow): workflow for workflow in self.workflows}

    def registry(self) -> WorkflowRegistry:
        registry = WorkflowRegistry()
        for workflow in self.workflows:
            registry.add(workflow, _order_name(workflow))
        return registry

    @cached_property
    def places(self) -> tuple[tuple[str, str], ...]:
        """List the workflows by name, each with the projects that may run it."""
        uses = [use for each in self.policy.credentials.values() for use in each]
        named = {*self.policy.projects, *(use.project for use in uses)} - {ANYBODY}
        # One without an entry has the default limits.
        projects = (*sorted(named), _PROJECTS[0]) if named else _PROJECTS
        return tuple(
            (name, project)
            for name, workflow in self._by_name.items()
            for project in projects
            if self._may_run(workflow, project)
        )

    def _may_run(self, workflow: Workflow, project: str) -> bool:
        registered = register(workflow)
        refused = self.policy.first_refused(registered.credentials, project, registered.name)
        return refused is None

    def offer(self) -> WorkerOffer:
        """Return what a worker offers on whom all of the workload can be placed."""
        limits = (self.policy.default, *self.policy.projects.values())
        labels = {label for each in limits for label in each.placement}
        for workflow in self.workflows:
            labels.update(workflow.options.get("placement", ()))
        credentials = {name for each in self.workflows for name in register(each).credentials}
        steps = [step for each in self.workflows for step in each.steps]
        return WorkerOffer(
            labels=tuple(sorted(labels)),
            credentials=tuple(sorted(credentials)),
            adaptors=tuple(sorted({name for step in steps for name in step.adaptors})),
        )

    def repetition(self, name: str, project: str) -> Repetition:
        """Return how the runs of an order are repeated; ``name`` is that of its workflow."""
        workflow, limits = self._by_name[name], self.policy.of(project)
        own_name = register(workflow).name
        options = workflow.options.get("retry")
        of_workflow = None if options is None else msgspec.convert(options, OrderRetry)
        policy = limits.retries.get(own_name) or of_workflow or limits.retry
        idempotent = bool(workflow.options.get("idempotent")) or own_name in limits.idempotent
        if policy is not None:
            return Repetition(times=policy.times, idempotent=idempotent, policy=policy)
        times = Settings().lost_retries if idempotent else 0
        return Repetition(times=times, idempotent=idempotent)

    def concurrency(self, name: str, project: str) -> int | None:
        """Return how many runs of a workflow a project may execute at once."""
        return self.policy.concurrency(project, register(self._by_name[name]).name)

    def longest_pause_s(self) -> float:
        """Return the longest time for which an order can wait although workers are free."""
        retries = [self.repetition(*place).policy for place in self.places]
        limits = [self.policy.of(project) for _, project in self.places]
        queued = [limit for limit in limits if limit.per_period and limit.over_limit == "queue"]
        rates = [rate for limit in limits for rate in limit.rates.values()]
        pauses = [retry.max_after_s * (1 + retry.jitter) for retry in retries if retry is not None]
        pauses += [limit.period_s for limit in queued]
        pauses += [rate.period_s for rate in (*rates, *self.policy.credential_rates.values())]
        return max(pauses, default=0.0)

    def holds_back(self, name: str, project: str) -> bool:
        """Return True where the policy lets no run of a workflow begin."""
        limits = self.policy.of(project)
        return self.concurrency(name, project) == 0 or 0 in (limits.concurrent, limits.per_period)


def _order_name(workflow: Workflow) -> str:
    name = register(workflow).name
    if name in DEFAULT_NAMES:
        return workflow.id or Path(workflow.file).stem or name
    return name
