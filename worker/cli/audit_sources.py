"""Logs that ``worker audit`` reads: journals, recordings, Lightning runs, databases, a fleet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.audit.laws import Breach, first_breach
from worker.audit.lightning_words import with_own_types
from worker.audit.order_laws import OrderBreach, order_breaches
from worker.core.events import AnyEvent
from worker.errors import UsageError, WorkerError
from worker.replay.importers import is_lightning_run, lightning_events
from worker.replay.recording import is_recording, read_content
from worker.sinks.journal import is_journal, recover_journal
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.workflow.documents.near_files import suggest_file


@dataclass(frozen=True, slots=True)
class Audited:
    """Result of one log: its first breach, or what could not be read of it."""

    path: Path
    events: int
    breach: Breach | None = None
    damage: str = ""

    @property
    def sound(self) -> bool:
        return self.breach is None and not self.damage


def find_logs(paths: tuple[str, ...]) -> Iterator[Path]:
    """Find these files, and the logs in these folders and below them."""
    for path in map(Path, paths):
        if path.is_dir() and not is_recording(path):
            yield from (file for file in sorted(path.rglob("*")) if _is_log(file))
        elif path.exists():
            yield path
        else:
            raise UsageError(f"{path}: there is no such file or folder{suggest_file(path)}")


def _is_log(path: Path) -> bool:
    if is_recording(path):
        return True
    return path.is_file() and (is_journal(path) or _is_export(path))


def _is_export(path: Path) -> bool:
    """Return True for a Lightning run: a JSON file with jobs and steps."""
    if path.suffix != ".json":
        return False
    try:
        return is_lightning_run(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return False


def audit_file(path: Path) -> Audited:
    """Audit a journal, a recording or a Lightning run."""
    try:
        events, damage = _read(path)
    except (OSError, WorkerError) as error:
        return Audited(path, 0, damage=str(error))
    breach = first_breach(events)
    # Of a log that is cut off, the end is missing: the damage is what there is to report.
    cut = breach is not None and breach.index == len(events) and damage
    return Audited(path, len(events), None if cut else breach, damage[0] if damage else "")


def _read(path: Path) -> tuple[tuple[AnyEvent, ...], tuple[str, ...]]:
    if is_recording(path):
        content = read_content(path)
        return content.events, content.damage
    if path.is_file() and is_journal(path):
        journal = recover_journal(path)
        return journal.events, journal.damage
    if _is_export(path):
        return with_own_types(lightning_events(path)), ()
    return (), ("neither a journal, a recording nor a Lightning run (see worker run --record)",)


@dataclass(slots=True)
class DatabaseCounts:
    """Numbers of what was audited, and of the breaches."""

    orders: int = 0
    runs: int = 0
    events: int = 0
    breaches: int = 0


def audit_database(url: str, report: Callable[[OrderBreach], None]) -> DatabaseCounts:
    """Audit the database of a control plane; ``report`` gets each breach."""
    # SQLAlchemy takes long to import, and most audits are of files.
    from worker.fleet.control.store.audit_rows import read_orders

    counts = DatabaseCounts()
    for order in read_orders(url):
        counts.orders += 1
        counts.runs += len(order.runs)
        counts.events += sum(len(run.events) for run in order.runs)
        for breach in order_breaches(order):
            counts.breaches += 1
            report(breach)
    return counts


def breach_line(breach: OrderBreach) -> str:
    """Describe a breach with its place, in one line."""
    run = f"run {breach.run}" if breach.run else ""
    order = f"order {breach.order}" if breach.order else ""
    event = "" if breach.event is None else f"event {breach.event}"
    place = ", ".join(filter(None, (order, run, event)))
    return f"✗ {printable(place)}: {one_line(breach.message)} (rule {breach.law})"


def breach_as_json(breach: OrderBreach) -> str:
    """Encode a breach as one line of JSON."""
    return dumps(
        {
            "order": breach.order or None,
            "run": breach.run or None,
            "event": breach.event,
            "rule": breach.law,
            "message": breach.message,
        }
    )
