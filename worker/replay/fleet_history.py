"""The history of a fleet as JSON lines, one run a line, and its import as recordings.

A line has the ``order``, the ``run``, the ``plan``, the ``input`` and the ``events`` with their
dataclips, as ``worker orders export`` writes them. It holds no requests of steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.core.events import decode_leniently
from worker.errors import LoadError
from worker.replay.importers import ImportedRecording
from worker.replay.recording_lines import RecordingHeader, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.replay.scrub import Scrubber
from worker.util.json import dumps
from worker.util.nesting import NESTING_LIMIT, VALUE_LIMIT, has_more_values, nests_deeper
from worker.workflow.load import load
from worker.workflow.save import to_execution_plan

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
# A state is the field of an event, in a list, in the line.
_LEVELS_AROUND = 4
HEAD_BYTES = 100
_MARK = b'{"type":"run","order":'


def is_history(file: Path) -> bool:
    """Return True for a file of JSON lines that ``worker orders export`` wrote."""
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        return begins_history(lines.read(HEAD_BYTES))


def begins_history(head: bytes) -> bool:
    """Return True for the first ``HEAD_BYTES`` of a history."""
    return head.replace(b" ", b"").startswith(_MARK)


def import_history(file: Path, folder: Path) -> list[ImportedRecording]:
    """Write a recording of each run of a history that has events, as ``RUN.jsonl`` in a folder.

    Raises :class:`LoadError` with the line that cannot be read.
    """
    return list(_import_lines(file, folder))


def _import_lines(file: Path, folder: Path) -> Iterator[ImportedRecording]:
    with file.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, start=1):
            try:
                line = parse_line(text)
                if line["events"]:
                    yield write_recording(line, folder)
            except (LoadError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise LoadError(f"line {number} is not a run: {error}", file=str(file)) from error


def parse_line(text: str | bytes) -> dict[str, Any]:
    """Parse a line. Raises ``ValueError``, ``KeyError`` or ``TypeError`` if it is no run."""
    if nests_deeper(text, NESTING_LIMIT + _LEVELS_AROUND):
        raise ValueError(f"it is nested in more than {NESTING_LIMIT} levels")
    if has_more_values(text):
        raise ValueError(f"it has more than {VALUE_LIMIT:,} values")
    line: dict[str, Any] = json.loads(text)
    if line["type"] != "run" or not isinstance(line["events"], list):
        raise ValueError("expected an object of the type 'run', with a list of events")
    run_id, start = line["run"]["run_id"], line["run"].get("start")
    # The id becomes the name of a file.
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise ValueError("the id of the run is not a name")
    if start is not None and not isinstance(start, str):
        raise ValueError("expected the name of a step as the start")
    return line


def write_recording(line: dict[str, Any], folder: Path) -> ImportedRecording:
    """Write the recording of a run, as ``RUN.jsonl`` in the folder."""
    workflow, run = load(line["plan"]), line["run"]
    header = RecordingHeader(
        run_id=run["run_id"],
        workflow=workflow.name,
        start=run.get("start") or "",
        origin="lightning",
    )
    # All of them before the first is written: no half of a recording is left.
    decoded = [decode_leniently(dumps(fields)) for fields in line["events"]]
    events = [event for event in decoded if event is not None]
    folder.mkdir(parents=True, exist_ok=True)
    input = line["input"] if isinstance(line["input"], dict) else {}
    plan = workflow_line(to_execution_plan(workflow))
    target = folder / f"{run['run_id']}.jsonl"
    writer = RecordingWriter(target, header, plan, dumps(input), Scrubber().json)
    for event in events:
        writer.receive(event)
    writer.close()
    return ImportedRecording(writer.file, workflow.name)
