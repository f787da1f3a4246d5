"""Results of Python steps: the values that they may return, and their JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.python_steps import Run, body, returned
from worker.core.outcome import Outcome
from worker.sandbox.python.steps import compile_step, run_step
from worker.util.nesting import NESTING_LIMIT


def test_a_step_returns_the_next_state() -> None:
    run = Run(body("state['data']['n'] += 1", "return state"))
    assert run.outcome == Outcome(state='{"data":{"n":2}}')


def test_an_async_step_is_awaited() -> None:
    run = Run(
        """
        import asyncio

        async def step(state):
            first, second = await asyncio.gather(double(1), double(2))
            return {"data": [first, second]}

        async def double(n):
            await asyncio.sleep(0)
            return 2 * n
        """
    )
    assert run.state == {"data": [2, 4]}


def test_a_step_that_returns_an_awaitable_is_awaited() -> None:
    run = Run("async def later(state): return {'data': 1}\ndef step(state): return later(state)")
    assert run.state == {"data": 1}


def test_no_output_carries_the_credential_or_the_response() -> None:
    assert returned("{**state, 'response': {'body': 1}}").state == {"data": {"n": 1}}


@pytest.mark.parametrize("nothing", ["None", "False", "0", "0.0", "''", "float('nan')"])
def test_what_is_false_in_javascript_is_nothing(nothing: str) -> None:
    assert returned(nothing).outcome == Outcome(state=None)


@pytest.mark.parametrize("kept", ["42", "'hello'", "[1, 2]", "{}", "[]", "True", "1.5"])
def test_any_other_json_is_kept_as_it_is(kept: str) -> None:
    assert returned(kept).state == eval(kept)


@pytest.mark.parametrize(
    ("imports", "expression", "expected"),
    [
        ("", "(1, 2)", [1, 2]),
        ("", "{'b', 'a', 'c'}", ["a", "b", "c"]),
        ("", "frozenset({10, 9})", [9, 10]),
        ("", "{1, 'a'}", ["a", 1]),
        (
            "",
            "{2: 'a', None: 'b', True: 'c', 1.5: 'd'}",
            {"2": "a", "null": "b", "true": "c", "1.5": "d"},
        ),
        ("", "{(1, 2): 'pair'}", {"(1, 2)": "pair"}),
        ("", "{'x': float('inf'), 'y': float('nan')}", {"x": None, "y": None}),
        ("", "{'x': b'ab'}", {"x": "YWI="}),
        ("", "{'x': bytearray(b'ab')}", {"x": "YWI="}),
        ("", "{'x': {1: 2}.values()}", {"x": [2]}),
        ("", "{'x': range(3)}", {"x": [0, 1, 2]}),
        ("import datetime as d", "[d.date(2020, 1, 2)]", ["2020-01-02"]),
        ("import datetime as d", "[d.datetime(2020, 1, 2, 3)]", ["2020-01-02T03:00:00"]),
        ("import datetime as d", "[d.time(3)]", ["03:00:00"]),
        ("import datetime as d", "{d.date(2020, 1, 2): 1}", {"2020-01-02": 1}),
        ("from decimal import Decimal", "[Decimal('1.10')]", ["1.10"]),
        ("import uuid", "[uuid.UUID(int=1)]", ["00000000-0000-0000-0000-000000000001"]),
        ("from collections import deque", "deque([1])", [1]),
        ("from collections import UserString", "[UserString('ab')]", ["ab"]),
        ("from types import MappingProxyType as M", "M({'a': M({'b': 1})})", {"a": {"b": 1}}),
        ("from enum import Enum\nclass E(Enum): A = (1, 2)", "[E.A]", [[1, 2]]),
        ("from enum import StrEnum\nclass E(StrEnum): A = 'x'", "[E.A, len]", ["x", None]),
        ("from typing import NamedTuple\nclass P(NamedTuple): x: int", "[P(1)]", [[1]]),
    ],
)
def test_python_values_become_json_by_one_rule(
    imports: str, expression: str, expected: Any
) -> None:
    assert returned(expression, imports).state == expected


def test_a_dataclass_becomes_an_object() -> None:
    source = """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from typing import ClassVar

        @dataclass
        class Patient:
            name: str
            visits: list[int] = field(default_factory=list)
            kind: ClassVar[str] = "patient"

        def step(state):
            return Patient("Ada", [1])
    """
    assert Run(source).state == {"name": "Ada", "visits": [1]}


def test_what_is_not_json_is_left_out_with_a_warning() -> None:
    run = returned("{'f': len, 'g': [len, len], 'o': object(), 'n': 1}")
    assert run.state == {"g": [None, None], "n": 1}
    assert run.logs == [
        (
            "warn",
            "state.f was left out: a builtin_function_or_method is not JSON (2 more like it)",
        ),
        ("warn", "state.o was left out: a object is not JSON"),
    ]


def test_a_result_that_is_not_json_at_all_is_nothing() -> None:
    run = Run("def step(state):\n    yield state")
    assert run.outcome == Outcome(state=None)
    assert run.logs == [("warn", "state was left out: a generator is not JSON")]


def test_a_cycle_becomes_a_word() -> None:
    assert Run(body("state['self'] = state", "return state")).state == {
        "data": {"n": 1},
        "self": "[Circular]",
    }
    nested = Run(body("o = {'n': 1}", "o['me'] = [o]", "return {'data': {'o': o}}"))
    assert nested.state == {"data": {"o": {"n": 1, "me": ["[Circular]"]}}}


def test_what_is_merely_shared_is_no_cycle() -> None:
    run = Run(body("o = {'when': {1}}", "return {'a': o, 'b': [o, o]}"))
    assert run.state == {"a": {"when": [1]}, "b": [{"when": [1]}, {"when": [1]}]}


def test_a_lone_surrogate_travels_escaped() -> None:
    run = returned("{'x': 'é' + chr(0xD800)}")
    assert run.outcome.state == '{"x":"é\\ud800"}'


# A set takes the converter, and a list the json module.
@pytest.mark.slow
@pytest.mark.parametrize("innermost", ["[]", "{1}"])
@pytest.mark.parametrize("levels", [NESTING_LIMIT + 1, 400, 9999])
@pytest.mark.parametrize(
    "end", ["return x", "raise ValueError", "e = ValueError(); e.x = x; raise e"]
)
def test_a_state_that_is_nested_too_deeply_kills_the_run(
    innermost: str, levels: int, end: str
) -> None:
    change = "pass" if "e.x" in end else "state['x'] = x"
    run = Run(
        body(f"x = {innermost}", f"for _ in range({levels - 1}): x = [x]", change, *end.split("; "))
    )
    assert run.error.type == "StateTooLargeError"
    assert run.error.message.endswith("is nested more than 200 levels deep")
    assert run.outcome.state is None


@pytest.mark.parametrize("innermost", ["[]", "{1}"])
def test_a_state_of_as_many_levels_as_allowed_is_a_state(innermost: str) -> None:
    run = Run(body(f"x = {innermost}", f"for _ in range({NESTING_LIMIT - 1}): x = [x]", "return x"))
    assert run.outcome.error is None
    assert run.outcome.state.count("[") == NESTING_LIMIT


def test_an_input_that_is_nested_too_deeply_fails_clearly() -> None:
    depth = 100_000
    run = Run(body("return state"), '{"data":' + "[" * depth + "]" * depth + "}")
    assert run.error.type == "RangeError"
    assert list(run.state) == ["errors"]


@pytest.mark.parametrize(
    ("errors", "errored"),
    [
        ("{'a': {'message': 'x'}}", True),
        ("{'a': {}}", True),
        ("{'a': 'x'}", True),
        ("{'a': None}", False),
        ("{'a': ''}", False),
        ("{'b': {'message': 'x'}}", False),
        ("None", False),
        ("['a']", False),
    ],
)
def test_a_success_is_errored_where_its_state_says_so(errors: str, errored: bool) -> None:
    outcome = Run(f"def step(state):\n    return {{'errors': {errors}}}\n").outcome
    assert outcome.errored is errored
    # A step that writes its own error fails with it.
    assert (outcome.error is not None) is errored


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
_IDENTITY = compile_step("def step(state):\n    return state", "identity.py")


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(st.dictionaries(st.text(), _JSON, max_size=6))
def test_any_state_passes_through_unchanged(state: dict[str, Any]) -> None:
    logged: list[str] = []
    outcome = run_step(_IDENTITY, "a", json.dumps(state), lambda *line: logged.append(line[1]))
    expected = {k: v for k, v in state.items() if k not in ("configuration", "response")}
    assert outcome.error is None
    assert outcome.state is not None
    assert json.loads(outcome.state) == expected
    assert logged == []
