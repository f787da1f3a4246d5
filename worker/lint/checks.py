"""The linter: the mistakes that people make with edges, adaptors and names.

Most rules read the workflow. Whether a condition throws when its source fails is not guessed: the
condition is run, in the sandbox, over the state that a failed step passes on.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from worker.compiler.syntax import parse
from worker.core.compile_plan import build_graph, compile_plan
from worker.core.reachability import reachable_steps
from worker.errors import PlanError
from worker.lint import findings as rules
from worker.lint.findings import Finding, Rule, unsuppressed
from worker.runner.pool import Pool
from worker.runner.prepare import Options, compiled_condition, compiled_job
from worker.sandbox.limits import Limits
from worker.workflow.documents.document import FILE_LIMIT, read_text
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow

if TYPE_CHECKING:
    from tree_sitter import Node

COMMON = "@openfn/language-common"
PROBE = Options(limits=Limits(timeout_s=2, memory_mb=64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a job finds without declaring it: the sandbox's globals, and the common adaptor's."""

    globals: frozenset[str]
    common: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a condition does when the step that it leaves has failed."""

    followed: bool
    threw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A workflow with what was found out about it by running its conditions."""

    workflow: Workflow
    names: Names
    probes: dict[tuple[str, str], Probe]

    def find(self, rule: Rule, place: tuple[int, int], message: str) -> Finding:
        line, column = place
        return Finding(
            rule=rule, message=message, file=self.workflow.file, line=line, column=column
        )


def lint(file: Path, workflow: str | None = None) -> list[Finding]:
    """The findings in a file, in the order of its lines, less those that it suppresses.

    Raises :class:`worker.errors.LoadError` where the file cannot be read.
    """
    names = (workflow,) if workflow else (workflow_names(file) or (None,))
    workflows = [load(file, workflow=name, located=True) for name in names]
    found = asyncio.run(_lint_all(workflows))
    return unsuppressed(found, read_text(file, FILE_LIMIT).splitlines(), str(file))


async def _lint_all(workflows: list[Workflow]) -> list[Finding]:
    async with Pool(size=2) as pool:
        names = await _names(pool)
        return [one for workflow in workflows for one in await _lint(pool, workflow, names)]


async def _lint(pool: Pool, workflow: Workflow, names: Names) -> list[Finding]:
    subject = Subject(workflow=workflow, names=names, probes=await _probes(pool, workflow))
    return [one for check in CHECKS for one in check(subject)]


# --- what only running can tell ------------------------------------------------------------------


async def _names(pool: Pool) -> Names:
    source = (
        "import * as common from '@openfn/language-common';\n"
        "export default [() => ({ globals: Object.getOwnPropertyNames(globalThis), "
        "common: Object.keys(common) })];"
    )
    step = Step(id="names", source=source, adaptors=(COMMON,))
    state = (await pool.run(Workflow(name="names", steps=(step,)))).final_state
    return Names(globals=frozenset(state["globals"]), common=frozenset(state["common"]))


async def _probes(pool: Pool, workflow: Workflow) -> dict[tuple[str, str], Probe]:
    edges = {
        (step.id, edge.expression): edge
        for step in workflow.steps
        if step.runs_code
        for edge in step.edges
        if edge.kind is EdgeKind.EXPRESSION and edge.can_be_taken and _compiles(edge.expression)
    }
    probes = await asyncio.gather(*(_probe(pool, edge) for edge in edges.values()))
    return dict(zip(edges, probes, strict=True))


async def _probe(pool: Pool, edge: Edge) -> Probe:
    """Run a condition over the state that a failed step passes on, given the least input."""
    source = Step(
        id=edge.source,
        source="export default [() => { throw new Error('linted'); }];",
        edges=(replace(edge, target="\n"),),
    )
    target = Step(id="\n", kind=StepKind.TRIGGER)
    result = await pool.run(Workflow(name="probe", steps=(source, target)), {}, PROBE)
    threw = result.error_type == "EdgeConditionError"
    return Probe(
        followed=bool(result.path and result.path[0].next),
        threw=str(result.error_message).partition(" threw ")[2] if threw else "",
    )


@functools.lru_cache(maxsize=4096)
def _compiles(expression: str) -> bool:
    try:
        compiled_condition(expression)
    except PlanError:
        return False
    return True


# --- the graph ------------------------------------------------------------------------------------


def check_reach(subject: Subject) -> Iterator[Finding]:
    workflow = subject.workflow
    reached = reachable_steps(workflow, disabled=False)
    behind = reachable_steps(workflow, disabled=True) - reached
    for step in workflow.steps:
        if step.id not in reached | behind:
            yield subject.find(rules.UNREACHABLE, step.position, f"nothing leads to '{step.id}'")
        for edge in step.edges:
            if edge.disabled and step.id in reached and edge.target in behind:
                text = f"this disabled edge is the only way from '{step.id}' to '{edge.target}'"
                yield subject.find(rules.CUT_OFF, edge.position, text)


def check_failures(subject: Subject) -> Iterator[Finding]:
    """Steps that have edges, none of which is followed when the step fails."""
    for step in subject.workflow.steps:
        open_edges = [edge for edge in step.edges if edge.can_be_taken]
        if step.runs_code and open_edges and not any(_handles(subject, e) for e in open_edges):
            text = f"if '{step.id}' fails, no edge is followed and the run fails"
            yield subject.find(rules.UNHANDLED, step.position, text)


def _handles(subject: Subject, edge: Edge) -> bool:
    if edge.kind is EdgeKind.EXPRESSION:
        probe = subject.probes.get((edge.source, edge.expression))
        return probe is not None and probe.followed
    return edge.kind in (EdgeKind.ALWAYS, EdgeKind.FAILURE)


def check_plan(subject: Subject) -> Iterator[Finding]:
    try:
        compile_plan(subject.workflow)
    except PlanError as error:
        place = subject.workflow.steps[0].position if subject.workflow.steps else (0, 0)
        yield subject.find(rules.BROKEN, place, str(error))


# --- conditions -----------------------------------------------------------------------------------


def check_conditions(subject: Subject) -> Iterator[Finding]:
    for step in subject.workflow.steps:
        for edge in step.edges:
            if edge.kind is not EdgeKind.EXPRESSION:
                continue
            for rule, message in _condition(subject, edge):
                yield subject.find(rule, edge.position, message)


def _condition(subject: Subject, edge: Edge) -> Iterator[tuple[Rule, str]]:
    try:
        compiled_condition(edge.expression)
    except PlanError as error:
        yield rules.BROKEN, f"the condition of {edge.id} does not compile: {error}"
        return
    probe = subject.probes.get((edge.source, edge.expression))
    if probe is not None and probe.threw:
        text = f"when '{edge.source}' fails, this condition can throw and crash the run"
        yield rules.THROWS, f"{text}: {probe.threw}"
    for node in _nodes(parse(edge.expression.encode())):
        yield from _expression(subject, edge, node)


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def _text(node: Node | None) -> str:
    return node.text.decode() if node is not None and node.text is not None else ""


def _expression(subject: Subject, edge: Edge, node: Node) -> Iterator[tuple[Rule, str]]:
    match node.type:
        case "member_expression" if _text(node) in ("state.error", "state?.error"):
            yield rules.SINGULAR, "state.error is never set; errors stand in state.errors"
        case "unary_expression" if _text(node) in ("!state.errors", "!state?.errors"):
            if _may_carry_errors(subject.workflow, edge.source):
                text = "!state.errors stays false after an error further up was handled"
                yield rules.LINGERING, text
        case "binary_expression" if _slips(node):
            yield rules.PRECEDENCE, f"'{_text(node)}' negates before it compares"
        case _:
            pass


_COMPARISONS = {"===", "!==", "==", "!=", "<", ">", "<=", ">=", "in", "instanceof"}


def _slips(node: Node) -> bool:
    """``!a === "Yes"`` compares a boolean with a text; ``!a === !b`` and ``!a === true`` do not."""
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None or left.type != "unary_expression":
        return False
    compares = _text(node.child_by_field_name("operator")) in _COMPARISONS
    negates = _text(left.child_by_field_name("operator")) == "!"
    boolean = right.type in ("true", "false") or _text(right).startswith("!")
    return compares and negates and not boolean


def _may_carry_errors(workflow: Workflow, id: str) -> bool:
    """Whether a step before this one can fail and still lead here."""
    import networkx as nx

    kinds = (EdgeKind.ALWAYS, EdgeKind.FAILURE, EdgeKind.EXPRESSION)
    above = nx.ancestors(build_graph(workflow), id)
    return any(
        step.runs_code and any(edge.can_be_taken and edge.kind in kinds for edge in step.edges)
        for step in workflow.steps
        if step.id in above
    )


# --- jobs -----------------------------------------------------------------------------------------


def check_adaptors(subject: Subject) -> Iterator[Finding]:
    for step in subject.workflow.steps:
        for adaptor in step.adaptors:
            version = adaptor.rpartition("@")[2] if "@" in adaptor[1:] else ""
            if step.language is Language.JAVASCRIPT and version in ("", "latest", "next"):
                yield subject.find(rules.UNPINNED, step.position, f"'{adaptor}' names no version")


def check_names(subject: Subject) -> Iterator[Finding]:
    for step in subject.workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.runs_code:
            continue
        try:
            job = compiled_job(step.source)
        except PlanError as error:
            yield subject.find(
                rules.BROKEN, step.position, f"'{step.id}' does not compile: {error}"
            )
            continue
        for name in sorted(set(job.free) - _known(subject.names, step, job.free_calls)):
            text = f"'{step.id}' uses '{name}', which nobody declares"
            yield subject.find(rules.UNDECLARED, step.position, text)


def _known(names: Names, step: Step, called: tuple[str, ...]) -> frozenset[str]:
    """What a step finds without declaring it; another adaptor's functions are taken on trust."""
    known = names.globals | {"undefined", "globalThis", "arguments"}
    if not step.adaptors:
        return known
    foreign = any(COMMON not in adaptor and "common" not in adaptor for adaptor in step.adaptors)
    return known | names.common | (frozenset(called) if foreign else frozenset())


Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(check_plan, check_reach, check_failures),
    *(check_conditions, check_adaptors, check_names),
)
