"""Compilation of a workflow to a plan: the graph, checked once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from worker.core.plan import Plan
from worker.errors import PlanError
from worker.workflow.documents.data import did_you_mean, shorten
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    import networkx as nx


def build_graph(workflow: Workflow) -> nx.DiGraph[str]:
    """Build the graph: nodes by step id (attribute ``step``), edges (attribute ``edge``)."""
    # Imported late: commands that compile nothing need not pay for it.
    from worker.core.digraph import DiGraph

    graph: nx.DiGraph[str] = DiGraph()
    graph.add_nodes_from((step.id, {"step": step}) for step in workflow.steps)
    graph.add_edges_from(
        (edge.source, edge.target, {"edge": edge}) for step in workflow.steps for edge in step.edges
    )
    return graph


def compile_plan(workflow: Workflow, *, start: str = "", end: str = "", only: str = "") -> Plan:
    """Check a workflow and return its plan.

    ``start``, ``end`` and ``only`` (start and end there) are ids of steps, or names that only one
    step has. Raises :class:`PlanError` if there are no steps, for duplicate ids, unknown targets,
    an unknown start and cycles; an unknown end is allowed, and never reached.
    """
    index = {step.id: index for index, step in enumerate(workflow.steps)}
    _check_steps(workflow, index)
    _check_targets(workflow)
    _check_cycles(workflow, index)
    # The caller's choice comes before the file's own.
    first = only or start or workflow.start or workflow.steps[0].id
    last = only or end or workflow.end
    ends = _matching_ids(workflow, last)
    return Plan(
        name=workflow.name,
        steps=workflow.steps,
        start=_start_id(workflow, first),
        # An end that matches no step is kept: OpenFn runs such a plan, to all its leaves.
        end=ends[0] if len(ends) == 1 else last,
        index=index,
    )


def _check_steps(workflow: Workflow, index: Mapping[str, int]) -> None:
    if not workflow.steps:
        raise PlanError("the workflow has no steps")
    if len(index) == len(workflow.steps):
        return
    # Edges name their target by its id: with two of one id, they would be ambiguous.
    for id, count in Counter(step.id for step in workflow.steps).items():
        if count > 1:
            raise PlanError(f"{count} steps have the id '{shorten(id)}'", step=id)


def _check_targets(workflow: Workflow) -> None:
    known = {step.id for step in workflow.steps if not step.generated_id}
    for step in workflow.steps:
        for edge in step.edges:
            if edge.target not in known:
                hint = did_you_mean(edge.target, known)
                raise PlanError(
                    f"an edge of '{shorten(step.id)}' leads to '{shorten(edge.target)}', "
                    f"which is not a step{hint}",
                    step=step.id,
                )


def _check_cycles(workflow: Workflow, index: Mapping[str, int]) -> None:
    # Most files list the steps in an order that all edges follow. That order is the proof, and a
    # graph of 100,000 steps takes half a second.
    numbered = enumerate(workflow.steps)
    if all(number < index[edge.target] for number, step in numbered for edge in step.edges):
        return
    from worker.core.digraph import is_directed_acyclic_graph

    graph = build_graph(workflow)
    if not is_directed_acyclic_graph(graph):
        import networkx as nx  # all of it takes 0.1 s

        cycle = [source for source, _ in nx.find_cycle(graph)]
        raise PlanError(f"the steps form a cycle: {_format_cycle(cycle)}", step=cycle[0])


def _format_cycle(cycle: list[str]) -> str:
    """Format as ``a -> b -> a``; of a long cycle, only its ends."""
    # A cycle can have thousands of steps, and a message must stay readable.
    names = [shorten(id) for id in cycle]
    middle = names if len(names) <= 12 else [*names[:6], "...", *names[-5:]]
    return " -> ".join([*middle, names[0]])


def _start_id(workflow: Workflow, name: str) -> str:
    ids, steps = _matching_ids(workflow, name), workflow.steps
    # OpenFn generates ids after it has looked for the file's own start.
    if name == workflow.start:
        steps = tuple(step for step in steps if not step.generated_id)
        ids = [step.id for step in steps if step.id in ids]
    if len(ids) == 1:
        return ids[0]
    some = ", ".join(f"'{shorten(step.id)}'" for step in steps[:10]) or "no steps with an id"
    reason = f"which {len(ids)} steps are called: use an id" if ids else "which is not a step"
    raise PlanError(f"the run cannot start at '{shorten(name)}', {reason} (there are: {some})")


def _matching_ids(workflow: Workflow, name: str) -> list[str]:
    """Find the step with this id, or else all steps with this name."""
    by_id = [step.id for step in workflow.steps if step.id == name]
    # No name at all matches no step, although steps may have none.
    return by_id or [step.id for step in workflow.steps if name and step.name == name]
