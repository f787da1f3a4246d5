"""Numbers of hundreds of digits are the nearest doubles: literals, JSON and conversions of texts.

Python's ``float`` rounds correctly, whatever the length of a text.
"""

from __future__ import annotations

import json
import struct
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.engine.image import Image
from worker.engine.instance import Instance, Runtime

LARGEST = 0x7FEF_FFFF_FFFF_FFFF
"""The bits of the largest finite double."""
# The borders of subnormal, whole and finite numbers, and any others.
BITS = st.one_of(
    st.integers(0, 100),
    st.integers(0x000F_FFFF_FFFF_FFF0, 0x0010_0000_0000_0010),
    st.integers(0x4330_0000_0000_0000, 0x4350_0000_0000_0000),
    st.integers(LARGEST - 100, LARGEST),
    st.integers(0, LARGEST),
)


def middle(bits: int) -> Decimal:
    """Return the number between two doubles, exactly; above the largest one, as if there were one."""
    with localcontext(prec=1200):
        low = Decimal(struct.unpack(">d", struct.pack(">Q", bits))[0])
        if bits == LARGEST:
            return low + Decimal(2) ** 970
        return (low + Decimal(struct.unpack(">d", struct.pack(">Q", bits + 1))[0])) / 2


def beside(bits: int, sign: str, zeros: int, change: int) -> str:
    """Write a middle, or a number that differs from it in a digit after some zeros."""
    with localcontext(prec=2400):
        exact = middle(bits)
        text = format(exact + change * exact.scaleb(-800 - zeros), "E")
    return sign + text


NUMBERS = st.builds(
    beside, BITS, st.sampled_from(["", "-"]), st.integers(0, 700), st.sampled_from([0, 0, 1, -1])
)
LONG = st.builds(
    lambda whole, decimals, power: f"{whole.lstrip('0') or '0'}.{decimals}e{power}",
    st.text("0123456789", min_size=1, max_size=900),
    st.text("0123456789", min_size=1, max_size=900),
    st.integers(-1300, 400),
)
READERS = ("Number(text)", "parseFloat(text)", "JSON.parse(text)", "JSON.parse(`[${text}]`)[0]")


def bits_of(instance: Instance, text: str) -> list[str]:
    """Return the bits of what each reader, and a literal, make of a text."""
    bits = "n => new BigUint64Array(new Float64Array([n]).buffer)[0].toString(16)"
    values = ", ".join((*READERS, text))
    instance.limit_memory(64 * 2**20)
    assert instance.evaluate(
        f"const text = {json.dumps(text)}; JSON.stringify([{values}].map({bits}))"
    )
    written = instance.call("read_register")
    assert instance.restore() and isinstance(written, str)
    result: list[str] = json.loads(written)
    return result


def expected(text: str) -> list[str]:
    return [format(struct.unpack(">Q", struct.pack(">d", float(text)))[0], "x")] * 5


@settings(max_examples=examples(150))
@given(st.one_of(NUMBERS, LONG))
def test_a_long_number_is_the_nearest_double(blank: Image, shared: Runtime, text: str) -> None:
    assert bits_of(Instance(shared, blank), text) == expected(text)


@pytest.mark.parametrize(
    "text",
    [
        "1.45554393574542417777450964422314427793025970458984375",
        "9007199254740993" + "0" * 300,
        "9007199254740993" + "0" * 300 + "1e-10",
        "0." + "0" * 323 + "24703282292062327208" + "0" * 400,
        "0."
        + "0" * 323
        + "2470328229206232720882843964341106861825299013071623822127928412503377536",
        f"{middle(LARGEST):f}",
        f"{middle(LARGEST):f}.{'0' * 500}1",
        f"{middle(LARGEST) - 1:f}",
        f"{middle(0):E}",
        f"{middle(0):f}{'0' * 900}1",
        "1" * 50 + "e2000000000",
        "1" * 50 + "e-2000000000",
        "0" * 3000 + "." + "0" * 3000 + "1" * 50 + "e2999",
        "9" * 20_000 + "e-20000",
    ],
    ids=lambda text: f"{text[:20]} of {len(text)}",
)
def test_a_border_is_the_nearest_double(blank: Image, shared: Runtime, text: str) -> None:
    # JavaScript and JSON know no zeros before a whole number.
    text = text.lstrip("0").replace(".", "0.", 1) if text.startswith("00") else text
    assert bits_of(Instance(shared, blank), text) == expected(text)
