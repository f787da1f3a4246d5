"""Options of a new order: when it begins, which others it replaces, and how it is retried."""

from __future__ import annotations

from typing import Literal

import msgspec

from worker.cli.options import DURATION, option, options
from worker.cli.times import FutureTime
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.errors import UsageError
from worker.workflow.documents.mismatch import describe_mismatch
from worker.workflow.order_retry import MAX_RETRIES, OrderRetry

order_terms = options(
    option("--not-before", type=FutureTime(), metavar="TIME",
           help="Begin no earlier: after a duration such as 10m, or at 2027-01-31T08:00Z."),
    option("--start-by", type=FutureTime(), metavar="TIME",
           help="Reject the order if it has not begun by then, such as 2h."),
    option("--unique", metavar="KEY",
           help="Let one order of the project with this key wait or run: it replaces one that "
                "waits, and is rejected while one runs."),
    option("--over-limit", type=OneOf(["reject", "queue"]), metavar="reject|queue",
           help="What becomes of the order over a limit, or while one with its key runs.  "
                "[default: as the policy has it, else reject]"),
    option("--tag", "tags", multiple=True, metavar="TAG",
           help="Word by which orders are searched, such as clinic:north."),
    option("--placement", multiple=True, metavar="LABEL",
           help="Run it on workers with this label, as worker start --label has it."),
    option("--retries", type=WholeNumberRange(0, MAX_RETRIES), metavar="N",
           help="Run it again so many times where it ends badly.  [default: the workflow's]"),
    option("--retry-after", type=DURATION, metavar="SECONDS",
           help="Pause before the first of --retries; each further one is twice as long.  "
                "[default: 10]"),
    option("--retry-from", type=OneOf(["start", "failed_step"]), metavar="start|failed_step",
           help="Where --retries begin.  [default: start]"),
    option("--retry-on", multiple=True, metavar="ERROR",
           help="Status or error type that --retries repeat, such as failed or TimeoutError.  "
                "[default: failed, exception, and lost if idempotent]"),
)  # fmt: skip


def read_retry(
    times: int | None,
    after_s: float | None,
    origin: Literal["start", "failed_step"] | None,
    errors: tuple[str, ...],
) -> OrderRetry | None:
    """Build the retry policy of an order; ``None`` where it has none of its own."""
    if times is None:
        if after_s is not None or origin is not None or errors:
            raise UsageError("--retry-after, --retry-from and --retry-on need --retries N")
        return None
    fields = {"times": times, "after_s": after_s, "from": origin, "errors": errors or None}
    present = {name: value for name, value in fields.items() if value is not None}
    try:
        return msgspec.convert(present, OrderRetry)
    except msgspec.ValidationError as error:
        raise UsageError(f"--retries: {describe_mismatch(error, OrderRetry)}") from error


def check_tags(tags: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` for a tag that is no single word."""
    for tag in tags:
        if tag.split() != [tag] or len(tag) > 100:
            raise UsageError(f"--tag must be one word of up to 100 characters, found '{tag[:80]}'")
