"""Retry policy: which runs of an order are repeated, how often, and after which pause. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

MAX_RETRIES = 100
MAX_PAUSE_S = 30 * 86_400

Pause = Annotated[float, Meta(ge=0, le=MAX_PAUSE_S)]
ErrorName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class OrderRetry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repeats a run that ended badly, up to ``times`` times.

    ``errors`` lists statuses (``failed``) and error types (``TimeoutError``); a lost run is
    repeated only where its workflow is idempotent. The first pause is ``after_s``, each further one
    ``factor`` times longer, up to ``max_after_s``; ``jitter`` is the share by which a pause may
    differ. ``from: failed_step`` begins with the recorded input of the step that failed.
    """

    times: Annotated[int, Meta(ge=0, le=MAX_RETRIES)]
    after_s: Pause = 10.0
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_after_s: Pause = 3600.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    errors: Annotated[tuple[ErrorName, ...], Meta(max_length=100)] = ("failed", "exception", "lost")
    origin: Literal["start", "failed_step"] = field(name="from", default="start")

    def covers(self, status: str, error_type: str | None) -> bool:
        """Return True where a run with this end is repeated."""
        return status in self.errors or error_type in self.errors

    def pause_s(self, retries: int, random: float) -> float:
        """Return the seconds before the next run, after ``retries`` of them.

        ``random`` from 0 to 1 chooses within the jitter, so that many orders that failed together
        do not return together.
        """
        # The exponent is bounded: a power beyond a float's range is an error.
        pause_s = min(self.max_after_s, self.after_s * self.factor ** min(retries, 64))
        return pause_s * (1 + self.jitter * (2 * random - 1))
