"""The screen of ``worker watch``: everything at a glance, in as many lines as there are."""

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

ALERTS = 5
WORKERS = 12
_BLOCKS = "▁▂▃▄▅▆▇█"


def screen(
    seen: Snapshot, pace: Sequence[int], title: str, trouble: str, now: int
) -> RenderableType:
    """All of it. ``now`` is in microseconds."""
    parts: list[RenderableType] = [_heading(title, trouble), _statuses(seen)]
    parts += [Text(), _pace(pace), Text()]
    parts += [_section("running", seen.leased), _going(seen.going, seen.waiting, now), Text()]
    parts += [_section("workers", len(seen.workers)), _workers(seen.workers), Text()]
    parts += [_section("newest alerts", None), *_alerts(seen.alerts)]
    return Group(*parts)


def _heading(title: str, trouble: str) -> Text:
    text = Text.assemble(("worker watch", "bold"), "  ", (one_line(title, 80), "dim"))
    if trouble:
        text.append(f"\n{one_line(trouble, 200)}", style="bold red")
    return text


def _section(name: str, count: int | None) -> Text:
    return Text.assemble((name, "bold"), ("" if count is None else f"  {count:,}", "dim"))


def _statuses(seen: Snapshot) -> Text:
    """Each status that some order has, with its sign."""
    text = Text("orders   ", style="bold")
    found = [(status, seen.statuses.get(status, 0)) for status in STATUSES]
    for status, count in found:
        if count:
            row = STATUSES[status]
            text.append(f"{row.mark} {count:,} {status}   ", style=row.color)
    if not any(count for _, count in found):
        text.append("none yet", style="dim")
    return text


def _pace(pace: Sequence[int]) -> Text:
    text = Text.assemble(("ended    ", "bold"), (sparkline(pace), "cyan"))
    text.append(f"  {sum(pace):,} in the last minute", style="dim")
    return text


def sparkline(counts: Iterable[int]) -> str:
    """Counts as blocks, the largest as a whole one; an empty place is a space."""
    found = list(counts)
    most = max(found, default=0)
    steps = len(_BLOCKS)
    return "".join(_BLOCKS[-(-count * steps // most) - 1] if count else " " for count in found)


def _going(going: Sequence[TrackedRun], waiting: int, now: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for one in going:
        table.add_row(
            Text(f"  {STATUSES[Status.RUNNING].mark}", style=STATUSES[Status.RUNNING].color),
            Text(one_line(one.workflow, 40)),
            Text(one_line(one.step, 30) or "between steps", style="" if one.step else "dim"),
            Text(f"on {one.worker}", style="dim"),
            Text(f"{max(0, now - one.started) // 1_000_000} s", style="dim"),
        )
    if not going:
        table.add_row(Text("  nothing runs", style="dim"))
    if waiting:
        return Group(table, Text(f"  {waiting:,} wait for a worker", style="dim"))
    return table


def _workers(workers: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for one in sorted(workers, key=lambda one: not one["online"])[:WORKERS]:
        taken, places = len(one["leases"]), one["capacity"]
        presence = "leaving" if one["draining"] else "present"
        shown = presence if one["online"] else "gone"
        table.add_row(
            Text("  ●" if one["online"] else "  ○", style="green" if one["online"] else "dim"),
            Text(one["name"]),
            Text(_load(taken, places), style="blue"),
            Text(f"{taken} of {places}"),
            Text(shown, style="dim"),
        )
    if not workers:
        table.add_row(Text("  none has ever been here", style="dim"))
    return table


def _load(taken: int, places: int, wide: int = 10) -> str:
    full = min(wide, -(-taken * wide // places)) if places else 0
    return "█" * full + "░" * (wide - full)


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    for one in alerts[:ALERTS]:
        row = STATUSES[Status(one["status"])]
        why = f"{one.get('error_type') or ''}: {one_line(one.get('error_message') or '', 120)}"
        text = Text.assemble((f"  {row.mark} {one['status']}  ", row.color))
        text.append(one_line(one["workflow"], 40))
        text.append(f"  {why}  run {one['run_id']}", style="dim")
        yield text
    if not alerts:
        yield Text("  none", style="dim")
