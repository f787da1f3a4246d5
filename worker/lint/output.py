"""Output formats of findings: text, JSON lines, SARIF, and commands for GitHub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worker.lint.findings import Finding
from worker.lint.rules import RULES, Severity
from worker.sinks.terminal_text import printable
from worker.version import VERSION


def as_text(findings: Sequence[Finding]) -> Iterator[str]:
    """Write ``file:line:column: severity code name: message``, which editors can jump to."""
    for finding in findings:
        place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
        level = finding.rule.severity.name.lower()
        text = f"{place}: {level} {finding.rule.code} {finding.rule.name}: {finding.message}"
        yield printable(text)


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
        text = _escaped(f"{finding.rule.code} {finding.message}", "%\n\r")
        yield printable(f"::{levels[finding.rule.severity]} {fields}::{text}")


def _property(value: str) -> str:
    return _escaped(value, "%:,\n\r")


def _escaped(text: str, characters: str) -> str:
    # The percent sign comes first: it would escape the escapes.
    for character in characters:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


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


def uri_reference(file: str) -> str:
    """Write a path as a URI reference, relative to the current folder where it lies below it.

    GitHub refuses a whole log for one path with a blank in it, and matches relative paths alone.
    """
    path = Path(file)
    if path.is_absolute():
        absolute = Path(os.path.normpath(path))
        if not absolute.is_relative_to(Path.cwd()):
            return absolute.as_uri()
        path = absolute.relative_to(Path.cwd())
    # A colon is escaped too: in the first name it would end a scheme.
    return quote(os.fsencode(path.as_posix()))


def _location(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": uri_reference(finding.file)}}
    # SARIF counts from 1; a file without known places has no region.
    if finding.line:
        location["region"] = {"startLine": finding.line, "startColumn": finding.column}
    return location


FORMATS = {"text": as_text, "json": as_json, "sarif": as_sarif, "github": as_github}
