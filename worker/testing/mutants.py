"""Mutants of a workflow: one edge or one condition of it changed, as a careless edit would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from worker.compiler.syntax import parse
from worker.core.compile_plan import compile_plan
from worker.errors import PlanError
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

if TYPE_CHECKING:
    from tree_sitter import Node

_OPPOSITE = {
    EdgeKind.SUCCESS: EdgeKind.FAILURE,
    EdgeKind.FAILURE: EdgeKind.SUCCESS,
    EdgeKind.ALWAYS: EdgeKind.NEVER,
}
_SWAPPED = {
    "&&": "||", "||": "&&", "===": "!==", "!==": "===", "==": "!=", "!=": "==",
    "<": "<=", "<=": "<", ">": ">=", ">=": ">",
}  # fmt: skip
_WHOLE_NUMBER = re.compile(r"\d{1,15}")


@dataclass(frozen=True, slots=True)
class Mutant:
    """Workflow with one change; ``name`` is the id of the edge and the change."""

    name: str
    workflow: Workflow


def mutants_of(workflow: Workflow) -> Iterator[Mutant]:
    """Yield the mutants of a workflow that can run, those of each edge in turn."""
    for step in workflow.steps:
        for edge in step.open_edges:
            for name, edges in _changes(workflow, edge):
                mutant = _with_edges(workflow, step, edge, edges)
                if _can_run(mutant):
                    yield Mutant(f"{edge.id} {name}", mutant)


def _changes(workflow: Workflow, edge: Edge) -> Iterator[tuple[str, tuple[Edge, ...]]]:
    yield "flipped", (_flip(edge),)
    yield "dropped", ()
    yield "disabled", (replace(edge, disabled=True),)
    if edge.kind is not EdgeKind.ALWAYS:
        yield "always taken", (replace(edge, kind=EdgeKind.ALWAYS, expression=""),)
    if (target := _next_step(workflow, edge)) is not None:
        yield f"leads to {target}", (replace(edge, target=target),)
    if edge.kind is EdgeKind.EXPRESSION:
        for expression in dict.fromkeys(_expressions(edge.expression)):
            yield f"with {expression}", (replace(edge, expression=expression),)


def _flip(edge: Edge) -> Edge:
    if edge.kind is EdgeKind.EXPRESSION:
        return replace(edge, expression=f"!({edge.expression})")
    return replace(edge, kind=_OPPOSITE[edge.kind])


def _next_step(workflow: Workflow, edge: Edge) -> str | None:
    """Return the first step after the target that the edge's step does not lead to yet."""
    steps = {step.id: step for step in workflow.steps}
    reached = {other.target for other in steps[edge.source].edges} | {edge.source}
    ids = [*steps]
    place = ids.index(edge.target) if edge.target in steps else 0
    others = [*ids[place + 1 :], *ids[:place]]
    return next((id for id in others if id not in reached and steps[id].runs_code), None)


def _expressions(text: str) -> Iterator[str]:
    """Yield a condition with one operator, number or text changed."""
    tree = parse(text.encode(errors="replace"))
    source = tree.text or b""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if (changed := _changed(node)) is not None:
            yield (source[: node.start_byte] + changed + source[node.end_byte :]).decode()
        waiting += reversed(node.children)


def _changed(node: Node) -> bytes | None:
    text = (node.text or b"").decode()
    if node.type in _SWAPPED:
        return _SWAPPED[node.type].encode()
    if node.type == "number" and _WHOLE_NUMBER.fullmatch(text):
        return str(int(text) + 1).encode()
    if node.type == "string":
        return f"{text[:-1]}~{text[-1]}".encode()
    return None


def _with_edges(workflow: Workflow, step: Step, edge: Edge, edges: tuple[Edge, ...]) -> Workflow:
    changed = [new for old in step.edges for new in (edges if old is edge else (old,))]
    mutated = replace(step, edges=tuple(changed))
    steps = tuple(mutated if other is step else other for other in workflow.steps)
    return replace(workflow, steps=steps)


def _can_run(workflow: Workflow) -> bool:
    # Another target can close a cycle, which is refused before any step.
    try:
        compile_plan(workflow)
    except PlanError:
        return False
    return True
