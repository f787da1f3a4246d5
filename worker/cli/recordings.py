"""``worker recording``: look into recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import msgspec

from worker.adaptors.http.exchange import Exchange
from worker.cli.groups import LazyCommand, NounGroup
from worker.cli.options import PATH, command, option
from worker.core.events import AnyEvent, Dataclip, RunComplete, RunLog, to_json
from worker.core.execution import Execution, executions
from worker.core.status import STATUSES
from worker.replay.recording import read_content
from worker.replay.recording_content import RecordingContent
from worker.replay.recording_lines import RecordingHeader, exchange_line
from worker.sinks.terminal import log_line, step_line
from worker.sinks.terminal_text import format_duration, one_line, printable
from worker.util.json import dumps
from worker.util.plural import count_of
from worker.util.utc_time import utc_moment

SECTIONS = {
    "Commands": (
        LazyCommand("show", "worker.cli.recordings:show", "Print what a recording contains."),
    )
}

STATE_LIMIT = 300
"""The most characters of a state that are printed; ``--json`` prints all."""


@click.group(cls=NounGroup, sections=SECTIONS)
def recording() -> None:
    """Look into recordings.

    \b
    Examples:
      worker recording runs/first.jsonl
      worker recording show runs/first.jsonl --json
    """


@command()
@click.argument("path", type=PATH, metavar="RECORDING")
@option("--json", "as_json", is_flag=True, help="Print the whole content as one JSON object.")
def show(*, path: Path, as_json: bool) -> int:
    """Print what a recording contains.

    It prints the executions of steps with their requests, log lines and outputs. Of a recording
    that is cut off it prints what is left, and what is missing.

    \b
    Examples:
      worker recording show runs/first.jsonl
      worker recording show runs/first.jsonl --json | jq .exchanges

    \b
    Exit code: 0 the recording is whole, 1 a part is missing,
    2 wrong usage or not a recording.
    """
    content = read_content(path)
    for line in [_as_json(path, content)] if as_json else _as_text(content):
        print(line)
    return 1 if content.damage else 0


# --- as text --------------------------------------------------------------------------------------


def _as_text(content: RecordingContent) -> Iterator[str]:
    yield from _header(content.header)
    if content.events:
        began = utc_moment(content.events[0].timestamp)
        yield f"  began: {began:%Y-%m-%d %H:%M:%S} UTC"
    if content.input is not None:
        yield f"  input: {one_line(content.input, STATE_LIMIT)}"
    yield from _steps(content)
    yield from _end(content.events)
    for damage in content.damage:
        yield f"! {printable(damage)}"


def _header(header: RecordingHeader | None) -> Iterator[str]:
    if header is None:
        yield "recording of an unknown run"
        return
    yield f"recording of '{one_line(header.workflow, 80)}', run {one_line(header.run_id, 80)}"
    yield f"  made by: {one_line(header.origin, 80)}, in format {header.format}"
    if header.start or header.end:
        start, end = (
            one_line(header.start, 80) or "the start",
            one_line(header.end, 80) or "the end",
        )
        yield f"  part: from {start} to {end}"


def _steps(content: RecordingContent) -> Iterator[str]:
    exchanges: dict[tuple[str, int], list[Exchange]] = {}
    for exchange in content.exchanges:
        exchanges.setdefault((exchange.step, exchange.execution), []).append(exchange)
    # Lines of no step come before the first one, from what prepares the run.
    outside = (event for event in content.events if isinstance(event, RunLog) and not event.step_id)
    yield from map(log_line, outside)
    for execution in executions(content.events):
        yield from _step(execution, exchanges.pop((execution.job_id, execution.number), ()))
    for (step, _), rest in exchanges.items():
        yield f"▸ {one_line(step, 60)}: its events are missing"
        yield from _requests(rest)


def _step(execution: Execution, exchanges: Iterable[Exchange]) -> Iterator[str]:
    complete = execution.complete
    job = one_line(execution.job_id, 60)
    yield f"▸ {job}  not ended" if complete is None else step_line(complete)
    yield from _requests(exchanges)
    yield from map(log_line, execution.logs)
    if complete is not None:
        yield f"    output: {_state(complete.output_dataclip, withheld=complete.withheld)}"


def _requests(exchanges: Iterable[Exchange]) -> Iterator[str]:
    for exchange in exchanges:
        request, reply = exchange.request, exchange.reply
        result = (
            one_line(reply.error.get("message", "an error"))
            if reply.error
            else f"{reply.status}, {count_of(len(reply.body), 'byte')}"
        )
        yield f"    {one_line(f'{request.method} {request.url}')} → {result}"


def _state(dataclip: Dataclip | None, *, withheld: bool) -> str:
    if dataclip is not None:
        return one_line(dataclip.text, STATE_LIMIT)
    return "withheld: it is over the payload limit" if withheld else "none"


def _end(events: Sequence[AnyEvent]) -> Iterator[str]:
    end = events[-1] if events else None
    if not isinstance(end, RunComplete):
        yield "▸ not ended"
        return
    mark = STATUSES[end.status].mark
    error = f": {end.error.type}: {one_line(end.error.message)}" if end.error else ""
    yield f"{mark} {end.status.value} in {format_duration(end.duration)}{error}"
    yield f"  final state: {_state(end.final_state, withheld=end.withheld)}"


# --- as JSON --------------------------------------------------------------------------------------


def _as_json(path: Path, content: RecordingContent) -> str:
    exchanges = (exchange_line(exchange).decode().rstrip() for exchange in content.exchanges)
    # Put together as text: a state may be nested more deeply than an encoder goes.
    parts = {
        "recording": dumps(str(path)),
        "header": dumps(msgspec.to_builtins(content.header)),
        "workflow": dumps(content.plan),
        "input": content.input or "null",
        "events": f"[{','.join(map(to_json, content.events))}]",
        "exchanges": f"[{','.join(exchanges)}]",
        "damage": dumps(content.damage),
    }
    return f"{{{','.join(f'{dumps(name)}:{text}' for name, text in parts.items())}}}"
