"""The outcome of a firing, and the result of its order. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from worker.core.status import Status

# What a message of MQTT may well hold; a larger state is fetched by its run.
MAX_STATE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """The outcome of a firing: the order, or a failure with its code.

    ``repeated``: the message had an order already.
    """

    order_id: str = ""
    run_id: str | None = None
    rejected: str | None = None
    repeated: bool = False
    failure: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """The result of an order that has ended; ``state`` is the JSON of its final state, if any."""

    order_id: str
    run_id: str | None
    status: Status
    reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    state: str | None = None

    def view(self) -> dict[str, Any]:
        """Return what a reply holds."""
        state = self.state
        too_large = state is not None and len(state) > MAX_STATE_BYTES
        return {
            "work_order_id": self.order_id,
            "run_id": self.run_id,
            "status": self.status.value,
            "reason": self.reason,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "data": None if state is None or too_large else msgspec.Raw(state.encode()),
            "state_withheld": too_large,
        }
