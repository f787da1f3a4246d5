"""What the linter finds: its rules, its findings, and how they are written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from worker.version import VERSION


class Severity(IntEnum):
    NOTE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A kind of mistake. ``help`` says what to do about it."""

    code: str
    name: str
    severity: Severity
    help: str


def _rule(code: str, name: str, severity: Severity, help: str) -> Rule:
    return Rule(code=code, name=name, severity=severity, help=help)


BARE_SUPPRESSION = _rule(
    "W000", "bare-suppression", Severity.WARNING, "Say why: # worker-lint: ignore W008 -- reason"
)
UNREACHABLE = _rule(
    "W001", "unreachable-step", Severity.WARNING, "Lead an edge to the step, or remove it."
)
CUT_OFF = _rule(
    "W002", "cut-off", Severity.WARNING, "Enable the edge, or remove what lies behind it."
)
UNHANDLED = _rule(
    "W003", "unhandled-failure", Severity.NOTE, "Add an edge with on_job_failure, or accept it."
)
THROWS = _rule(
    "W004", "throwing-condition", Severity.WARNING, "Use ?. where the state may lack something."
)
SINGULAR = _rule("W005", "singular-error", Severity.ERROR, "Write state.errors, in the plural.")
LINGERING = _rule(
    "W006",
    "lingering-errors",
    Severity.WARNING,
    "Use on_job_success: state.errors stays set after an error was handled.",
)
PRECEDENCE = _rule("W007", "negation-precedence", Severity.ERROR, "Write !(a === b), or a !== b.")
UNPINNED = _rule(
    "W008", "unpinned-adaptor", Severity.WARNING, "Name a version: the newest one changes."
)
UNDECLARED = _rule(
    "W009", "undeclared-variable", Severity.ERROR, "Declare it, or import it: the run will crash."
)
BROKEN = _rule("W010", "cannot-run", Severity.ERROR, "Mend it: the run would be refused.")

RULES = (
    *(BARE_SUPPRESSION, UNREACHABLE, CUT_OFF, UNHANDLED, THROWS, SINGULAR),
    *(LINGERING, PRECEDENCE, UNPINNED, UNDECLARED, BROKEN),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake in a file; ``line`` and ``column`` count from 1, and are 0 where unknown."""

    rule: Rule
    message: str
    file: str
    line: int = 0
    column: int = 0


_IGNORE = re.compile(r"#\s*worker-lint:\s*ignore\s+(W\d{3}(?:\s*,\s*W\d{3})*)(?:\s+--\s*(\S.*))?")


def unsuppressed(findings: Iterable[Finding], lines: Sequence[str], file: str) -> list[Finding]:
    """The findings that no comment with a reason takes back, and the comments without one.

    A comment counts on the line of the finding, or on a line of its own directly above.
    """
    ignored: dict[int, set[str]] = {}
    kept: list[Finding] = []
    for number, line in enumerate(lines, 1):
        if not (found := _IGNORE.search(line)):
            continue
        if not found[2]:
            text = "a suppression needs a reason"
            column = found.start() + 1
            kept.append(
                Finding(rule=BARE_SUPPRESSION, message=text, file=file, line=number, column=column)
            )
            continue
        own_line = line.lstrip().startswith("#")
        codes = set(re.findall(r"W\d{3}", found[1]))
        ignored.setdefault(number + 1 if own_line else number, set()).update(codes)
    kept += (one for one in findings if one.rule.code not in ignored.get(one.line, ()))
    return sorted(kept, key=lambda one: (one.line, one.column, one.rule.code))


# --- formats ------------------------------------------------------------------------------------


def as_text(findings: Sequence[Finding]) -> Iterator[str]:
    for one in findings:
        place = f"{one.file}:{one.line}:{one.column}" if one.line else one.file
        level = one.rule.severity.name.lower()
        yield f"{place}: {level} {one.rule.code} {one.rule.name}: {one.message}"


def as_json(findings: Sequence[Finding]) -> Iterator[str]:
    """One object a line."""
    for one in findings:
        yield json.dumps(
            {
                "file": one.file,
                "line": one.line,
                "column": one.column,
                "code": one.rule.code,
                "name": one.rule.name,
                "severity": one.rule.severity.name.lower(),
                "message": one.message,
                "help": one.rule.help,
            }
        )


def as_github(findings: Sequence[Finding]) -> Iterator[str]:
    """Workflow commands that annotate a pull request."""
    levels = {Severity.NOTE: "notice", Severity.WARNING: "warning", Severity.ERROR: "error"}
    for one in findings:
        where = {"file": one.file, "line": one.line, "col": one.column, "title": one.rule.name}
        fields = ",".join(f"{name}={_property(str(value))}" for name, value in where.items())
        text = f"{one.rule.code} {one.message}".replace("%", "%25")
        yield f"::{levels[one.rule.severity]} {fields}::{text.replace(chr(10), '%0A')}"


def _property(value: str) -> str:
    for character in "%:,\n\r":
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def as_sarif(findings: Sequence[Finding]) -> Iterator[str]:
    """SARIF 2.1.0, as code scanners read it."""
    levels = {Severity.NOTE: "note", Severity.WARNING: "warning", Severity.ERROR: "error"}
    rules = [
        {
            "id": rule.code,
            "name": rule.name,
            "shortDescription": {"text": rule.help},
            "defaultConfiguration": {"level": levels[rule.severity]},
        }
        for rule in RULES
    ]
    results = [
        {
            "ruleId": one.rule.code,
            "level": levels[one.rule.severity],
            "message": {"text": one.message},
            "locations": [{"physicalLocation": _location(one)}],
        }
        for one in findings
    ]
    driver = {"name": "worker lint", "version": VERSION, "rules": rules}
    log: dict[str, Any] = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    yield json.dumps(log, indent=2)


def _location(one: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": one.file}}
    if one.line:
        location["region"] = {"startLine": one.line, "startColumn": one.column}
    return location


FORMATS = {"text": as_text, "json": as_json, "sarif": as_sarif, "github": as_github}
