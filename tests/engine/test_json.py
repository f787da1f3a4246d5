"""JSON in the engine reads and writes what Python's does: our build scans it in blocks."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.engine.image import Image
from worker.engine.instance import Instance, Runtime

DIGITS = st.text("0123456789", min_size=1, max_size=20)
NUMBERS = st.builds(
    lambda sign, whole, decimals, exponent: f"{sign}{int(whole)}{decimals}{exponent}",
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda digits: f".{digits}")),
    st.one_of(st.just(""), st.integers(-330, 310).map(lambda power: f"e{power}")),
)
# Around the length of a block, with what ends one at each place.
TEXTS = st.text(
    st.one_of(
        st.sampled_from('"\\/\x00\x1f\x7f\x80\xff\n\t'),
        st.characters(codec="utf-8"),
        st.characters(categories=["Cs"]),
        st.just("a"),
    ),
    max_size=40,
)


def value_of(instance: Instance, expression: str) -> str:
    instance.limit_memory(64 * 2**20)
    assert instance.evaluate(expression)
    text = instance.call("read_register")
    assert instance.restore() and isinstance(text, str)
    return text


@pytest.mark.parametrize(
    "number",
    [
        # Halfway between two doubles, short and long: the even one is right.
        "9007199254740993",
        "4503599627370497.5",
        "68408.5549406741265556775033473968505859375",
        "0.20034168779495580003935373269996489398181438446044921875",
        # Just above half, in a digit beyond those of any double.
        "9007199254740993.00000000000000000001",
        "2.2250738585072014e-308",
        "5e-324",
    ],
)
def test_a_number_is_the_nearest_double(blank: Image, shared: Runtime, number: str) -> None:
    text = value_of(Instance(shared, blank), f"String(JSON.parse('{number}'))")
    assert float(text) == float(number)


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=20))
def test_numbers_are_those_that_are_written(
    shared: Runtime, blank: Image, numbers: list[str]
) -> None:
    text = f"[{','.join(numbers)}]"
    written = value_of(
        Instance(shared, blank),
        f"JSON.stringify(JSON.parse({json.dumps(text)}).map(n => Object.is(n, -0) ? '-0' : n))",
    )
    for ours, expected in zip(json.loads(written), map(float, numbers), strict=True):
        if math.isinf(expected):
            assert ours is None
        elif ours == "-0":
            assert (expected, math.copysign(1, expected)) == (0, -1)
        else:
            # As doubles: JavaScript fills the digits of a large number up with zeros.
            assert float(ours) == expected


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_texts_pass_through_unchanged(shared: Runtime, blank: Image, texts: list[str]) -> None:
    instance = Instance(shared, blank)
    argument = json.dumps(json.dumps(texts))
    assert json.loads(value_of(instance, f"JSON.stringify(JSON.parse({argument}))")) == texts
    # Written without escapes where UTF-8 has a form.
    readable = json.dumps([text.encode("utf-8", "replace").decode() for text in texts])
    unescaped = json.dumps(json.loads(readable), ensure_ascii=False)
    assert json.loads(
        value_of(instance, f"JSON.stringify(JSON.parse({json.dumps(unescaped)}))")
    ) == json.loads(readable)
