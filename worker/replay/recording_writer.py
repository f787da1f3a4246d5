"""Writer of recordings: appends lines to a file, with secrets masked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from msgspec.structs import replace

from worker.adaptors.http.exchange import Exchange
from worker.core.error_json import mask_error
from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    StepComplete,
    dataclip_of,
    to_json,
    with_dataclip,
)
from worker.core.outcome import StepError
from worker.errors import UsageError, WorkerError, cannot_write
from worker.replay.recording_folder import is_recording_folder
from worker.replay.recording_lines import (
    RecordingHeader,
    dataclip_id,
    dataclip_line,
    exchange_line,
    header_line,
)
from worker.util.json import dumps
from worker.util.private_files import make_private_folder


class RecordingWriter:
    """Writes the recording of one run into one new file, :attr:`file`.

    The first lines are written at once, all others by :meth:`flush` and :meth:`close`.
    ``path`` is the file, or an existing folder: then the run's id names the file in it.
    ``workflow`` is the line of the workflow, ``input`` JSON text. :attr:`mask` masks the secrets
    in JSON text. Raises :class:`WorkerError` if the file exists or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        header: RecordingHeader,
        workflow: bytes,
        input: str,
        mask: Callable[[str], str],
    ) -> None:
        self.mask = mask
        self._dataclips: set[str] = set()
        self._pending: list[bytes] = []
        self.file, self._stream = _create(path, header.run_id)
        id, dataclip = self._dataclip(input)
        self._pending += [header_line(replace(header, input=id)), workflow, dataclip]
        try:
            self.flush()
        except WorkerError:
            # Without its first lines it is no recording.
            self._stream.close()
            self.file.unlink(missing_ok=True)
            raise

    def receive(self, event: AnyEvent) -> None:
        dataclip = dataclip_of(event)
        if dataclip is not None:
            id, line = self._dataclip(dataclip.text)
            self._pending.append(line)
            event = with_dataclip(event, Dataclip(f'"{id}"'))
        self._pending += (_encoded(to_json(self._masked(event))), b"\n")

    def _masked(self, event: AnyEvent) -> AnyEvent:
        # Not its other fields: an id or a time may contain the digits of a secret by chance.
        match event:
            case RunLog():
                return replace(event, message=json.loads(self.mask(dumps(event.message))))
            case StepComplete(error=StepError() as error) | RunComplete(error=StepError() as error):
                return replace(event, error=mask_error(error, self.mask))
            case _:
                return event

    def exchange(self, exchange: Exchange) -> None:
        """Add a request and its reply."""
        self._pending.append(exchange_line(exchange))

    def lines(self, lines: bytes) -> None:
        """Add whole lines, whose secrets are masked."""
        self._pending.append(lines)

    def flush(self) -> None:
        """Write the lines that were received. Raises :class:`MachineError` if that fails."""
        lines = b"".join(self._pending)
        self._pending.clear()
        if not lines:
            return
        size = os.fstat(self._stream.fileno()).st_size
        try:
            # Without a buffer, which a killed process would lose. A full disk takes a part.
            while lines:
                lines = lines[self._stream.write(lines) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.truncate(size)
            raise cannot_write(self.file, error) from error

    def close(self) -> None:
        """Write the rest, and close the file."""
        try:
            self.flush()
        finally:
            self._stream.close()

    def _dataclip(self, text: str) -> tuple[str, bytes]:
        """Return the id of a dataclip, and its line if it is not in the file yet."""
        # The id is that of the masked content: from the hash of a secret, guesses could be checked.
        content = _encoded(self.mask(text))
        id = dataclip_id(content)
        # The output of a step is the input of the next, so that most dataclips come twice.
        if id in self._dataclips:
            return id, b""
        self._dataclips.add(id)
        return id, dataclip_line(id, content)


def _encoded(text: str) -> bytes:
    # Half of a surrogate pair has no UTF-8 form. In JSON text it can only be in a string, where its
    # escape is the same character.
    return text.encode("utf-8", "backslashreplace")


# --- the file -------------------------------------------------------------------------------------


def _create(path: Path, run_id: str) -> tuple[Path, FileIO]:
    try:
        return path, _open(path)
    except FileNotFoundError:
        return path, _create_in_new_folder(path)
    except FileExistsError as error:
        if not path.is_dir() or is_recording_folder(path):
            raise UsageError(f"{path} exists: choose another file") from error
    except OSError as error:
        raise cannot_write(path, error) from error
    return _create(path / file_name(run_id), run_id)


def _create_in_new_folder(file: Path) -> FileIO:
    try:
        make_private_folder(file.parent)
        return _open(file)
    except OSError as error:
        raise cannot_write(file, error) from error


def _open(file: Path) -> FileIO:
    # O_EXCL: a recording is never overwritten, as it may be the only trace of a failure, and two
    # writers never share a file. The mode is set at creation: later would be too late.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return FileIO(os.open(file, flags, 0o600), "wb")


def file_name(run_id: str) -> str:
    """Return the name of the file of a run, which no other run has."""
    # The id of an imported run is a text from a file, and must not lead out of the folder.
    name = re.sub(r"[^A-Za-z0-9_-]", "_", run_id)[:100]
    if name != run_id:
        digest = hashlib.sha256(run_id.encode("utf-8", "backslashreplace")).hexdigest()
        # The point is in no name that is an id as it is.
        name = f"{name}.{digest[:16]}"
    return f"{name}.jsonl"
