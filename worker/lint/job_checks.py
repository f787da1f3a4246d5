"""Checks of jobs: their adaptors, and the names that their code uses."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from worker.adaptors.names import COMMON, package_of
from worker.compiler.collections_name import COLLECTIONS, uses_collections
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.syntax import check_module, parse
from worker.errors import PlanError
from worker.lint import rules
from worker.lint.findings import Finding
from worker.lint.job_code import LACKING, JobCode, job_mistakes
from worker.lint.subject import Subject
from worker.runner.prepare import compiled_job
from worker.workflow.documents.data import did_you_mean
from worker.workflow.model import Language, Step

ONLY_PUBLISHED = frozenset(("http", "parseCsv", "validate"))
"""Names of common that need what the built-in one lacks: the network, parsers, schemas."""


def check_adaptors(subject: Subject) -> Iterator[Finding]:
    """Report adaptors without a version, and those that are not installed."""
    for step in subject.workflow.steps:
        for adaptor in step.adaptors if step.language is Language.JAVASCRIPT else ():
            # The first character may be the @ of a scope.
            version = adaptor.rpartition("@")[2] if "@" in adaptor[1:] else ""
            if version in ("", "latest", "next"):
                text = (
                    f"'{step.id}' names {adaptor} without a fixed version, so a new release of the "
                    f"adaptor changes what it does; write {package_of(adaptor)}@VERSION"
                )
                yield subject.finding(rules.UNPINNED, step.position, text)
            is_built_in = package_of(adaptor) in (COMMON, COLLECTIONS)
            if step.runs_code and not is_built_in and adaptor not in subject.adaptors:
                text = f"'{step.id}' needs the adaptor {adaptor}, which is not installed"
                yield subject.finding(rules.NOT_INSTALLED, step.position, text)


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
