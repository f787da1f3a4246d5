"""Self-check: faults that were mended are found again once their mend is taken out.

``python -m tools.fuzz --self-check`` takes each mend out in turn, in this process alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final
from unittest import mock

from msgspec import Struct
from msgspec.structs import force_setattr

from worker.core.events import AnyEvent, Dataclip
from worker.sandbox.limits import Limits


class Mend(Struct, frozen=True):
    """A mend: what it keeps from happening, the target that shows it, and what stands without it.

    ``without`` maps the names of functions to what takes their place.
    """

    fault: str
    target: str
    without: Mapping[str, Any]


@contextlib.contextmanager
def taken_out(mend: Mend) -> Iterator[None]:
    """Take a mend out while the block runs."""
    with contextlib.ExitStack() as stack:
        for name, instead in mend.without.items():
            stack.enter_context(mock.patch(name, instead))
        yield


def _nothing(*arguments: Any, **fields: Any) -> None:
    """Do nothing."""


def _never(*arguments: Any, **fields: Any) -> bool:
    return False


def _believe(self: Any, event: AnyEvent, body: str | None) -> None:
    """Take an event of a run's process as it is."""
    name = {"step:complete": "output_dataclip", "run:complete": "final_state"}.get(event.type)
    if name and body is not None:
        force_setattr(event, name, Dataclip(body))
    self.stream.record(event)


def _any_limits(workflow: Any, options: Any) -> Limits:
    """Resolve limits as before the mend: any number above 0 was a limit."""

    def number(name: str, default: float) -> float:
        value = workflow.options.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number and value > 0 else default

    return Limits(
        timeout_s=number("run_timeout_ms", 300_000) / 1000,
        memory_mb=int(number("run_memory_limit_mb", 500)),
    )


MENDS: Final[Mapping[str, Mend]] = {
    "A1": Mend(
        "a report that nobody can read blocks the reports of all other runs",
        "outbox",
        {
            "worker.fleet.worker.outbox.nests_deeper": _never,
            "worker.fleet.control.worker_messages.unreadable_reports": _nothing,
            "worker.fleet.worker.report_sender.ReportSender._suspect": _nothing,
        },
    ),
    "B5": Mend(
        "what a run's process sends is believed",
        "frames",
        {"worker.sandbox.parent.frames.RunFrames._check_event": _believe},
    ),
    "B8": Mend(
        "a workflow states limits that no system takes",
        "workflow-json",
        {
            "worker.workflow.formats.common.file_option_problem": _nothing,
            "tools.fuzz.file_targets.limits_for": _any_limits,
            "worker.sandbox.limits.Limits.__post_init__": _nothing,
        },
    ),
    "C8": Mend(
        "a file of many small values takes all memory",
        "workflow-json",
        {"worker.workflow.documents.json_reader.has_more_values": _never},
    ),
}
