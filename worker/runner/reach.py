"""Hosts that the steps of a run may reach: those of the step's own credential, and allowed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.adaptors.http.allowlist import (
    HostPattern,
    Reach,
    hosts_in_credentials,
    parse_host_pattern,
)
from worker.runner.prepare import Options
from worker.workflow.credential_names import split_configuration
from worker.workflow.model import Workflow


def reach_of(
    workflow: Workflow,
    *,
    credentials: Mapping[str, Mapping[str, Any]],
    allowed: Sequence[HostPattern] = (),
    input: Mapping[str, Any] | None = None,
    start: str = "",
    trusts_input: bool = False,
) -> Reach:
    """Return the hosts that each step may reach.

    All steps reach the ``allowed`` hosts and those of ``workflow.credentials``; each the hosts of
    its own credential, by its name in ``credentials``; the first steps those of the input's
    ``configuration``. What stands in the workflow opens public hosts alone, as does the input
    unless ``trusts_input``.
    """
    by_step = {
        step.id: _hosts_of(step.configuration, credentials)
        for step in workflow.steps
        if step.configuration
    }
    configuration = (input or {}).get("configuration")
    if isinstance(configuration, Mapping):
        hosts = hosts_in_credentials([configuration], public_only=not trusts_input)
        for step_id in _first_steps(workflow, start):
            by_step[step_id] = (*by_step.get(step_id, ()), *hosts)
    return Reach(
        # Its credentials are merged under the configuration of every step.
        everywhere=(*allowed, *hosts_in_credentials([workflow.credentials], public_only=True)),
        by_step={id: hosts for id, hosts in by_step.items() if hosts},
    )


def local_reach(workflow: Workflow, input: Mapping[str, Any] | None, options: Options) -> Reach:
    """Return the hosts of a run on the user's own machine, with the user's credentials and input.

    Raises :class:`UsageError` for an allowed host that cannot be parsed.
    """
    return reach_of(
        workflow,
        credentials=options.credentials or {},
        allowed=[parse_host_pattern(text) for text in options.allow_hosts or ()],
        input=input,
        start=options.only or options.start,
        trusts_input=True,
    )


def _hosts_of(
    configuration: Mapping[str, Any] | str | None, credentials: Mapping[str, Mapping[str, Any]]
) -> tuple[HostPattern, ...]:
    name, own = split_configuration(configuration)
    named = hosts_in_credentials([credentials[name]] if name in credentials else [])
    # Whoever writes a workflow may not choose which private hosts the machine talks to.
    return (*named, *hosts_in_credentials([own], public_only=True))


def _first_steps(workflow: Workflow, start: str) -> set[str]:
    """Return the steps that may receive the run's input, through triggers and jobs without code."""
    steps = {step.id: step for step in workflow.steps}
    named = start or workflow.start or next(iter(steps), "")
    # A start can also be a step's name.
    first, waiting = set[str](), [id for id, step in steps.items() if named in (id, step.name)]
    while waiting:
        step = steps.get(waiting.pop())
        if step is None or step.id in first:
            continue
        first.add(step.id)
        if not step.runs_code:
            waiting += [edge.target for edge in step.open_edges]
    return first
