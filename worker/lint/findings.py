"""Findings of the linter, and the comments in a file that suppress them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.lint.rules import BARE_SUPPRESSION, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Mistake in a file; ``line`` and ``column`` count from 1, and are 0 where unknown."""

    rule: Rule
    message: str
    file: str
    line: int = 0
    column: int = 0


# A comment of YAML; findings in JSON cannot be suppressed.
_IGNORE = re.compile(r"#\s*worker-lint:\s*ignore\s+(W\d{3}(?:\s*,\s*W\d{3})*)(?:\s+--\s*(\S.*))?")


def unsuppressed(findings: Iterable[Finding], lines: Sequence[str], file: str) -> list[Finding]:
    """Remove the findings that a comment with a reason suppresses; add the comments without one.

    A comment applies to its line, or to the next one where it has a line of its own.
    """
    ignored: dict[int, set[str]] = {}
    remaining: list[Finding] = []
    # Searched as text: the loader keeps no comments.
    for number, line in enumerate(lines, 1):
        if not (match := _IGNORE.search(line)):
            continue
        if not match[2]:
            remaining.append(_bare_suppression(file, number, match.start() + 1))
            continue
        own_line = line.lstrip().startswith("#")
        codes = set(re.findall(r"W\d{3}", match[1]))
        ignored.setdefault(number + 1 if own_line else number, set()).update(codes)
    remaining += (f for f in findings if f.rule.code not in ignored.get(f.line, ()))
    return sorted(remaining, key=lambda finding: (finding.line, finding.column, finding.rule.code))


def _bare_suppression(file: str, line: int, column: int) -> Finding:
    return Finding(
        rule=BARE_SUPPRESSION,
        message="expected a reason after the codes (ignore W008 -- reason)",
        file=file,
        line=line,
        column=column,
    )
