"""From a workflow as written to a plan that can be walked: the graph, checked once.

networkx is imported where it is needed: it takes 0.1 s, which a run's own process never pays.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from worker.core.plan import Plan
from worker.errors import PlanError
from worker.workflow.documents.data import did_you_mean, shorten
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    import networkx as nx


def build_graph(workflow: Workflow) -> nx.DiGraph[str]:
    """The workflow as a graph: nodes by step id (``step``), edges with their ``edge``."""
    import networkx as nx

    found: nx.DiGraph[str] = nx.DiGraph()
    found.add_nodes_from((step.id, {"step": step}) for step in workflow.steps)
    found.add_edges_from(
        (edge.source, edge.target, {"edge": edge}) for step in workflow.steps for edge in step.edges
    )
    return found


def compile_plan(workflow: Workflow, *, start: str = "", end: str = "", only: str = "") -> Plan:
    """The plan of a workflow.

    ``start``, ``end`` and ``only`` (start and end there) are ids of steps, or names that one step
    alone has. Raises :class:`PlanError` where there are no steps, for duplicate ids, unknown
    targets, an unknown start and cycles; an unknown end is allowed, and never reached.
    """
    _check_steps(workflow)
    _check_targets(workflow)
    _check_cycles(workflow)
    first = only or start or workflow.start or workflow.steps[0].id
    last = only or end or workflow.end
    ending = _meant(workflow, last)
    return Plan(
        name=workflow.name,
        steps=workflow.steps,
        start=_known(workflow, first),
        end=ending[0] if len(ending) == 1 else last,
        index={step.id: place for place, step in enumerate(workflow.steps)},
    )


def _check_steps(workflow: Workflow) -> None:
    if not workflow.steps:
        raise PlanError("the workflow has no steps")
    for id, count in Counter(step.id for step in workflow.steps).items():
        if count > 1:
            raise PlanError(f"{count} steps have the id '{shorten(id)}'")


def _check_targets(workflow: Workflow) -> None:
    known = {step.id for step in workflow.steps}
    for step in workflow.steps:
        for edge in step.edges:
            if edge.target not in known:
                hint = did_you_mean(edge.target, known)
                raise PlanError(
                    f"an edge of '{shorten(step.id)}' leads to '{shorten(edge.target)}', "
                    f"which is no step{hint}"
                )


def _check_cycles(workflow: Workflow) -> None:
    import networkx as nx

    checked = build_graph(workflow)
    if not nx.is_directed_acyclic_graph(checked):
        cycle = [source for source, _ in nx.find_cycle(checked)]
        raise PlanError(f"the steps form a cycle: {_shown(cycle)}")


def _shown(cycle: list[str]) -> str:
    """``a -> b -> a``; of a long one, its ends."""
    names = [shorten(id) for id in cycle]
    middle = names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]
    return " -> ".join([*middle, names[0]])


def _known(workflow: Workflow, name: str) -> str:
    found = _meant(workflow, name)
    if len(found) == 1:
        return found[0]
    some = ", ".join(f"'{shorten(step.id)}'" for step in workflow.steps[:10])
    reason = f"which {len(found)} steps are called: use an id" if found else "which is no step"
    raise PlanError(f"the run cannot start at '{shorten(name)}', {reason} (there are: {some})")


def _meant(workflow: Workflow, name: str) -> list[str]:
    """The id of the step with this id, or else of every step with this name."""
    same = [step.id for step in workflow.steps if step.id == name]
    return same or [step.id for step in workflow.steps if name and step.name == name]
