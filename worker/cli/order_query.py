"""Options that choose work orders, by the names of :class:`OrderQuery`."""

from __future__ import annotations

import click

from worker.cli.options import WholeNumberRange, option, options
from worker.core.status import Status

order_filters = options(
    option("--status", type=click.Choice([status.value for status in Status]), metavar="STATUS",
           help="Only orders with this status."),
    option("--project", metavar="NAME", help="Only orders of this project."),
    option("--workflow", metavar="NAME", help="Only orders for this workflow."),
    option("--search", default="", metavar="TEXT", help="Only orders with TEXT in id or workflow."),
    option("--limit", type=WholeNumberRange(1, 1000), default=50, show_default=True, metavar="N",
           help="Maximum number of orders."),
)  # fmt: skip
