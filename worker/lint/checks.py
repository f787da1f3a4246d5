"""Checks of the linter: common mistakes with edges, conditions, adaptors and names.

Most checks read the workflow alone. For conditions this is not enough: each is evaluated in the
sandbox, over the state that a failed step passes on.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.names import COMMON, package_of
from worker.compiler.syntax import parse
from worker.core.compile_plan import build_graph, compile_plan
from worker.core.reachability import reachable_steps
from worker.errors import PlanError
from worker.lint import rules
from worker.lint.findings import Finding, unsuppressed
from worker.lint.rules import Rule
from worker.runner.pool import Pool, background
from worker.runner.prepare import Options, compiled_condition, compiled_job
from worker.sandbox.limits import Limits
from worker.workflow.documents.document import FILE_LIMIT, read_text
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow

if TYPE_CHECKING:
    from tree_sitter import Node

ONLY_PUBLISHED = frozenset(("http", "parseCsv", "validate"))
"""Names of common that need what the built-in one lacks: the network, parsers, schemas."""

# Far below the limits of a run, as a file can have hundreds of conditions.
PROBE = Options(limits=Limits(timeout_s=2, memory_mb=64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that a job can use without declaring them: the sandbox's, and the common adaptor's."""

    globals: frozenset[str]
    common: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Result of a condition after its source failed: edge taken or not, or the error thrown."""

    taken: bool
    threw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Workflow under check, with the results of its conditions by source and expression."""

    workflow: Workflow
    names: Names
    probes: dict[tuple[str, str], Probe]

    def finding(self, rule: Rule, place: tuple[int, int], message: str) -> Finding:
        line, column = place
        return Finding(
            rule=rule, message=message, file=self.workflow.file, line=line, column=column
        )


def lint(file: Path, workflow: str | None = None) -> list[Finding]:
    """Check the workflows of a file, or the one that is named, in the order of its lines.

    Suppressed findings are left out. Raises :class:`worker.errors.LoadError` where the file cannot
    be read.
    """
    names = (workflow,) if workflow else (workflow_names(file) or (None,))
    workflows = [load(file, workflow=name, located=True) for name in names]
    shared = background()
    call = _lint_all(shared.pool, workflows)
    findings = asyncio.run_coroutine_threadsafe(call, shared.loop).result()
    return unsuppressed(findings, read_text(file, FILE_LIMIT).splitlines(), str(file))


async def _lint_all(pool: Pool, workflows: list[Workflow]) -> list[Finding]:
    names = await _names(pool)
    return [item for workflow in workflows for item in await _lint(pool, workflow, names)]


async def _lint(pool: Pool, workflow: Workflow, names: Names) -> list[Finding]:
    subject = Subject(workflow=workflow, names=names, probes=await _probes(pool, workflow))
    return [finding for check in CHECKS for finding in check(subject)]


# --- names and conditions, from the sandbox -------------------------------------------------------


async def _names(pool: Pool) -> Names:
    # Read from the sandbox, so that no list here can differ from what a job really has.
    source = (
        "import * as common from '@openfn/language-common';\n"
        "export default [() => ({ globals: Object.getOwnPropertyNames(globalThis), "
        "common: Object.keys(common) })];"
    )
    step = Step(id="names", source=source, adaptors=(COMMON,))
    state = (await pool.run(Workflow(name="names", steps=(step,)))).final_state
    return Names(globals=frozenset(state["globals"]), common=frozenset(state["common"]))


async def _probes(pool: Pool, workflow: Workflow) -> dict[tuple[str, str], Probe]:
    # By source and expression: edges of one step often repeat a condition.
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
    """Evaluate a condition over the state that a failed step passes on, from an empty input."""
    source = Step(
        id=edge.source,
        source="export default [() => { throw new Error('linted'); }];",
        edges=(replace(edge, target="\n"),),
    )
    # An id that no step of a file can have.
    target = Step(id="\n", kind=StepKind.TRIGGER)
    result = await pool.run(Workflow(name="probe", steps=(source, target)), {}, PROBE)
    threw = result.error_type == "EdgeConditionError"
    return Probe(
        taken=bool(result.path and result.path[0].next),
        threw=str(result.error_message).partition(" threw ")[2] if threw else "",
    )


# Conditions repeat, within a workflow and between the workflows of a project.
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
            yield rules.SINGULAR, "state.error is never set; errors are in state.errors"
        # Only where the state can carry an error of a step further up: elsewhere the condition is
        # the same as on_job_success.
        case "unary_expression" if _text(node) in ("!state.errors", "!state?.errors"):
            if _may_carry_errors(subject.workflow, edge.source):
                text = "!state.errors stays false after an error further up was handled"
                yield rules.LINGERING, text
        case "binary_expression" if _negates_before_comparing(node):
            yield rules.PRECEDENCE, f"in '{_text(node)}' the negation comes before the comparison"
        case _:
            pass


_COMPARISONS = {"===", "!==", "==", "!=", "<", ">", "<=", ">=", "in", "instanceof"}


def _negates_before_comparing(node: Node) -> bool:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if left is None or right is None or left.type != "unary_expression":
        return False
    compares = _text(node.child_by_field_name("operator")) in _COMPARISONS
    negates = _text(left.child_by_field_name("operator")) == "!"
    # `!a === !b` and `!a === true` compare booleans on purpose; `!a === "Yes"` is always false.
    boolean = right.type in ("true", "false") or _text(right).startswith("!")
    return compares and negates and not boolean


def _may_carry_errors(workflow: Workflow, id: str) -> bool:
    """Test that a step before this one can fail and still lead here."""
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
            # The first character may be the @ of a scope.
            version = adaptor.rpartition("@")[2] if "@" in adaptor[1:] else ""
            if step.language is Language.JAVASCRIPT and version in ("", "latest", "next"):
                text = f"'{adaptor}' fixes no version: the newest one is used"
                yield subject.finding(rules.UNPINNED, step.position, text)


def check_installed(subject: Subject) -> Iterator[Finding]:
    """Report adaptors that are not installed, and functions that the built-in common lacks."""
    installed = choose_adaptors(subject.workflow)
    for step in subject.workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.runs_code:
            continue
        for adaptor in step.adaptors:
            for message in _absent(adaptor, step) if adaptor not in installed else ():
                yield subject.finding(rules.NOT_INSTALLED, step.position, f"'{step.id}' {message}")


def _absent(adaptor: str, step: Step) -> Iterator[str]:
    if package_of(adaptor) != COMMON:
        yield f"needs the adaptor {adaptor}, which is not installed"
    elif _compiles_job(step.source):
        for name in sorted(ONLY_PUBLISHED & set(compiled_job(step.source).free)):
            yield f"uses '{name}', which the built-in common does not have"


def _compiles_job(source: str) -> bool:
    try:
        compiled_job(source)
    except PlanError:
        return False
    return True


def check_names(subject: Subject) -> Iterator[Finding]:
    shared = _shared_names(subject.workflow)
    for step in subject.workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.runs_code:
            continue
        try:
            job = compiled_job(step.source)
        except PlanError as error:
            yield subject.finding(
                rules.BROKEN, step.position, f"'{step.id}' does not compile: {error}"
            )
            continue
        if job.early_state:
            text = f"'{step.id}' reads 'state' on line {job.early_state}, before an operation ran"
            yield subject.finding(rules.EARLY_STATE, step.position, text)
        for name in sorted(set(job.free) - _known(subject.names, step, job.free_calls, shared)):
            # Most often this is an operation such as fn.
            hint = "" if step.adaptors else " (the step names no adaptor)"
            text = f"'{step.id}' uses '{name}', which is not declared{hint}"
            yield subject.finding(rules.UNDECLARED, step.position, text)


def _shared_names(workflow: Workflow) -> frozenset[str]:
    """Return the names that a workflow's own global functions export."""
    compiles = workflow.globals.strip() and _compiles_job(workflow.globals)
    return frozenset(compiled_job(workflow.globals).exports) if compiles else frozenset()


def _known(
    names: Names, step: Step, called: tuple[str, ...], shared: frozenset[str]
) -> frozenset[str]:
    """Return the names that a step can use without declaring them."""
    known = names.globals | shared | {"undefined", "globalThis", "arguments"}
    if not step.adaptors:
        return known
    # The exports of other adaptors are unknown here, as they may not be installed. So a name that
    # is called may be one of theirs.
    foreign = any(package_of(adaptor) != COMMON for adaptor in step.adaptors)
    return known | names.common | (frozenset(called) if foreign else frozenset())


Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(check_plan, check_reach, check_failures),
    *(check_conditions, check_adaptors, check_installed, check_names),
)
