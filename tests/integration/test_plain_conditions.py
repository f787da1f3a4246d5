"""Plain conditions have the engine's result, and what might have another one is left to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.helpers import job, workflow
from worker.runner.prepare import Options, prepare
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript
from worker.testing.plain_conditions import INHERITED, evaluate_plain
from worker.util.json import dumps
from worker.workflow.model import Edge, EdgeKind, Step

PATHS = ("errors", "data", "data.a", "data.toString", "data._1", "errors.a", "data.a.length")
LITERALS = ("0", "-1", "5", "true", "null", '""', '"1"', "'ü'")
OPERATORS = ("===", "!==", "==", "!=", "<", "<=", ">", ">=")
CONDITIONS = (
    *(f"{negations}state.{path}" for path in PATHS for negations in ("", "!", "!!")),
    *(f"state.{path} {operator} {literal}" for path in PATHS[:3] for operator in OPERATORS for literal in LITERALS),
    "!state.errors && state.data.a;",
    "state.data && state.data.a>1 && state.data.a < 9",
    # Not plain: each differs from a plain one by little.
    *("!state.data === true", "state.data.a || state.errors", "state.data.__proto__", "state.errors = 1"),
    *("state.data.a === '&&'", "state.data.a === 1.5", "state.data.a === 'a\\n'", "state", "-state.data.a"),
)  # fmt: skip

KEYS = st.sampled_from(["a", "errors", "data", "_1", "1", "constructor", "toString", "__proto__", "é"])  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "1", "ü", "&&", "\\", "\u2028", "\x7f", "\ud800", ":-0", "😀"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
STATES = st.dictionaries(KEYS, VALUES, max_size=3) | st.fixed_dictionaries(
    {"data": st.dictionaries(KEYS, VALUES, max_size=2)}, optional={"errors": VALUES}
)
WRITTEN = st.one_of(
    STATES.map(dumps),
    VALUES.map(dumps),
    STATES.map(json.dumps),
    st.sampled_from(['{"data":{"a":1},"data":{"a":0}}', '{"data":{"a":-0}}', '{"data":{"a":1E2}}']),
)


@pytest.fixture(scope="module")
def defined() -> tuple[JavaScript, Step]:
    """A step with an edge for each condition, compiled by the engine."""
    ends = [job("fn(s => s);", f"e{number}") for number in range(len(CONDITIONS))]
    following: dict[str, Any] = {
        end["id"]: {"condition": condition} for end, condition in zip(ends, CONDITIONS, strict=True)
    }
    following |= {"ok": "on_job_success", "failed": "on_job_failure", "always": True}
    named = [job("fn(s => s);", id) for id in ("ok", "failed", "always")]
    flow = workflow(job("fn(s => s);", next=following), *ends, *named)
    request = prepare(flow, {}, Options(), "r")
    engine = Engine()
    engine.limit_memory(64 * 2**20)
    javascript = JavaScript(engine)
    assert javascript.define(request.plan, {}, request.conditions) is None
    return javascript, request.plan.step("a")


@pytest.mark.slow
@settings(max_examples=examples(500))
@given(text=WRITTEN)
def test_a_condition_that_is_evaluated_here_has_the_engine_s_result(
    defined: tuple[JavaScript, Step], text: str
) -> None:
    javascript, step = defined
    for edge in step.open_edges:
        taken = evaluate_plain(step.id, (edge,), text)
        if taken is not None:
            result = javascript.evaluate(step, (edge,), text)
            assert (result.taken, result.error, result.state) == (taken, None, text), edge


@pytest.mark.parametrize(
    ("condition", "state", "taken"),
    [
        ("!state.errors", '{"data":{}}', True),
        ("!state.errors", '{"errors":{"a":{}}}', False),
        ("state.data.ok && state.data.n >= 5;", '{"data":{"ok":true,"n":5}}', True),
        ("state.data.name === 'ü'", '{"data":{"name":"ü"}}', True),
        ("state.data.none !== null", '{"data":{}}', True),
        # What the engine would convert, find elsewhere, throw or write anew.
        ("state.data.n > 5", '{"data":{"n":"6"}}', None),
        ("state.data.toString", '{"data":{}}', None),
        ("state.data.a.length", '{"data":{"a":"x"}}', None),
        ("state.data.a", '{"data":null}', None),
        ("state.data", '{"data":{"b":1,"1":2}}', None),
        ("state.data", '{"data":1.0}', None),
        ("state.data", '{"data": 1}', None),
        ("state.data", '{"data":"\\u00e9"}', None),
        ("state.data", None, None),
        # A space of Python, and an error of syntax in JavaScript.
        ("state.data\x1c", '{"data":1}', None),
        ("Math.random() < 2", '{"data":{}}', None),
    ],
)
def test_only_what_is_certain_is_evaluated(
    condition: str, state: str | None, taken: bool | None
) -> None:
    edge = Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression=condition)
    assert evaluate_plain("a", (edge,), state) == (None if taken is None else (taken,))


def test_the_names_that_objects_inherit_are_known() -> None:
    engine = Engine()
    engine.limit_memory(2**20)
    source = "JSON.stringify(Object.getOwnPropertyNames(Object.prototype))"
    assert engine.instance.evaluate(source, "names")
    names = json.loads(str(engine.instance.call("read_register")))
    # Conditions with names that begin so are never plain.
    assert {name for name in names if not name.startswith("__")} == INHERITED
