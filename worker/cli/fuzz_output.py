"""Discoveries of ``worker fuzz`` as text and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.fuzzing.campaign import CampaignResult, Discovery
from worker.fuzzing.endings import RunEnding, StepFailure
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.util.plural import count_of

_INPUT_LENGTH = 400
_ORIGINS = 3


def as_text(campaign: CampaignResult) -> Iterator[str]:
    """Yield the lines that a terminal shows: failing runs first, then the simplest input first."""
    for number, discovery in enumerate(campaign.discoveries, start=1):
        mark = "✗" if discovery.is_problem else "~"
        yield f"{mark} {number}. {one_line(_origin(discovery), 200)}"
        yield f"    {_describe(discovery.ending)}"
        yield f"    path: {printable(' → '.join(discovery.ending.path)) or '(no step)'}"
        yield f"    simplest input: {one_line(dumps(discovery.input), _INPUT_LENGTH)}"
        yield ""
    yield _summary(campaign)


def _origin(discovery: Discovery) -> str:
    parts = discovery.origin
    more = f" and {len(parts) - _ORIGINS} more" if len(parts) > _ORIGINS else ""
    return ", ".join(parts[:_ORIGINS]) + more


def _describe(ending: RunEnding) -> str:
    failures = "; ".join(map(_failure, ending.failures))
    return one_line(f"{ending.status.value}: {failures}" if failures else ending.status.value, 400)


def _failure(failure: StepFailure) -> str:
    place = f" at {failure.step}" if failure.step else ""
    line = f", line {failure.line}" if failure.line else ""
    message = f": {failure.message}" if failure.message else ""
    return f"{failure.type}{place}{line}{message}"


def _summary(campaign: CampaignResult) -> str:
    new = len(campaign.discoveries)
    failing = sum(discovery.is_problem for discovery in campaign.discoveries)
    end = ", interrupted" if campaign.stopped else ""
    return (
        f"{count_of(new, 'new ending')} in {count_of(campaign.inputs, 'input')}, "
        f"{failing} of them fail ({campaign.seconds:.1f} s{end})"
    )


def as_json_lines(campaign: CampaignResult) -> Iterator[str]:
    """Yield one JSON object a line: the discoveries, and a summary."""
    for discovery in campaign.discoveries:
        yield dumps({"type": "ending", **_fields(discovery)})
    yield dumps(
        {
            "type": "summary",
            "endings": len(campaign.discoveries),
            "inputs": campaign.inputs,
            "seconds": round(campaign.seconds, 3),
        }
    )


def _fields(discovery: Discovery) -> dict[str, Any]:
    ending = discovery.ending
    return {
        "origin": discovery.origin,
        "status": ending.status.value,
        "error_type": ending.error_type,
        "failures": [
            {name: getattr(failure, name) for name in ("step", "type", "line", "message")}
            for failure in ending.failures
        ],
        "path": ending.path,
        "input": discovery.input,
    }
