"""Limits of a run: what was requested counts before the file's option, and that before the default;
nothing exceeds the operator's caps, and nothing out of its range is a limit."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.helpers import job, workflow
from worker.core.outcome import StepError
from worker.errors import LoadError, UsageError
from worker.sandbox.limits import (
    MIB,
    Limits,
    out_of_fuel,
    resolve_limits,
    timed_out,
    too_deep,
    too_many_events,
)
from worker.workflow.limit_ranges import FILE_OPTIONS, RANGES
from worker.workflow.load import load

CAPS = Limits(
    timeout_s=60, memory_mb=100, payload_mb=2, log_payload_mb=0.5, executions=10, fuel=10**6
)


@pytest.mark.parametrize(
    ("options", "requested", "expected"),
    [
        ({}, {}, Limits()),
        ({"run_timeout_ms": 2000}, {}, Limits(timeout_s=2.0)),
        ({"run_timeout_ms": 300}, {}, Limits(timeout_s=0.3)),
        ({"run_timeout_ms": 2000}, {"timeout_s": 5.0}, Limits(timeout_s=5.0)),
        ({"run_timeout_ms": 2000}, {"timeout_s": None}, Limits(timeout_s=2.0)),
        ({}, {"timeout_s": 5.0}, Limits(timeout_s=5.0)),
        ({"run_memory_limit_mb": 64}, {}, Limits(memory_mb=64)),
        ({"run_memory_limit_mb": 64.0}, {}, Limits(memory_mb=64)),
        ({"run_memory_limit_mb": 64}, {"memory_mb": 128}, Limits(memory_mb=128)),
        ({"payload_limit_mb": 2}, {}, Limits(payload_mb=2.0)),
        ({"payload_limit_mb": 2}, {"payload_mb": 1.5}, Limits(payload_mb=1.5)),
        ({"log_payload_limit_mb": 2}, {}, Limits(log_payload_mb=2)),
        ({"state_limit_mb": 3}, {}, Limits(state_mb=3)),
        ({"state_limit_mb": 3}, {"state_mb": 4.0}, Limits(state_mb=4.0)),
        ({"run_timeout_ms": None, "another": "thing"}, {"executions": 5}, Limits(executions=5)),
    ],
)
def test_a_request_counts_before_an_option_and_an_option_before_the_default(
    options: dict[str, Any], requested: dict[str, Any], expected: Limits
) -> None:
    flow = workflow(job("fn(s => s);"), **options)
    resolved = resolve_limits(flow.options, requested)
    assert resolved == expected
    assert type(resolved.memory_mb) is int


@pytest.mark.parametrize(
    ("options", "requested"),
    [
        ({}, {}),
        ({name: RANGES[field].maximum for name, field in FILE_OPTIONS.items()}, {}),
        ({}, {name: limit.maximum for name, limit in RANGES.items()}),
    ],
)
def test_nothing_exceeds_the_caps(options: dict[str, Any], requested: dict[str, Any]) -> None:
    limits = resolve_limits(options, requested, CAPS)
    assert limits.effective_state_mb == 25
    for name in RANGES:
        if name != "state_mb":
            assert getattr(limits, name) <= getattr(CAPS, name), name


def test_less_than_the_caps_stays_and_a_capped_memory_caps_the_state() -> None:
    limits = resolve_limits({"run_timeout_ms": 500}, {"state_mb": 3, "memory_mb": 50}, CAPS)
    assert (limits.timeout_s, limits.state_mb, limits.memory_mb) == (0.5, 3, 50)
    assert resolve_limits({}, {"memory_mb": 40}, CAPS).effective_state_mb == 10


WRONG = [0, -1, -0.5, True, False, "100", [1], 1e300, math.inf, -math.inf, math.nan, 10**5000]
IDS = [*map(repr, WRONG[:-1]), "huge"]


@pytest.mark.parametrize("value", WRONG, ids=IDS)
@pytest.mark.parametrize("name", RANGES)
def test_a_value_out_of_its_range_is_an_error_with_name_value_and_range(
    name: str, value: Any
) -> None:
    shown = "an integer of more than 38 digits" if value == 10**5000 else repr(value)
    with pytest.raises(UsageError) as raised:
        resolve_limits({}, {name: value})
    assert str(raised.value) == f"{name}: expected {RANGES[name]}, found {shown}"
    with pytest.raises(UsageError, match=f"^{name}: expected"):
        Limits(**{name: value})


@pytest.mark.parametrize("value", WRONG, ids=IDS)
@pytest.mark.parametrize("name", FILE_OPTIONS)
def test_an_option_out_of_its_range_is_an_error_with_its_place(name: str, value: Any) -> None:
    plan = {"options": {name: value}, "workflow": {"steps": [{"id": "a", "expression": "fn()"}]}}
    with pytest.raises(LoadError) as raised:
        load(plan)
    # The reader of documents refuses what JSON cannot hold, and an integer of 5,000 digits.
    shape = rf"<dict>: options\.{name}: (expected a .*number .*, found .*|the number is .*)"
    assert re.fullmatch(shape, str(raised.value))
    # A workflow that was built in Python was not loaded.
    flow = replace(workflow(job("fn(s => s);")), options={name: value})
    with pytest.raises(UsageError, match=f"the workflow's option {name}: expected"):
        resolve_limits(flow.options)


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_in_it(name: str) -> None:
    limit = RANGES[name]
    assert limit.problem(limit.maximum) is None and limit.problem(limit.maximum + 1)
    lowest = limit.minimum or 1e-6
    assert limit.problem(lowest) is None
    if limit.is_whole:
        assert limit.problem(lowest - 1) and limit.problem(lowest + 0.5)


def test_the_default_state_limit_is_a_quarter_of_the_memory() -> None:
    assert MIB == 1_048_576
    assert Limits().state_bytes == 125 * MIB
    assert Limits(memory_mb=64).state_bytes == 16 * MIB
    assert Limits(memory_mb=64, state_mb=0.5).state_bytes == MIB // 2


def test_the_defaults_are_the_documented_ones() -> None:
    limits = Limits()
    assert (limits.timeout_s, limits.memory_mb, limits.effective_state_mb) == (300, 500, 125)
    assert (limits.payload_mb, limits.log_payload_mb) == (10, 1)
    assert (limits.log_lines, limits.log_total_mb) == (10_000, 50)
    assert (limits.executions, limits.events_mb) == (250_000, 256)


@pytest.mark.parametrize("name", ["memory", "payload", "log_payload", "log_total", "events"])
def test_a_megabyte_is_1024_times_1024_bytes(name: str) -> None:
    limits = Limits(memory_mb=64, payload_mb=3, log_payload_mb=2, log_total_mb=7, events_mb=5)
    megabytes = {"memory": 64, "payload": 3, "log_payload": 2, "log_total": 7, "events": 5}
    assert getattr(limits, f"{name}_bytes") == megabytes[name] * 1024 * 1024


LIMITS = Limits(timeout_s=2.5, fuel=1_000_000, events_mb=3)


@pytest.mark.parametrize(
    ("error", "type", "text"),
    [
        (timed_out(LIMITS), "TimeoutError", "longer than its limit of 2.5 s"),
        (out_of_fuel(LIMITS), "StepLimitError", "its fuel limit of 1,000,000"),
        (too_many_events(LIMITS), "StepLimitError", "over their limit of 3 MB"),
        (too_deep(), "StateTooLargeError", "the state is nested more than 200 levels deep"),
        (too_deep("details"), "StateTooLargeError", "details is nested more than 200"),
    ],
)
def test_an_error_names_the_limit(error: StepError, type: str, text: str) -> None:
    assert error.type == type and error.reason == "kill" and text in error.message
