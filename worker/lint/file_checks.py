"""Checks of the rest of a file, beside steps and edges: keys that are read past, and triggers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from worker.lint import rules
from worker.lint.findings import Finding
from worker.lint.subject import Subject
from worker.workflow.documents.data import did_you_mean, shorten
from worker.workflow.model import StepKind

_TRIGGERS = ("webhook", "cron", "kafka", "mqtt")
_CRON_WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_file(subject: Subject) -> Iterator[Finding]:
    """Report the keys and entries that are read past."""
    for warning in subject.workflow.warnings:
        rule = rules.UNKNOWN_KEY if warning.unknown_key else rules.QUESTIONABLE
        place = (warning.line, warning.column)
        yield subject.finding(rule, place, f"{warning.path}: {warning.message}")


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
