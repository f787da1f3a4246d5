"""Recording of a run: one file of JSON lines, written while the run happens.

Each line begins with its ``type``:

``recording``   the first line: the version of the format, the ids and options of the run
``workflow``    the workflow, as an execution plan
``dataclip``    a state, once, before the first line that names it; its id is its SHA-256
``exchange``    a request with its reply, when the reply arrived
``run:start`` … the events of the run, with the ids of dataclips in place of the dataclips

A run that crashes leaves a recording too. A reader uses what is whole, and reports what is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from worker.adaptors.http.exchange import Exchange
from worker.core.events import AnyEvent, RunComplete
from worker.errors import LoadError, UsageError
from worker.replay.recording_content import RecordingContent
from worker.replay.recording_file import is_recording_file, parse_content, read_bytes, read_file
from worker.replay.recording_folder import is_recording_folder, read_folder
from worker.replay.recording_lines import RecordingHeader
from worker.util.bounded_cache import MAX_KEPT_BYTES, cached_within
from worker.util.size_in_memory import size_in_memory
from worker.workflow.load import load
from worker.workflow.model import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Content of a recording that can be replayed, and a sentence for each damage.

    ``plan`` is the execution plan that ``workflow`` was loaded from.
    """

    path: Path
    header: RecordingHeader
    plan: Mapping[str, Any]
    workflow: Workflow
    input: Mapping[str, Any]
    events: tuple[AnyEvent, ...]
    exchanges: tuple[Exchange, ...]
    damage: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if the events reach the end of the run."""
        return bool(self.events) and isinstance(self.events[-1], RunComplete)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecording:
    """Recording that was read where it is stored, to be replayed elsewhere."""

    name: str
    content: bytes | RecordingContent


def read_stored(path: Path) -> StoredRecording:
    """Read a recording without parsing it. Raises :class:`LoadError` if it cannot be read."""
    # A folder of format 1 has many files: it is sent as what was read of it.
    content = read_folder(path) if path.is_dir() else read_bytes(path)
    return StoredRecording(name=str(path), content=content)


def is_recording(path: Path) -> bool:
    """Return True for a recording in any format: a file, or a folder of version 1."""
    return is_recording_folder(path) if path.is_dir() else is_recording_file(path)


def read_content(path: Path) -> RecordingContent:
    """Read what a recording holds, even if it is not enough for a replay.

    Raises :class:`UsageError` for a folder that is none, and :class:`LoadError` where there is no
    recording, or one of a newer version.
    """
    if not path.is_dir():
        return read_file(path)
    if not is_recording_folder(path):
        inside = ", ".join(
            [str(entry) for entry in sorted(path.iterdir()) if is_recording(entry)][:5]
        )
        hint = f"name one of {inside}" if inside else "worker run --record FILE creates one"
        raise UsageError(f"{path} contains no recording of its own ({hint})")
    return read_folder(path)


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Damage to the events, the requests or the dataclips is no error: see :class:`Recording`.
    Raises :class:`LoadError` if the description of the run, or its workflow, cannot be read.
    """
    return _recording(str(path), read_content(path))


def parse_recording(stored: StoredRecording) -> Recording:
    """Parse a recording that was read elsewhere, like :func:`read_recording`."""
    content = stored.content
    if isinstance(content, bytes):
        content = parse_content(content, stored.name)
    return _recording(stored.name, content)


def name_of(item: Path | StoredRecording) -> str:
    """Return the name of a recording: its path or its URL."""
    return item.name if isinstance(item, StoredRecording) else str(item)


def read_item(item: Path | StoredRecording) -> Recording:
    """Read a recording from its place, or parse one that was read."""
    return read_recording(item) if isinstance(item, Path) else parse_recording(item)


def _recording(name: str, content: RecordingContent) -> Recording:
    # As it is: a path has no "//", which a URL has.
    if content.header is None or content.plan is None:
        raise LoadError("; ".join(content.damage), file=name)
    return Recording(
        path=Path(name),
        header=content.header,
        plan=content.plan,
        workflow=_workflow(content.plan, name),
        input=_input(content.input, name),
        events=content.events,
        exchanges=content.exchanges,
        damage=content.damage,
    )


def _workflow(plan: Mapping[str, Any], name: str) -> Workflow:
    try:
        return _load_plan(json.dumps(plan), Path(name).parent)
    except LoadError as error:
        message = f"the workflow cannot be loaded: {error.path}: {error.message}"
        raise LoadError(message, file=name) from error


# Recordings of one workflow share it: what is compiled for one object is compiled once.
@cached_within(MAX_KEPT_BYTES, lambda plan, *key: size_in_memory((plan, *key)))
def _load_plan(text: str, folder: Path) -> Workflow:
    # Versions of adaptors are locked beside a workflow's file.
    return replace(load(json.loads(text)), file=str(folder / "workflow"))


def _input(text: str | None, name: str) -> dict[str, Any]:
    try:
        state = json.loads(text) if text else {}
    except RecursionError as error:
        raise LoadError("the input is nested too deeply", file=name) from error
    return state if isinstance(state, dict) else {}
