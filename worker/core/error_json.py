"""Errors as JSON data, for the process of a run: it encodes errors and decodes none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict, replace

from worker.core.outcome import StepError
from worker.errors import SOURCE_LINE_LIMIT

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


def mask_error(error: StepError, mask: Callable[[str], str]) -> StepError:
    """Mask what code and services wrote into an error; ``mask`` masks JSON text.

    Ids and numbers of lines stay: their digits may be those of a secret by chance.
    """

    def masked(value: Any) -> Any:
        return json.loads(mask(json.dumps(value, ensure_ascii=False)))

    position, details = error.position, masked(dict(error.details))
    if position:
        line = masked(position.source_line)[:SOURCE_LINE_LIMIT]
        position = replace(position, source_line=line)
    return replace(
        error,
        message=masked(error.message),
        name=masked(error.name),
        position=position,
        stack=tuple(masked(line) for line in error.stack),
        # Details that are nested too deeply are masked as a whole.
        details=details if isinstance(details, dict) else {},
        cause=error.cause and mask_error(error.cause, mask),
    )
