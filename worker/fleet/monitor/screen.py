"""Terminal screen of ``worker watch``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.core.status import STATUSES, Status
from worker.fleet.monitor.run_tracker import TrackedRun
from worker.fleet.monitor.snapshot import Snapshot
from worker.sinks.terminal_text import one_line

MAX_ALERTS = 5
MAX_WORKERS = 12
_BLOCKS = "▁▂▃▄▅▆▇█"


def render_screen(
    snapshot: Snapshot, ended: Sequence[int], title: str, problem: str, now_us: int
) -> RenderableType:
    """Build the screen."""
    parts: list[RenderableType] = [_heading(title, problem), _statuses(snapshot)]
    parts += [Text(), _throughput(ended), Text()]
    parts += [
        _section("running", snapshot.leased),
        _running(snapshot.running, snapshot.waiting, now_us),
        Text(),
    ]
    parts += [_section("workers", len(snapshot.workers)), _workers(snapshot.workers), Text()]
    parts += [_section("newest alerts", None), *_alerts(snapshot.alerts)]
    return Group(*parts)


def _heading(title: str, problem: str) -> Text:
    text = Text.assemble(("worker watch", "bold"), "  ", (one_line(title, 80), "dim"))
    if problem:
        text.append(f"\n{one_line(problem, 200)}", style="bold red")
    return text


def _section(name: str, count: int | None) -> Text:
    return Text.assemble((name, "bold"), ("" if count is None else f"  {count:,}", "dim"))


def _statuses(snapshot: Snapshot) -> Text:
    text = Text("orders   ", style="bold")
    counts = [(status, snapshot.statuses.get(status, 0)) for status in STATUSES]
    for status, count in counts:
        if count:
            row = STATUSES[status]
            text.append(f"{row.mark} {count:,} {status}   ", style=row.color)
    if not any(count for _, count in counts):
        text.append("none yet", style="dim")
    return text


def _throughput(ended: Sequence[int]) -> Text:
    text = Text.assemble(("ended    ", "bold"), (sparkline(ended), "cyan"))
    text.append(f"  {sum(ended):,} in the last minute", style="dim")
    return text


def sparkline(counts: Iterable[int]) -> str:
    """Draw counts as block characters, scaled to the largest; a space for 0."""
    values = list(counts)
    largest = max(values, default=0)
    steps = len(_BLOCKS)
    # Rounded up: a count of 1 must be visible beside a large one.
    return "".join(_BLOCKS[-(-count * steps // largest) - 1] if count else " " for count in values)


def _running(running: Sequence[TrackedRun], waiting: int, now_us: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for run in running:
        table.add_row(
            Text(f"  {STATUSES[Status.RUNNING].mark}", style=STATUSES[Status.RUNNING].color),
            Text(one_line(run.workflow, 40)),
            Text(one_line(run.step, 30) or "between steps", style="" if run.step else "dim"),
            Text(f"on {run.worker}", style="dim"),
            Text(f"{max(0, now_us - run.started) // 1_000_000} s", style="dim"),
        )
    if not running:
        table.add_row(Text("  no active runs", style="dim"))
    if waiting:
        return Group(table, Text(f"  {waiting:,} wait for a worker", style="dim"))
    return table


def _workers(workers: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    # Online workers first: the list is cut at the end.
    for worker in sorted(workers, key=lambda worker: not worker["online"])[:MAX_WORKERS]:
        used, slots = len(worker["leases"]), worker["capacity"]
        presence = "draining" if worker["draining"] else "online"
        state = presence if worker["online"] else "offline"
        table.add_row(
            Text(
                "  ●" if worker["online"] else "  ○", style="green" if worker["online"] else "dim"
            ),
            Text(worker["name"]),
            Text(_load(used, slots), style="blue"),
            Text(f"{used} of {slots}"),
            Text(state, style="dim"),
        )
    if not workers:
        table.add_row(Text("  no worker has connected yet", style="dim"))
    return table


def _load(used: int, slots: int, width: int = 10) -> str:
    full = min(width, -(-used * width // slots)) if slots else 0
    return "█" * full + "░" * (width - full)


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    for alert in alerts[:MAX_ALERTS]:
        row = STATUSES[Status(alert["status"])]
        reason = (
            f"{alert.get('error_type') or ''}: {one_line(alert.get('error_message') or '', 120)}"
        )
        text = Text.assemble((f"  {row.mark} {alert['status']}  ", row.color))
        text.append(one_line(alert["workflow"], 40))
        text.append(f"  {reason}  run {alert['run_id']}", style="dim")
        yield text
    if not alerts:
        yield Text("  none", style="dim")
