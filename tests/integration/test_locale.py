"""Locale and time zone: as in Node, or refused with an error that names the call."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.locale_agreement import Answer, Expression, answer, expressions
from worker.compiler.intl_names import uses_intl
from worker.engine.image import Image
from worker.engine.instance import Instance
from worker.engine.shared import runtime
from worker.sandbox.javascript.engine import image_with, realm_image
from worker.sandbox.protocol import INTL_LIBRARIES

EXPRESSIONS = list(expressions())

# Each worker that runs one of them makes an image of its own; `test_locale_runs` is for every day.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("locale")]


@pytest.fixture(scope="module")
def image() -> Image:
    return image_with({}, INTL_LIBRARIES)


@pytest.fixture
def with_locales(image: Image) -> Instance:
    instance = Instance(runtime(), image)
    instance.limit_memory(64 * 2**20)
    return instance


@pytest.fixture
def plain() -> Instance:
    instance = Instance(runtime(), realm_image())
    instance.limit_memory(64 * 2**20)
    return instance


@pytest.fixture(scope="module")
def answers(image: Image) -> dict[Expression, Answer]:
    instance = Instance(runtime(), image)
    instance.limit_memory(64 * 2**20)
    return {expression: answer(instance, expression) for expression in EXPRESSIONS}


def value(instance: Instance, source: str) -> str | None:
    return answer(instance, Expression(source, None, None)).value


def refusal(instance: Instance, source: str) -> str:
    return answer(instance, Expression(source, None, None)).message


def test_every_expression_is_right_or_refused(
    answers: dict[Expression, Answer], capsys: pytest.CaptureFixture[str]
) -> None:
    different = [
        f"{expression.source}: {reply.value!r}, in Node {expression.value or expression.error!r}"
        for expression, reply in answers.items()
        if reply.verdict == "different"
    ]
    count = Counter(reply.verdict for reply in answers.values())
    with capsys.disabled():
        print(
            f"\nlocales: of {len(answers)} expressions {count['right']} are as in Node, "
            f"{count['refused']} refused, {count['different']} different"
        )
    assert len(answers) >= 300
    assert not different
    assert count["right"] > 0.7 * len(answers)


def test_refusals_name_the_call_and_what_to_write_instead(
    answers: dict[Expression, Answer],
) -> None:
    for expression, reply in answers.items():
        if reply.verdict == "refused":
            assert "RangeError: " in reply.message, expression.source
            assert " is not supported here: " in reply.message, (expression.source, reply.message)


def test_without_locale_data_every_expression_is_right_or_an_error(plain: Instance) -> None:
    different = [
        (expression.source, reply.value, expression.value)
        for expression in EXPRESSIONS
        if "typeof" not in expression.source
        and (reply := answer(plain, expression)).verdict == "different"
    ]
    assert not different


@pytest.mark.parametrize(
    "call",
    [
        "new Date(0)['toLocale' + 'DateString']('sv')",
        "new Date(0)['toLocale' + 'String'](undefined, { timeZone: 'Africa/Nairobi' })",
        "(1.5)['toLocale' + 'String']('sv')",
        "(1n)['toLocale' + 'String']('sv')",
        "[1.5]['toLocale' + 'String']('sv')",
    ],
)
def test_a_computed_name_without_locale_data_is_refused(plain: Instance, call: str) -> None:
    assert not uses_intl(call)
    message = refusal(plain, call)
    assert message.startswith("RangeError: toLocale")
    assert "write toLocale" in message


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            "new Date(0).toLocaleDateString('de-DE')",
            "toLocaleDateString('de-DE') is not supported here: the locales are en-US, en-GB, en-CA, "
            "sv, fr, es, pt, ar, sw; use date-fns format(date, 'dd.MM.yyyy')",
        ),
        (
            "new Date(0).toLocaleString('sv', { timeZone: 'America/New_York' })",
            "toLocaleString('sv') with {timeZone: \"America/New_York\"} is not supported here: "
            "the time zones are UTC and those of Africa and Asia, "
            "without Africa/Casablanca, Africa/El_Aaiun and Asia/Tehran",
        ),
        (
            "new Date(0).toLocaleTimeString('en-US', { hour12: false })",
            "toLocaleTimeString('en-US') with {hour12: false} is not supported here: "
            'use {hourCycle: "h23"}',
        ),
        (
            "'i'.toLocaleUpperCase('tr')",
            "toLocaleUpperCase('tr') is not supported here: the locales are en-US, en-GB, en-CA, "
            "sv, fr, es, pt, ar, sw; use toUpperCase()",
        ),
        (
            "'ж'.localeCompare('a')",
            "localeCompare() of 'ж' is not supported here: only Latin text has an order here; "
            "compare with < and >",
        ),
        (
            "new Intl.ListFormat('en')",
            "Intl.ListFormat is not supported here: use join()",
        ),
    ],
)
def test_the_words_of_refusals(with_locales: Instance, call: str, text: str) -> None:
    assert refusal(with_locales, call) == f"RangeError: {text}"


def test_the_first_use_of_a_locale_costs_no_more_than_the_next(with_locales: Instance) -> None:
    used = with_locales.used_bytes
    value(with_locales, "new Date(0).toLocaleString('ar', { timeZone: 'Africa/Cairo' })")
    assert with_locales.used_bytes - used < 2**20


def test_jobs_cannot_change_what_formats_or_reach_the_data(with_locales: Instance) -> None:
    assert value(with_locales, "[typeof __formatjs, typeof __agreement, typeof __collation]") == (
        "undefined,undefined,undefined"
    )
    value(with_locales, "(Intl.NumberFormat = null, Number.prototype.toLocaleString = null)")
    assert value(with_locales, "new Intl.NumberFormat('sv').format(0.5)") == "0,5"
