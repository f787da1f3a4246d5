"""What V8 answers where engines differ: dates in odd formats, comparators, errors of texts.

``python -m tests.support.v8_answers`` writes the recorded answers anew (needs Node).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.helpers import run_job

RECORDED = Path(__file__).parents[1] / "data" / "v8-answers.json"

# Functions of one input each; what they throw counts as their answer.
QUESTIONS = {
    "dates": "(text) => [Date.parse(text), String(new Date(text))]",
    "json": "(text) => JSON.parse(text)",
    "regexp": "([pattern, flags]) => String(new RegExp(pattern, flags))",
    "sorts": "([items, compare]) => [[...items].sort(COMPARE[compare]), items.toSorted(COMPARE[compare])]",
}
# JSON.stringify has no undefined and no NaN, in Node and here alike.
_SCRIPT = """
const COMPARE = {
  greater: (a, b) => a > b, less: (a, b) => a < b, difference: (a, b) => a - b, zero: () => 0,
  nothing: () => undefined, text: (a, b) => (a > b ? 1 : 'x'), none: undefined,
  length: (a, b) => String(a).length - String(b).length, key: (a, b) => a?.k > b?.k,
};
const answer = (ask, input) => { try { return ask(input) } catch (e) { return `${e.name}: ${e.message}` } };
const answers = (inputs) => ({ QUESTIONS });
"""


def _script() -> str:
    asked = ", ".join(
        f"{kind}: inputs.{kind}.map((input) => answer({ask}, input))"
        for kind, ask in QUESTIONS.items()
    )
    return _SCRIPT.replace("QUESTIONS", asked)


def answers_here(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the answers of a job."""
    result = run_job(f"{_script()}\nfn((s) => ({{ data: answers(s.data) }}));", {"data": inputs})
    assert result.status == "success", result.error
    answers: dict[str, list[Any]] = result.final_state["data"]
    return answers


def answers_in_node(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the answers of Node."""
    script = f"{_script()}\nconst text = require('fs').readFileSync(0, 'utf8');\nconsole.log(JSON.stringify(answers(JSON.parse(text))));"
    done = subprocess.run(
        ["node", "-e", script], input=json.dumps(inputs), capture_output=True, text=True, check=True,
        env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    answers: dict[str, list[Any]] = json.loads(done.stdout)
    return answers


if __name__ == "__main__":
    recorded = json.loads(RECORDED.read_text("utf-8"))
    inputs = {kind: [input for input, _ in pairs] for kind, pairs in recorded.items()}
    answers = answers_in_node(inputs)
    pairs = {kind: list(zip(inputs[kind], answers[kind], strict=True)) for kind in inputs}
    lines = [
        f" {json.dumps(kind)}: [\n  " + ",\n  ".join(map(json.dumps, pairs[kind])) + "\n ]"
        for kind in pairs
    ]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
