"""Checks of edges: steps that nothing reaches, failures that end a run, conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.compiler.syntax import parse
from worker.core.compile_plan import build_graph, compile_plan
from worker.core.reachability import reachable_steps
from worker.errors import PlanError
from worker.lint import rules
from worker.lint.condition_values import constant_parts
from worker.lint.findings import Finding
from worker.lint.rules import Rule
from worker.lint.source_tree import text_of, walk
from worker.lint.subject import Subject
from worker.runner.prepare import compiled_condition
from worker.workflow.model import Edge, EdgeKind

if TYPE_CHECKING:
    from tree_sitter import Node


def check_reach(subject: Subject) -> Iterator[Finding]:
    workflow = subject.workflow
    reached = reachable_steps(workflow, disabled=False)
    # Steps that only a disabled edge leads to are reported at that edge: it is where the author
    # has switched them off.
    behind = reachable_steps(workflow, disabled=True) - reached
    for step in workflow.steps:
        if step.id not in reached | behind:
            yield subject.finding(rules.UNREACHABLE, step.position, f"no edge leads to '{step.id}'")
        for edge in step.edges:
            if edge.disabled and step.id in reached and edge.target in behind:
                text = f"this disabled edge is the only way from '{step.id}' to '{edge.target}'"
                yield subject.finding(rules.CUT_OFF, edge.position, text)


def check_failures(subject: Subject) -> Iterator[Finding]:
    """Report steps that have edges, none of which is taken when the step fails."""
    for step in subject.workflow.steps:
        open_edges = [edge for edge in step.edges if edge.can_be_taken]
        if step.runs_code and open_edges and not any(_handles(subject, e) for e in open_edges):
            text = f"if '{step.id}' fails, no edge is taken and the run fails"
            yield subject.finding(rules.UNHANDLED, step.position, text)


def _handles(subject: Subject, edge: Edge) -> bool:
    if edge.kind is EdgeKind.EXPRESSION:
        probe = subject.probes.get((edge.source, edge.expression))
        return probe is not None and probe.taken
    return edge.kind in (EdgeKind.ALWAYS, EdgeKind.FAILURE)


def check_plan(subject: Subject) -> Iterator[Finding]:
    try:
        compile_plan(subject.workflow)
    except PlanError as error:
        place = subject.workflow.steps[0].position if subject.workflow.steps else (0, 0)
        yield subject.finding(rules.BROKEN, place, str(error))


# --- conditions -----------------------------------------------------------------------------------


def check_conditions(subject: Subject) -> Iterator[Finding]:
    for step in subject.workflow.steps:
        for edge in step.edges:
            if edge.kind is not EdgeKind.EXPRESSION:
                continue
            for rule, message in _condition(subject, edge):
                yield subject.finding(rule, edge.position, message)


def _condition(subject: Subject, edge: Edge) -> Iterator[tuple[Rule, str]]:
    try:
        compiled_condition(edge.expression)
    except PlanError as error:
        yield rules.BROKEN, f"the condition of {edge.id} does not compile: {error}"
        return
    probe = subject.probes.get((edge.source, edge.expression))
    if probe is not None and probe.threw:
        text = (
            f"when '{edge.source}' fails, the condition of {edge.id} throws ({probe.threw}), and "
            "the run crashes; write ?. before what the state may lack, as in state.data?.age"
        )
        yield rules.THROWS, text
    root = parse(edge.expression.encode())
    for place in walk(root):
        yield from _expression(subject, edge, place.node)
    for message in constant_parts(root):
        yield rules.CONSTANT, message


def _expression(subject: Subject, edge: Edge, node: Node) -> Iterator[tuple[Rule, str]]:
    match node.type:
        case "member_expression" if text_of(node) in ("state.error", "state?.error"):
            yield rules.SINGULAR, "state.error is never set; errors are in state.errors"
        # Only where the state can carry an error of a step further up: elsewhere the condition is
        # the same as on_job_success.
        case "unary_expression" if text_of(node) in ("!state.errors", "!state?.errors"):
            if _may_carry_errors(subject, edge.source):
                text = "!state.errors stays false after an error further up was handled"
                yield rules.LINGERING, text
        case "binary_expression" if _negates_before_comparing(node):
            yield rules.PRECEDENCE, f"in '{text_of(node)}' the negation comes before the comparison"
        case _:
            pass


_COMPARISONS = {"===", "!==", "==", "!=", "<", ">", "<=", ">=", "in", "instanceof"}


def _negates_before_comparing(node: Node) -> bool:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None or left.type != "unary_expression":
        return False
    compares = text_of(node.child_by_field_name("operator")) in _COMPARISONS
    negates = text_of(left.child_by_field_name("operator")) == "!"
    # `!a === !b` and `!a === true` compare booleans on purpose; `!a === "Yes"` is always false.
    boolean = right.type in ("true", "false") or text_of(right).startswith("!")
    return compares and negates and not boolean


def _may_carry_errors(subject: Subject, id: str) -> bool:
    """Test that a step before this one can fail and still lead here, with its error."""
    import networkx as nx

    graph = build_graph(subject.workflow)
    return any(
        nx.has_path(graph, edge.target, id)
        for step in subject.workflow.steps
        if step.runs_code and step.id != id
        for edge in step.edges
        if edge.can_be_taken and edge.target in graph and _handles(subject, edge)
    )
