"""Limits of a workflow: an argument counts before the workflow's option, and that before the
default."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.helpers import job, workflow
from worker.core.outcome import StepError
from worker.runner.prepare import limits_of
from worker.sandbox.limits import MIB, Limits, timed_out, too_deep


def limits(options: dict[str, Any], **arguments: Any) -> Limits:
    flow = workflow(job("fn(s => s);"), **options)
    return limits_of(flow, **{"timeout": None, "memory": None, **arguments})


@pytest.mark.parametrize(
    ("options", "arguments", "expected"),
    [
        ({}, {}, Limits()),
        ({"run_timeout_ms": 2000}, {}, Limits(timeout_s=2.0)),
        ({"run_timeout_ms": 300}, {}, Limits(timeout_s=0.3)),
        ({"run_timeout_ms": 2000}, {"timeout": 5.0}, Limits(timeout_s=5.0)),
        ({}, {"timeout": 5.0}, Limits(timeout_s=5.0)),
        ({"run_memory_limit_mb": 64}, {}, Limits(memory_mb=64)),
        ({"run_memory_limit_mb": 64}, {"memory": 128}, Limits(memory_mb=128)),
        ({"payload_limit_mb": 2}, {}, Limits(payload_mb=2.0)),
        ({"payload_limit_mb": 2}, {"payload_limit": 1.5}, Limits(payload_mb=1.5)),
        ({}, {"state_limit": 3.0}, Limits(state_mb=3.0)),
    ],
)
def test_an_argument_counts_before_an_option_and_an_option_before_the_default(
    options: dict[str, Any], arguments: dict[str, Any], expected: Limits
) -> None:
    assert limits(options, **arguments) == expected


@pytest.mark.parametrize("name", ["run_timeout_ms", "run_memory_limit_mb", "payload_limit_mb"])
@pytest.mark.parametrize("value", [0, -1, -0.5, True, False, "100", None, [1]])
def test_an_option_that_is_no_positive_number_falls_back_to_the_default(
    name: str, value: Any
) -> None:
    # The loader rejects such files; a workflow that was built in Python reaches this function.
    flow = replace(workflow(job("fn(s => s);")), options={name: value})
    assert limits_of(flow, timeout=None, memory=None) == Limits()


def test_the_defaults_are_those_that_are_documented() -> None:
    assert vars(Limits()) == {
        "timeout_s": 300.0,
        "memory_mb": 500,
        "state_mb": None,
        "payload_mb": 10.0,
        "log_payload_mb": 1.0,
        "log_lines": 10_000,
        "log_total_mb": 50.0,
    }
    limits = Limits(log_total_mb=2.0, log_payload_mb=0.5, payload_mb=0.25)
    sizes = limits.log_total_bytes, limits.log_payload_bytes, limits.payload_bytes
    assert sizes == (2 * MIB, MIB // 2, MIB // 4)
    assert timed_out(limits).type == "TimeoutError"
    assert too_deep("x") == StepError(
        type="StateTooLargeError", message="x is nested more than 200 levels deep"
    )


def test_the_default_state_limit_is_a_quarter_of_the_memory() -> None:
    assert MIB == 1_048_576
    assert Limits().state_bytes == 125 * MIB
    assert Limits(memory_mb=64).state_bytes == 16 * MIB
    assert Limits(memory_mb=64, state_mb=0.5).state_bytes == MIB // 2
