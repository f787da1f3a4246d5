"""``worker runs record``: write the recording of a run of a fleet that has ended."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import click

from worker.cli import complete
from worker.cli.connection import BrokerConnection
from worker.cli.options import PATH, client_options, command
from worker.cli.record_option import make_folder
from worker.cli.short_ids import find_run_id
from worker.core.events import decode_event
from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.replay.recording_lines import RecordingHeader, fields_of, header_of, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.replay.scrub import Scrubber
from worker.runner.prepare import input_text
from worker.sandbox.limits import resolve_limits
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow

ORIGIN = "fleet"
_UNKNOWN_SERVICE = "https://unknown.invalid/collections"
_NOTE = " (without requests, which nobody kept: worker submit --record keeps those of an order)"


@command("record")
@click.argument("run", shell_complete=complete.run_ids)
@click.argument("target", type=PATH, metavar="FILE|DIR")
@client_options
def record(*, connection: BrokerConnection, run: str, target: Path) -> int:
    """Write the recording of a run that has ended.

    It has the workflow, the input, the events and the states that the control plane stores, and the
    requests of a run whose order was submitted with --record. A replay of another run stops where a
    step makes a request: nobody kept them, unless its worker was started with --record.
    RUN is the id of a run, or of a work order for its last run; its first characters are enough.

    \b
    Examples:
      worker submit --ref referral --input patient.json --order-id patient-7 --record --wait
      worker runs record patient-7 recordings
      worker replay recordings
      worker report recordings/5f0c9e-1.jsonl
      worker replay recordings --write-cases seen.cases.yaml
    """

    if target.suffix != ".jsonl":
        make_folder(target)

    async def request(client: Client) -> int:
        file, has_requests = await write_recording(client, await find_run_id(client, run), target)
        print(f"wrote {printable(str(file))}{'' if has_requests else _NOTE}")
        return 0

    return connection.run(request)


async def write_recording(client: Client, id: str, target: Path) -> tuple[Path, bool]:
    """Write the recording of a run to a new file, or into a folder.

    Return the file, and whether the requests of the run were kept. Raises :class:`UsageError`
    where the run has not ended, or the file exists.
    """
    view = await client.run(id)
    if not STATUSES[Status(view["status"])].final:
        raise UsageError(f"run {id} is {view['status']}: it can be recorded when it has ended")
    workflow = load(view["plan"])
    recorded = client.recorded(id)
    upcoming = await anext(recorded, None)
    header, upcoming = _header(upcoming, id, workflow, view["start"] or "")
    text = input_text(await client.input(id))
    # The worker masked the secrets in what it reported.
    writer = RecordingWriter(target, header, workflow_line(view["plan"]), text, Scrubber().json)
    async for event in client.each_event(id, clips=True):
        while upcoming is not None and upcoming[0] <= event["seq"]:
            writer.lines(upcoming[1].encode())
            upcoming = await anext(recorded, None)
        writer.receive(decode_event(dumps(event)))
    writer.close()
    return writer.file, header.origin != ORIGIN


Recorded: TypeAlias = tuple[int, str] | None


def _header(
    recorded: Recorded, id: str, workflow: Workflow, start: str
) -> tuple[RecordingHeader, Recorded]:
    """Return the header that was recorded first, with the lines after it; else one without."""
    if recorded is not None:
        seq, lines = recorded
        first, _, rest = lines.encode().partition(b"\n")
        return header_of(fields_of(first), "the recording"), (seq, rest.decode())
    header = RecordingHeader(
        run_id=id,
        workflow=workflow.name,
        start=start,
        limits=resolve_limits(workflow.options),
        origin=ORIGIN,
        # Without an address, a step that names collections would end before its request.
        collections=_UNKNOWN_SERVICE,
    )
    return header, None
