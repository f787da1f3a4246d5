"""``worker runs record``: write the recording of a run of a fleet that has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.options import PATH, client_options, command
from worker.cli.record_option import make_folder
from worker.cli.short_ids import find_run_id
from worker.core.events import AnyEvent, decode_event
from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.replay.recording_lines import RecordingHeader, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.replay.scrub import Scrubber
from worker.runner.prepare import input_text
from worker.sandbox.limits import resolve_limits
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.load import load

ORIGIN = "fleet"
_UNKNOWN_SERVICE = "https://unknown.invalid/collections"
_NOTE = "without requests, which nobody kept: worker start --record DIR keeps those of later runs"


@command("record")
@click.argument("run", shell_complete=complete.run_ids)
@click.argument("target", type=PATH, metavar="FILE|DIR")
@client_options
def record(*, connection: BrokerConnection, run: str, target: Path) -> int:
    """Write the recording of a run that has ended, without requests.

    It has the workflow, the input, the events and the states that the control plane stores. A
    replay of it stops where a step makes a request: only a worker with --record keeps requests.
    RUN is the id of a run, or of a work order for its last run; its first characters are enough.

    \b
    Examples:
      worker runs record 5f0c9e recordings
      worker replay recordings
      worker report recordings/5f0c9e-1.jsonl
      worker replay recordings --write-cases seen.cases.yaml
    """

    if target.suffix != ".jsonl":
        make_folder(target)

    async def request(client: Client) -> int:
        file = await write_recording(client, await find_run_id(client, run), target)
        print(f"wrote {printable(str(file))} ({_NOTE})")
        return 0

    return connection.run(request)


async def write_recording(client: Client, id: str, target: Path) -> Path:
    """Write the recording of a run to a new file, or into a folder, and return the file.

    Raises :class:`UsageError` where the run has not ended, or the file exists.
    """
    view = await client.run(id)
    if not STATUSES[Status(view["status"])].final:
        raise UsageError(f"run {id} is {view['status']}: it can be recorded when it has ended")
    workflow = load(view["plan"])
    header = RecordingHeader(
        run_id=id,
        workflow=workflow.name,
        start=view["start"] or "",
        limits=resolve_limits(workflow.options),
        origin=ORIGIN,
        # Without an address, a step that names collections would end before its request.
        collections=_UNKNOWN_SERVICE,
    )
    text = input_text(await client.input(id))
    # The worker masked the secrets in what it reported.
    writer = RecordingWriter(target, header, workflow_line(view["plan"]), text, Scrubber().json)
    async for event in _events(client, id):
        writer.receive(event)
    writer.close()
    return writer.file


async def _events(client: Client, id: str) -> AsyncIterator[AnyEvent]:
    """Yield the events of a run with their dataclips, a page at a time."""
    after = -1
    while page := await client.events(id, after=after, clips=True):
        for event in page:
            yield decode_event(dumps(event))
        after = page[-1]["seq"]
