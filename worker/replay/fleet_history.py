"""The history of a fleet as JSON lines, one run a line, and its import as recordings.

A line has the ``order``, the ``run``, the ``plan``, the ``input`` and the ``events`` with their
dataclips, as ``worker orders export`` writes them. It holds no requests of steps.
"""

from __future__ import annotations

import json
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
from worker.workflow.load import load
from worker.workflow.save import to_execution_plan

_MARK = '{"type":"run","order":'


def is_history(file: Path) -> bool:
    """Return True for a file of JSON lines that ``worker orders export`` wrote."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as lines:
        beginning = lines.read(100)
    return beginning.replace(" ", "").startswith(_MARK)


def import_history(file: Path, folder: Path) -> list[ImportedRecording]:
    """Write a recording of each run of a history that has events, as ``RUN.jsonl`` in a folder.

    Raises :class:`LoadError` with the line that cannot be read.
    """
    return [_write(line, folder) for line in _lines(file) if line["events"]]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, start=1):
            try:
                line = json.loads(text)
                _check(line)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise LoadError(f"line {number} is no run: {error}", file=str(file)) from error
            yield line


def _check(line: Any) -> None:
    if line["type"] != "run" or not isinstance(line["events"], list):
        raise ValueError("expected an object of the type 'run', with a list of events")
    # The id becomes the name of a file.
    if not str(line["run"]["run_id"]).replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError("the id of the run is no name")


def _write(line: dict[str, Any], folder: Path) -> ImportedRecording:
    workflow, run = load(line["plan"]), line["run"]
    header = RecordingHeader(
        run_id=run["run_id"],
        workflow=workflow.name,
        start=run.get("start") or "",
        origin="lightning",
    )
    folder.mkdir(parents=True, exist_ok=True)
    input = line["input"] if isinstance(line["input"], dict) else {}
    plan = workflow_line(to_execution_plan(workflow))
    target = folder / f"{run['run_id']}.jsonl"
    writer = RecordingWriter(target, header, plan, dumps(input), Scrubber().json)
    for fields in line["events"]:
        event = decode_leniently(dumps(fields))
        if event is not None:
            writer.receive(event)
    writer.close()
    return ImportedRecording(writer.file, workflow.name)
