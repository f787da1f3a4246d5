"""Comparison of what a trigger makes of a message, a call or a tick with the expectation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from worker.runner.result import Result
from worker.sinks.terminal_text import printable
from worker.testing.case import Case
from worker.testing.case_trigger import FIRED, TriggerResponse
from worker.util.state_diff import differences


def refusal_mismatches(case: Case) -> tuple[str, ...] | None:
    """Compare the outcome of a case's trigger; ``None`` where a run starts, as expected."""
    if case.trigger is None:
        return None
    from worker.testing.trigger_start import outcome_of

    outcome, message = outcome_of(case.trigger)
    expected = case.expect.trigger
    if outcome == expected:
        return None if outcome == FIRED else tuple(_response(case, case.trigger.response))
    reason = f" ({message})" if message else ""
    text = f"expected trigger '{case.trigger.name}' {expected}, found {outcome}{reason}"
    return (printable(text),)


def response_mismatches(case: Case, results: Sequence[Result]) -> Iterator[str]:
    """Compare the response to a call after its runs."""
    if case.trigger is not None and case.expect.response is not None:
        from worker.testing.trigger_start import response_of

        yield from _response(case, response_of(case.trigger, results[-1]))


def _response(case: Case, actual: TriggerResponse | None) -> Iterator[str]:
    expected = case.expect.response
    if expected is None or actual is None:
        return
    if expected.code not in (None, actual.code):
        yield f"expected a response with code {expected.code}, found {actual.code}"
    if expected.json is not None:
        if actual.is_json and actual.text:
            yield from differences("response", expected.json, json.loads(actual.text), exact=False)
        else:
            yield f"expected a response in JSON, found {actual.text[:200]!r}"
    if expected.text not in (None, actual.text):
        yield f"expected the response {expected.text!r}, found {actual.text[:200]!r}"
