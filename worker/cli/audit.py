"""``worker audit``: check logs of runs against the rules of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from worker.audit.laws import Breach, first_breach
from worker.cli.options import PATH, command, option
from worker.cli.progress import progress
from worker.errors import UsageError, WorkerError
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


@command()
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="FILE|DIR...")
@option("--json", "as_json", is_flag=True, help="Print one log a line, as JSON.")
def audit(*, paths: tuple[Path, ...], as_json: bool) -> int:
    """Check logs of runs against the rules of a run.

    Logs are journals and recordings, also those of imported runs; DIR stands for all in it. The
    rules are about the order and the numbers of events, one step at a time, edges and inputs, error
    types and statuses, the end of a run that was aborted, and the status that its leaves give it.

    \b
    Examples:
      worker audit run.jsonl
      worker audit runs
      worker audit runs --json

    \b
    Exit code: 0 every log follows the rules, 1 one does not,
    2 wrong usage or nothing to read.
    """
    files = list(_find_logs(paths))
    if not files:
        raise UsageError("no journals or recordings found (worker run --journal FILE makes one)")
    unsound = 0
    with progress("auditing", len(files)) as done:
        for file in files:
            audited = audit_file(file)
            unsound += not audited.sound
            for line in _as_json(audited) if as_json else _as_text(audited):
                print(line)
            done()
    if not as_json and len(files) > 1:
        print(f"\n{len(files)} logs: {len(files) - unsound} follow the rules, {unsound} do not")
    return int(unsound > 0)


def _find_logs(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir() and not is_recording(path):
            yield from (file for file in sorted(path.rglob("*")) if _is_log(file))
        elif path.exists():
            yield path
        else:
            raise UsageError(f"there is no journal or recording {path}{suggest_file(path)}")


def _is_log(path: Path) -> bool:
    return is_recording(path) or (path.is_file() and is_journal(path))


def audit_file(path: Path) -> Audited:
    """Audit a journal or a recording."""
    try:
        if is_recording(path):
            content = read_content(path)
            events, damage = content.events, content.damage
        elif path.is_file() and is_journal(path):
            journal = recover_journal(path)
            events, damage = journal.events, journal.damage
        else:
            return Audited(path, 0, damage="neither a journal nor a recording")
    except (OSError, WorkerError) as error:
        return Audited(path, 0, damage=str(error))
    breach = first_breach(events)
    # Of a log that is cut off, the end is missing: the damage is what there is to report.
    cut = breach is not None and breach.index == len(events) and damage
    return Audited(path, len(events), None if cut else breach, damage[0] if damage else "")


def _as_text(audited: Audited) -> Iterator[str]:
    name = printable(str(audited.path))
    if audited.sound:
        yield f"✓ {name}: {audited.events} events"
    if audited.damage:
        yield f"✗ {name}: {one_line(audited.damage)}"
    if audited.breach is not None:
        breach = audited.breach
        yield f"✗ {name}: event {breach.index}: {one_line(breach.message)} (rule {breach.law})"


def _as_json(audited: Audited) -> Iterator[str]:
    breach = audited.breach
    yield dumps(
        {
            "log": str(audited.path),
            "events": audited.events,
            "sound": audited.sound,
            "damage": audited.damage or None,
            "event": None if breach is None else breach.index,
            "rule": None if breach is None else breach.law,
            "message": None if breach is None else breach.message,
        }
    )
