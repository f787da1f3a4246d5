"""Options of lists, by the names of the fields of :class:`OrderQuery` and :class:`RunQuery`."""

from __future__ import annotations

from worker.cli.options import Decorator, option, options
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.core.status import Status


def query_filters(noun: str) -> Decorator:
    """Add the options that choose from a list; ``noun`` is what it lists."""
    return options(
        option("--status", type=OneOf([status.value for status in Status]),
               metavar="STATUS", help=f"Only {noun} with this status."),
        option("--project", metavar="NAME", help=f"Only {noun} of this project."),
        option("--workflow", metavar="NAME", help=f"Only {noun} of this workflow."),
        option("--search", default="", metavar="TEXT",
               help=f"Only {noun} with TEXT in an id or the workflow."),
        option("--limit", type=WholeNumberRange(1, 1000), default=50, show_default=True,
               metavar="N", help=f"Maximum number of {noun}."),
    )  # fmt: skip
