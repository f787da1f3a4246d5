"""Output formats of findings: text, JSON lines, SARIF, and commands for GitHub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from worker.lint.findings import Finding
from worker.lint.rules import RULES, Severity
from worker.version import VERSION


def as_text(findings: Sequence[Finding]) -> Iterator[str]:
    """Write ``file:line:column: severity code name: message``, which editors can jump to."""
    for finding in findings:
        place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
        level = finding.rule.severity.name.lower()
        yield f"{place}: {level} {finding.rule.code} {finding.rule.name}: {finding.message}"


def as_json(findings: Sequence[Finding]) -> Iterator[str]:
    """Write one object a line, so that a long output can be read as it comes."""
    for finding in findings:
        yield json.dumps(
            {
                "file": finding.file,
                "line": finding.line,
                "column": finding.column,
                "code": finding.rule.code,
                "name": finding.rule.name,
                "severity": finding.rule.severity.name.lower(),
                "message": finding.message,
                "help": finding.rule.help,
            }
        )


def as_github(findings: Sequence[Finding]) -> Iterator[str]:
    """Write the workflow commands of GitHub Actions, which annotate a pull request."""
    levels = {Severity.NOTE: "notice", Severity.WARNING: "warning", Severity.ERROR: "error"}
    for finding in findings:
        place = {
            "file": finding.file,
            "line": finding.line,
            "col": finding.column,
            "title": finding.rule.name,
        }
        fields = ",".join(f"{name}={_property(str(value))}" for name, value in place.items())
        # A command ends with its line, so a line break in its text must be escaped.
        text = f"{finding.rule.code} {finding.message}".replace("%", "%25")
        yield f"::{levels[finding.rule.severity]} {fields}::{text.replace(chr(10), '%0A')}"


def _property(value: str) -> str:
    # The percent sign first: it would escape the escapes.
    for character in "%:,\n\r":
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def as_sarif(findings: Sequence[Finding]) -> Iterator[str]:
    """Write a SARIF 2.1.0 log, as code scanners read it."""
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
            "ruleId": finding.rule.code,
            "level": levels[finding.rule.severity],
            "message": {"text": finding.message},
            "locations": [{"physicalLocation": _location(finding)}],
        }
        for finding in findings
    ]
    driver = {"name": "worker lint", "version": VERSION, "rules": rules}
    log: dict[str, Any] = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    yield json.dumps(log, indent=2)


def _location(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": finding.file}}
    # SARIF counts from 1; a file without known places has no region.
    if finding.line:
        location["region"] = {"startLine": finding.line, "startColumn": finding.column}
    return location


FORMATS = {"text": as_text, "json": as_json, "sarif": as_sarif, "github": as_github}
