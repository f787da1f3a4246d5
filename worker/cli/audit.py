"""``worker audit``: check logs of runs against the rules of a run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from worker.cli.audit_sources import (
    Audited,
    audit_database,
    audit_file,
    breach_as_json,
    breach_line,
    find_logs,
)
from worker.cli.options import client_options, command, option
from worker.cli.progress import progress
from worker.cli.services import on_signals
from worker.errors import UsageError
from worker.replay.remote_files import is_url
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.util.masking import hide_url_secrets
from worker.util.plural import count_of

if TYPE_CHECKING:
    from worker.audit.order_laws import OrderBreach
    from worker.cli.connection import BrokerConnection


@command()
@click.argument("logs", nargs=-1, metavar="FILE|DIR|DATABASE...")
@option("--json", "as_json", is_flag=True, help="Print one log or breach a line, as JSON.")
@client_options
def audit(*, connection: BrokerConnection, logs: tuple[str, ...], as_json: bool) -> int:
    """Check logs of runs against the rules of a run.

    Logs are journals, recordings, and runs of Lightning as JSON; DIR stands for all in it. DATABASE
    is the URL of a control plane's database, which is only read. Without any, --mqtt names a fleet
    whose runs are checked while they happen, until Ctrl-C.

    The rules are about the order and the numbers of events, one step at a time, edges and inputs,
    error types and statuses, the end of a run that was aborted, the status that its leaves give it,
    and in a database also about orders, their runs and alerts.

    \b
    Examples:
      worker audit run.jsonl
      worker audit runs --json
      worker audit lightning-run.json
      worker audit sqlite:///orders.db
      worker audit postgresql://worker@db/orders
      worker audit --mqtt mqtts://broker.example

    \b
    Exit code: 0 everything follows the rules, 1 something does not,
    2 wrong usage or nothing to read.
    """
    databases = [log for log in logs if is_url(log)]
    paths = tuple(log for log in logs if not is_url(log))
    if not logs:
        return _monitor(connection, as_json=as_json)
    # All of them, also after one with a breach.
    breached = [_audit_files(paths, as_json=as_json)] if paths else []
    breached += [_audit_database(url, as_json=as_json) for url in databases]
    return int(any(breached))


def _audit_files(paths: tuple[str, ...], *, as_json: bool) -> bool:
    """Print the result of each file; return True if one breaks a rule."""
    files = list(find_logs(paths))
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
    return unsound > 0


def _audit_database(url: str, *, as_json: bool) -> bool:
    """Print the breaches of a database; return True if there is one."""
    counts = audit_database(url, lambda breach: _print(breach, as_json=as_json))
    name = hide_url_secrets(url)
    if as_json:
        print(dumps({"database": name, **asdict(counts)}))
        return counts.breaches > 0
    extent = ", ".join(
        (
            count_of(counts.orders, "order"),
            count_of(counts.runs, "run"),
            count_of(counts.events, "event"),
        )
    )
    mark = "✗" if counts.breaches else "✓"
    breaches = f": {counts.breaches:,} break a rule" if counts.breaches else ""
    print(f"{mark} {printable(name)}: {extent}{breaches}")
    return counts.breaches > 0


def _print(breach: OrderBreach, *, as_json: bool) -> None:
    print(breach_as_json(breach) if as_json else breach_line(breach), flush=True)


# --- a fleet --------------------------------------------------------------------------------------


def _monitor(connection: BrokerConnection, *, as_json: bool) -> int:
    """Check the runs of a fleet until Ctrl-C or SIGTERM; return the exit code."""
    source = click.get_current_context().get_parameter_source("mqtt")
    if source in (ParameterSource.DEFAULT, None):
        raise UsageError("nothing to audit: name files or a database, or a fleet with --mqtt URL")
    return asyncio.run(_follow(connection, as_json=as_json))


async def _follow(connection: BrokerConnection, *, as_json: bool) -> int:
    from worker.fleet.monitor.fleet_audit import FleetAudit

    fleet, breaches = FleetAudit(), 0
    async with connection.client(notify=True) as client:
        # Fails if no control plane answers: notifications alone would be awaited for ever.
        await client.summary()
        print(f"auditing the runs of {connection}; Ctrl-C ends it", file=sys.stderr, flush=True)
        stopped = asyncio.Event()
        on_signals(stopped.set)
        notifications = client.notifications()
        stopping = asyncio.ensure_future(stopped.wait())
        while not stopped.is_set():
            batch = asyncio.ensure_future(anext(notifications))
            await asyncio.wait([batch, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not batch.done():
                batch.cancel()
                break
            for notification in batch.result():
                for breach in fleet.handle(notification):
                    breaches += 1
                    _print(breach, as_json=as_json)
        stopping.cancel()
    extent = f"{count_of(fleet.runs, 'run')}, {count_of(fleet.events, 'event')}"
    print(f"{extent}: {breaches:,} break a rule" if breaches else extent, file=sys.stderr)
    return int(breaches > 0)


# --- files ----------------------------------------------------------------------------------------


def _as_text(audited: Audited) -> Iterator[str]:
    name = printable(str(audited.path))
    if audited.sound:
        yield f"✓ {name}: {count_of(audited.events, 'event')}"
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
