"""Which sources get the image with locales and time zones."""

from __future__ import annotations

import pytest

from worker.compiler.intl_names import uses_intl


@pytest.mark.parametrize(
    "source",
    [
        "fn(state => state.data.at.toLocaleString('sv'))",
        "fn(state => state.data.at['toLocaleDateString']('sv'))",
        "fn(state => state.data.at?.toLocaleTimeString('sv', { timeZone: 'Africa/Nairobi' }))",
        "fn(state => ({ ...state, zone: Intl.DateTimeFormat().resolvedOptions().timeZone }))",
        "const { NumberFormat } = Intl;",
        "const { toLocaleString } = Number.prototype;",
        "const { toLocaleString: write } = Number.prototype;",
        "const tools = { Intl };",
        "fn(state => dateFns.intlFormat(state.data.at))",
        "fn(state => globalThis['Intl'])",
        "fn(state => `${state.data.total.toLocaleString('sv')} kr`)",
    ],
)
def test_a_source_that_names_a_function_with_a_locale(source: str) -> None:
    assert uses_intl(source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "fn(state => state)",
        "fn(state => state.data.sort((a, b) => a.localeCompare(b)))",
        "fn(state => state.data.name.toLocaleUpperCase())",
        "// toLocaleString is not used\nfn(state => state)",
        "fn(state => ({ ...state, text: 'no Intl here' }))",
        "fn(state => state.data.toLocaleStrings())",
        "fn(state => state.data['toLocale' + 'String']())",
    ],
)
def test_a_source_that_names_none(source: str) -> None:
    assert not uses_intl(source)
