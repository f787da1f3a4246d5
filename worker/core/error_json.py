"""Errors as JSON data, for the process of a run: it encodes errors and decodes none."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from worker.core.outcome import StepError

# Not part of `events`: its decoders would make every run's process larger.


def error_to_dict(error: StepError) -> dict[str, Any]:
    """Convert the error to JSON data, without its empty fields."""
    fields: dict[str, Any] = {"type": error.type, "message": error.message}
    for name in ("name", "source", "job_id", "step_id", "stack"):
        if value := getattr(error, name):
            fields[name] = value
    if error.position:
        fields["position"] = asdict(error.position)
    if error.details:
        fields["details"] = dict(error.details)
    if error.cause:
        fields["cause"] = error_to_dict(error.cause)
    return fields
