"""Errors of 200 faulty programs: class, message and line are those of Node."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

import worker
from tests.support.faulty_programs import EXPECTED, STATE, errors_in_node, programs

CASES = [json.loads(line) for line in EXPECTED.read_text("utf-8").splitlines()]
AGREEMENT = 0.95


def error_here(body: str) -> tuple[str, str, int | None]:
    """Run the body in a job; return the error's class, message and line in the body."""
    source = f"fn(async (state) => {{\n{body}\nreturn state;\n}})"
    result = worker.run(
        worker.load({"steps": [{"id": "a", "adaptor": "common", "expression": source}]}), STATE
    )
    error = result.error
    assert error is not None, body
    # Where the program has no place for its error, the operation's own line stands: the first.
    line = error.position.line - 1 if error.position and error.position.line > 1 else None
    return error.name or error.type, without_json_place(error.message), line


def without_json_place(message: str) -> str:
    # Only newer versions of Node add it.
    return re.sub(r" \(line \d+ column \d+\)$", "", message)


def of_node(error: dict[str, Any]) -> tuple[str, str, int | None]:
    # Line 0 is that of the program's own head.
    return error["name"], without_json_place(error["message"]), error["line"] or None


@pytest.mark.slow
def test_errors_agree_with_node() -> None:
    different = [
        (case["body"], here, there)
        for case in CASES
        if (here := error_here(case["body"])) != (there := of_node(case["error"]))
    ]
    agreement = 1 - len(different) / len(CASES)
    print(f"{agreement:.1%} of {len(CASES)} faulty programs fail as in Node")
    assert len(CASES) >= 200
    assert agreement >= AGREEMENT, "\n".join(map(str, different))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_expected_errors_are_those_of_node() -> None:
    errors = errors_in_node([case["body"] for case in programs()])
    now = [of_node(error) for error in errors if error is not None]
    expected = [of_node(case["error"]) for case in CASES]
    # JSON's messages differ between versions of Node.
    same = sum(here == there for here, there in zip(now, expected, strict=True))
    assert same / len(expected) >= AGREEMENT
