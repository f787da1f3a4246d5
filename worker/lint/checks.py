"""Checks of the linter: common mistakes with edges, conditions, adaptors and names.

Most checks read the workflow alone. For conditions this is not enough: each is evaluated in the
sandbox, over the state that a failed step passes on.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from worker.adaptors.cache import Adaptor
from worker.adaptors.choose import choose_adaptors
from worker.adaptors.names import COMMON, package_of
from worker.compiler.collections_name import COLLECTIONS, uses_collections
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.syntax import check_module, parse
from worker.core.compile_plan import build_graph, compile_plan
from worker.core.reachability import reachable_steps
from worker.errors import PlanError
from worker.lint import rules
from worker.lint.condition_values import constant_parts
from worker.lint.findings import Finding, unsuppressed
from worker.lint.job_code import LACKING, JobCode, job_mistakes
from worker.lint.rules import Rule
from worker.lint.source_tree import text_of, walk
from worker.runner.pool import Pool, background
from worker.runner.prepare import Options, compiled_condition, compiled_job
from worker.sandbox.limits import Limits
from worker.workflow.documents.data import did_you_mean, shorten
from worker.workflow.documents.document import read_text
from worker.workflow.load import load_all
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
    """Workflow under check, with the results of its conditions by source and expression.

    ``adaptors`` are the installed ones, by the text that steps name them with, and ``shared`` the
    names that the workflow's own global functions export.
    """

    workflow: Workflow
    names: Names
    adaptors: Mapping[str, Adaptor]
    shared: frozenset[str]
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
    workflows = load_all(file, workflow=workflow, located=True)
    shared = background()
    call = lint_loaded(shared.pool, workflows)
    findings = asyncio.run_coroutine_threadsafe(call, shared.loop).result()
    return without_suppressed(workflows, findings)


def without_suppressed(workflows: Sequence[Workflow], findings: Iterable[Finding]) -> list[Finding]:
    """Leave out the findings that comments in the files suppress, and sort the others."""
    by_file: dict[str, list[Finding]] = {loaded.file: [] for loaded in workflows}
    for finding in dict.fromkeys(findings):
        by_file[finding.file].append(finding)
    return [item for name, group in by_file.items() for item in _unsuppressed(name, group)]


def _unsuppressed(file: str, findings: list[Finding]) -> list[Finding]:
    # A pipe cannot be read twice: its comments are not seen.
    is_file = Path(file).is_file()
    return unsuppressed(findings, read_text(Path(file)).splitlines() if is_file else (), file)


async def lint_loaded(pool: Pool, workflows: Sequence[Workflow]) -> list[Finding]:
    """Check workflows that were loaded with the positions of their values."""
    names = await _names(pool)
    return [item for workflow in workflows for item in await _lint(pool, workflow, names)]


async def _lint(pool: Pool, workflow: Workflow, names: Names) -> list[Finding]:
    adaptors = choose_adaptors(workflow)
    probes = await _probes(pool, workflow)
    subject = Subject(
        workflow=workflow,
        names=names,
        adaptors=adaptors,
        shared=_shared_names(workflow),
        probes=probes,
    )
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


# --- jobs -----------------------------------------------------------------------------------------


def check_adaptors(subject: Subject) -> Iterator[Finding]:
    """Report adaptors without a version, and those that are not installed."""
    for step in subject.workflow.steps:
        for adaptor in step.adaptors if step.language is Language.JAVASCRIPT else ():
            # The first character may be the @ of a scope.
            version = adaptor.rpartition("@")[2] if "@" in adaptor[1:] else ""
            if version in ("", "latest", "next"):
                text = f"'{adaptor}' fixes no version: the newest one is used"
                yield subject.finding(rules.UNPINNED, step.position, text)
            is_built_in = package_of(adaptor) in (COMMON, COLLECTIONS)
            if step.runs_code and not is_built_in and adaptor not in subject.adaptors:
                text = f"'{step.id}' needs the adaptor {adaptor}, which is not installed"
                yield subject.finding(rules.NOT_INSTALLED, step.position, text)


def _compiles_job(source: str) -> bool:
    try:
        compiled_job(source)
    except PlanError:
        return False
    return True


def check_code(subject: Subject) -> Iterator[Finding]:
    """Report what the code of JavaScript jobs uses and does not have, and what it never runs."""
    for step in subject.workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.runs_code:
            continue
        try:
            job = compiled_job(step.source)
            # A run finds these errors on its engine: the parser accepts names declared twice.
            check_module(step.source)
        except PlanError as error:
            text = f"'{step.id}' does not compile: {error}"
            yield subject.finding(rules.BROKEN, step.position, text)
            continue
        code = _job_code(subject, step, job)
        yield from _undeclared(subject, step, job, code)
        yield from _only_published(subject, step, job)
        for mistake in job_mistakes(code):
            place = (
                f"{step.source_file}:{mistake.line}" if step.source_file else f"line {mistake.line}"
            )
            text = f"'{step.id}' ({place}): {mistake.message}"
            yield subject.finding(mistake.rule, step.position, text)


def _shared_names(workflow: Workflow) -> frozenset[str]:
    compiles = workflow.globals.strip() and _compiles_job(workflow.globals)
    return frozenset(compiled_job(workflow.globals).exports) if compiles else frozenset()


def _undeclared(subject: Subject, step: Step, job: CompiledJob, code: JobCode) -> Iterator[Finding]:
    # The input of the step is a name of every job, and what OpenFn lacks has a rule of its own.
    # Only jobs that name Intl get the image that has it, so the names here are without it.
    foreign = code.namespaces | {*job.free_calls}
    known = _known(subject, step, foreign) | LACKING | {"state", "Intl"}
    for name in sorted(set(job.free) - known):
        # Most often this is an operation such as fn.
        hint = "" if step.adaptors else f" (the step names no adaptor: adaptor: '{COMMON}')"
        lacks = [text for text in step.adaptors if text in subject.adaptors]
        if lacks and name in job.free_calls:
            hint = f", and {' or '.join(lacks)} has no such function{did_you_mean(name, known)}"
        text = f"'{step.id}' uses '{name}', which is not declared{hint}"
        yield subject.finding(rules.UNDECLARED, step.position, text)


def _only_published(subject: Subject, step: Step, job: CompiledJob) -> Iterator[Finding]:
    """Report functions that the built-in common lacks, where it serves the step."""
    serving = [text for text in step.adaptors if package_of(text) == COMMON]
    if serving and not any(text in subject.adaptors for text in serving):
        for name in sorted(ONLY_PUBLISHED.intersection(job.free)):
            text = f"'{step.id}' uses '{name}', which the built-in common does not have"
            yield subject.finding(rules.NOT_INSTALLED, step.position, text)


def _job_code(subject: Subject, step: Step, job: CompiledJob) -> JobCode:
    return JobCode(
        source=step.source,
        root=parse(step.source.encode()),
        free=frozenset(job.free),
        # What a job calls without declaring it is an operation, or a function of the language.
        operations=frozenset(job.free)
        - subject.names.globals
        - subject.shared
        - LACKING
        - {"state", "$"},
        helpers=subject.shared,
    )


def _known(subject: Subject, step: Step, used: AbstractSet[str]) -> frozenset[str]:
    """Return the names that a step can use without declaring them.

    ``used`` are those that it calls, or uses as namespaces.
    """
    names = subject.names
    known = names.globals | subject.shared | {"undefined", "globalThis", "arguments"}
    if uses_collections(step.source):
        known |= {"collections"}
    if not step.adaptors:
        return known
    exported = {name for text in step.adaptors if text in subject.adaptors
                for name in subject.adaptors[text].exports}  # fmt: skip
    absent = [text for text in step.adaptors if text not in subject.adaptors]
    # The exports of an adaptor that is not installed are unknown: such a name may be one of them.
    foreign = any(package_of(adaptor) != COMMON for adaptor in absent)
    common = names.common if absent else frozenset()
    return known | exported | common | (frozenset(used) if foreign else frozenset())


# --- the file -------------------------------------------------------------------------------------


def check_file(subject: Subject) -> Iterator[Finding]:
    """Report the keys and entries that are read past."""
    for warning in subject.workflow.warnings:
        rule = rules.UNKNOWN_KEY if warning.unknown_key else rules.QUESTIONABLE
        place = (warning.line, warning.column)
        yield subject.finding(rule, place, f"{warning.path}: {warning.message}")


_TRIGGERS = ("webhook", "cron", "kafka", "mqtt")
_CRON_WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")


def check_triggers(subject: Subject) -> Iterator[Finding]:
    for step in subject.workflow.steps:
        if step.kind is not StepKind.TRIGGER:
            continue
        if step.trigger_type and step.trigger_type not in _TRIGGERS:
            hint = did_you_mean(step.trigger_type, _TRIGGERS)
            text = f"'{shorten(step.trigger_type)}' is not a type of trigger{hint}"
            yield subject.finding(rules.UNKNOWN_TRIGGER, step.position, text)
        if step.trigger_type == "cron" and (reason := _cron_error(step.cron)):
            yield subject.finding(rules.CRON, step.position, reason)


def _cron_error(expression: str) -> str:
    """Return why an expression is not a schedule; empty if it is one."""
    from cronsim import CronSim, CronSimError

    # Checkouts leave the expression out.
    if not expression or expression in _CRON_WORDS:
        return ""
    # The library accepts a field of seconds, which OpenFn does not have.
    if len(expression.split()) != 5:
        return f"'{shorten(expression)}' has {len(expression.split())} fields instead of 5"
    try:
        CronSim(expression, _EPOCH)
    except CronSimError as error:
        return f"'{shorten(expression)}' is not a schedule: {error}"
    return ""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(check_file, check_triggers, check_plan, check_reach, check_failures),
    *(check_conditions, check_adaptors, check_code),
)
