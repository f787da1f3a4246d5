"""From a workflow as written to a plan that can be walked: the graph, checked once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from worker.errors import PlanError
from worker.plan.plan import Plan
from worker.plan.workflow import Step, Workflow

if TYPE_CHECKING:
    import networkx as nx


def graph(workflow: Workflow) -> nx.DiGraph[str]:
    """The workflow as a graph: nodes by step id (``step``), edges with their ``edge``."""
    import networkx as nx

    found: nx.DiGraph[str] = nx.DiGraph()
    found.add_nodes_from((step.id, {"step": step}) for step in workflow.steps)
    found.add_edges_from(
        (edge.source, edge.target, {"edge": edge}) for step in workflow.steps for edge in step.edges
    )
    return found


def compile(workflow: Workflow, *, start: str = "", end: str = "", only: str = "") -> Plan:
    """The plan of a workflow.

    ``start``, ``end`` and ``only`` (start and end there) are ids or names of steps. Raises
    :class:`PlanError` where there are no steps, for duplicate ids, unknown targets, an unknown
    start and cycles; an unknown end is allowed, and never reached.
    """
    _check_steps(workflow)
    _check_targets(workflow)
    _check_cycles(workflow)
    first = only or start or workflow.start or workflow.steps[0].id
    last = only or end or workflow.end
    return Plan(
        name=workflow.name,
        steps=workflow.steps,
        start=_known(workflow, first),
        end=_resolve(workflow, last) or last,
        index={step.id: place for place, step in enumerate(workflow.steps)},
    )


def _check_steps(workflow: Workflow) -> None:
    if not workflow.steps:
        raise PlanError("the workflow has no steps")
    for id, count in Counter(step.id for step in workflow.steps).items():
        if count > 1:
            raise PlanError(f"{count} steps have the id '{id}'")


def _check_targets(workflow: Workflow) -> None:
    known = {step.id for step in workflow.steps}
    for step in workflow.steps:
        for edge in step.edges:
            if edge.target not in known:
                raise PlanError(
                    f"an edge of '{step.id}' leads to '{edge.target}', which is no step"
                )


def _check_cycles(workflow: Workflow) -> None:
    import networkx as nx

    checked = graph(workflow)
    if nx.is_directed_acyclic_graph(checked):
        return
    cycle = [source for source, _ in nx.find_cycle(checked)]
    shown = [*cycle, cycle[0]] if len(cycle) <= 12 else [*cycle[:6], "...", *cycle[-5:], cycle[0]]
    raise PlanError(f"the steps form a cycle: {' -> '.join(shown)}")


def _known(workflow: Workflow, name: str) -> str:
    found = _resolve(workflow, name)
    if found is None:
        some = ", ".join(f"'{step.id}'" for step in workflow.steps[:10])
        raise PlanError(f"the run cannot start at '{name}', which is no step (there are: {some})")
    return found


def _resolve(workflow: Workflow, name: str) -> str | None:
    """The id of the step with this id, or with this name if one step alone has it."""
    if any(step.id == name for step in workflow.steps):
        return name
    named: list[Step] = [step for step in workflow.steps if name and step.name == name]
    return named[0].id if len(named) == 1 else None
