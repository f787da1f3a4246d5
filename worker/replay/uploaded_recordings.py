"""Recordings of a worker's runs at a URL of fsspec, such as ``s3://bucket/runs``.

A run is recorded in a folder of this machine. When it has ended, its file is uploaded and removed;
what could not be uploaded stays, and is tried again with the next one, after a minute and at the
next start. What is to be erased at the URL is listed in the same folder, and is tried likewise.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from worker.core.events import AnyEvent
from worker.replay.record_runs import MAX_HEADER_BYTES, erase_recordings, record_in, run_of_header
from worker.replay.recording_writer import file_name
from worker.replay.remote_files import file_system, in_folder, machine_errors
from worker.runner.prepare import Options
from worker.runner.run_recording import OpenHost, RunRecording
from worker.sinks.log import LeveledLogger
from worker.util.whole_files import write_whole
from worker.workflow.model import Workflow

RETRY_S = 60.0
"""After how long a failed pass is repeated, where no run ends before."""
CLOSE_S = 20.0
"""How long the end of a worker waits for its uploads; the next start goes on with the rest."""
_ERASED = ".erased"
"""The suffix of files that each contain the id of a run whose recordings are to be erased."""


class UploadedRecordings:
    """Records each run in ``spool``, and uploads it to ``url`` when it has ended.

    Raises :class:`WorkerError` where there is no such file system, or the folder cannot be created.
    """

    def __init__(self, url: str, spool: Path, log: LeveledLogger) -> None:
        self._files, self._path = file_system(url)
        self._url = url
        self._record = record_in(spool, log)
        self._spool = spool
        self._log = log
        self._under_way: set[Path] = set()
        self._error = ""
        self._closed = False
        # An event, and not a queue: a thousand runs that end in an outage are due as one pass.
        self._due = threading.Event()
        self._due.set()
        # One thread: uploads are never faster than the runs for long, and an erasure follows the
        # upload that it was too late for. A process that ends must not wait for an object store.
        self._thread = threading.Thread(target=self._work, name="recordings", daemon=True)
        self._thread.start()

    def start(
        self,
        run_id: str,
        workflow: Workflow,
        options: Options,
        input: Mapping[str, Any],
        host: OpenHost,
    ) -> RunRecording:
        """Begin the recording of a run."""
        file = self._spool / file_name(run_id)
        self._under_way.add(file)
        recording = self._record(run_id, workflow, options, input, host)
        # Last: its file is closed before.
        sinks = (*recording.sinks, _UploadSink(self, file))
        return RunRecording(recording.options, recording.host, sinks)

    def erase(self, run_id: str) -> int:
        """Delete the recordings of a run here, and return their number; soon also at the URL."""
        erased = erase_recordings(self._spool, run_id)
        # A file, as the worker may end before the object store can be reached.
        # Whole, as the thread may read it at once.
        note = (self._spool / file_name(run_id)).with_suffix(_ERASED)
        write_whole(note, run_id.encode(), 0o600)
        self._due.set()
        return erased

    def ended(self, file: Path) -> None:
        """Upload the recording of a run that has ended."""
        self._under_way.discard(file)
        self._due.set()

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Wait until all uploads are done or have failed, at most ``timeout_s`` seconds."""
        self._closed = True
        self._due.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._log.warning("recordings.wait", folder=str(self._spool), seconds=timeout_s)

    # --- the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        is_last = False
        while not is_last:
            self._due.wait(RETRY_S if self._error else None)
            # Before the pass, so that what becomes due during it is due for the next.
            self._due.clear()
            is_last = self._closed
            try:
                self._pass()
                self._error = ""
            except Exception as error:
                # Whatever it is: without this thread nothing would be uploaded any more.
                # Once: in an outage each run that ends begins a pass.
                if not self._error:
                    self._log.warning("recording.waits", error=str(error)[:500])
                self._error = str(error)

    def _pass(self) -> None:
        """Erase and upload what is due. Raises MachineError at the first failure of the URL."""
        for file in sorted(self._spool.glob(f"*{_ERASED}")):
            self._erase_at_url(file.read_text())
            file.unlink(missing_ok=True)
        for file in sorted(self._spool.glob("*.jsonl")):
            if file not in self._under_way:
                self._upload(file)

    def _upload(self, file: Path) -> None:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            # Erased since it was listed.
            return
        except OSError as error:
            self._log.warning("recording.unreadable", file=str(file), error=str(error)[:500])
            return
        with machine_errors(f"write {self._url}"):
            self._write_new(file.name, content)
        file.unlink(missing_ok=True)

    def _write_new(self, name: str, content: bytes) -> None:
        """Write a recording beside those of earlier attempts of its run."""
        for target in self._targets(name):
            if not self._is_there(target):
                write = functools.partial(self._files.pipe_file, target, content)
                in_folder(self._files, target, write)
                return
            # Uploaded before, and its confirmation was lost.
            same_size = self._files.size(target) == len(content)
            if same_size and self._files.cat_file(target) == content:
                return

    def _erase_at_url(self, run_id: str) -> None:
        with machine_errors(f"erase {self._url}"):
            # The last one first: what is left after a failure has no gap, and is found again.
            for target in reversed(list(self._uploaded(file_name(run_id)))):
                with self._files.open(target, "rb") as lines:
                    recorded = run_of_header(lines.readline(MAX_HEADER_BYTES))
                # An older version has stored different ids by the same name.
                if recorded in (run_id, None):
                    self._files.rm_file(target)
                    self._log.info("recording.erased", run_id=run_id)

    def _uploaded(self, name: str) -> Iterator[str]:
        for target in self._targets(name):
            if not self._is_there(target):
                return
            yield target

    def _is_there(self, target: str) -> bool:
        # Not by ``exists``, which takes each error for an answer: also an outage.
        try:
            self._files.info(target)
        except FileNotFoundError:
            return False
        return True

    def _targets(self, name: str) -> Iterator[str]:
        """Yield the places of the recordings of a run: ``a.jsonl``, ``a.2.jsonl`` ..."""
        stem = f"{self._path.rstrip('/')}/{name.removesuffix('.jsonl')}"
        yield f"{stem}.jsonl"
        for number in count(2):
            yield f"{stem}.{number}.jsonl"


class _UploadSink:
    """Sink whose end is that of the run."""

    def __init__(self, recordings: UploadedRecordings, file: Path) -> None:
        self._recordings, self._file = recordings, file

    def receive(self, event: AnyEvent) -> None:
        """Do nothing: the recorder has the events."""

    def close(self) -> None:
        self._recordings.ended(self._file)
