"""Expressions with locales and zones in the engine, against what Node answered.

``tests/data/locale.jsonl`` is made by ``tools/vendor/locale-expressions.mjs``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from worker.engine.instance import Instance

Verdict = Literal["right", "refused", "different"]

_FILE = Path(__file__).parents[1] / "data/locale.jsonl"
_EVALUATE = """(() => {
  try { return JSON.stringify({ value: String(%s) }); }
  catch (error) { return JSON.stringify({ error: error.name, message: error.message }); }
})()"""


class Expression(NamedTuple):
    """An expression, and what Node answered: a value, or the name of an error."""

    source: str
    value: str | None
    error: str | None


class Answer(NamedTuple):
    """The engine's answer to an expression."""

    verdict: Verdict
    value: str | None
    message: str


def expressions() -> Iterator[Expression]:
    """Yield the expressions of the data file."""
    with _FILE.open(encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            yield Expression(entry["source"], entry.get("value"), entry.get("error"))


def answer(instance: Instance, expression: Expression) -> Answer:
    """Evaluate an expression; an error counts as a refusal, whatever Node does."""
    instance.evaluate(_EVALUATE % expression.source)
    reply = json.loads(str(instance.call("read_register")))
    value = reply.get("value")
    if value is not None:
        return Answer("right" if value == expression.value else "different", value, "")
    both_throw = expression.error is not None
    return Answer(
        "right" if both_throw else "refused", None, f"{reply['error']}: {reply['message']}"
    )
