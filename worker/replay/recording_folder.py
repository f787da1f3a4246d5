"""Reader of recordings in format 1, which nothing writes any more: a folder of files.

``recording.json``  the ids, options and versions of the run
``workflow.json``   the workflow, as an execution plan
``journal.jsonl``   the events, with the names of dataclips in place of the dataclips
``http.jsonl``      the requests and replies, in the order in which the replies arrived
``clips/``          the dataclips, each named by the SHA-256 of its content
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.adaptors.http.exchange import Exchange
from worker.core.events import AnyEvent
from worker.errors import LoadError
from worker.replay.recording_content import Dataclips, RecordingContent, build_content
from worker.replay.recording_lines import exchange_of, fields_of, header_of
from worker.sinks.journal import recover_journal

HEADER = "recording.json"


def is_recording_folder(folder: Path) -> bool:
    return (folder / HEADER).is_file()


def read_folder(folder: Path) -> RecordingContent:
    """Read all that is whole in a folder.

    Raises :class:`LoadError` if it holds no recording, or not its workflow.
    """
    fields = _object(folder / HEADER)
    try:
        header = header_of(fields, str(folder))
    except ValueError as error:
        raise LoadError(str(error), file=str(folder)) from error
    damage: list[str] = []
    return build_content(
        header,
        _object(folder / "workflow.json"),
        _dataclips(folder / "clips", damage),
        _events(folder / "journal.jsonl", damage),
        list(_exchanges(folder / "http.jsonl", damage)),
        damage,
    )


def _object(file: Path) -> dict[str, Any]:
    try:
        return fields_of(file.read_bytes())
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except ValueError as error:
        raise LoadError(f"not a JSON object: {error}", file=str(file)) from error


def _dataclips(folder: Path, damage: list[str]) -> Dataclips:
    dataclips = Dataclips(damage)
    for file in sorted(folder.glob("*.json")):
        try:
            dataclips.add(file.stem, file.read_bytes())
        except ValueError as error:
            damage.append(str(error))
        except OSError as error:
            damage.append(f"cannot read {file.name}: {error.strerror}")
    return dataclips


def _events(file: Path, damage: list[str]) -> tuple[AnyEvent, ...]:
    try:
        journal = recover_journal(file)
    except OSError as error:
        damage.append(f"cannot read {file.name}: {error.strerror}")
        return ()
    damage += journal.damage
    return journal.events


def _exchanges(file: Path, damage: list[str]) -> Iterator[Exchange]:
    try:
        content = file.read_bytes()
    except OSError as error:
        damage.append(f"cannot read {file.name}: {error.strerror}")
        return
    for number, line in enumerate(io.BytesIO(content), 1):
        try:
            fields = fields_of(line)
            times = {"sent_us": fields.pop("asked"), "arrived_us": fields.pop("arrived")}
            yield exchange_of({**fields, **times})
        except (KeyError, ValueError) as error:
            damage.append(f"{file.name}:{number}: cut off or damaged, the rest is ignored: {error}")
            return
