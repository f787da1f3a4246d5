"""Recording of every run of a worker, each in a file of one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from worker.core.events import AnyEvent, RunComplete
from worker.errors import MachineError, UsageError
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.prepare import Options
from worker.runner.run_recording import OpenHost, RunRecording, StartRecording
from worker.sinks.guarded import GuardedSink
from worker.sinks.log import LeveledLogger
from worker.util.private_files import make_private_folder
from worker.workflow.model import Workflow

# A header has the limits and the masked credentials of its run.
MAX_HEADER_BYTES = 16 * 1024 * 1024


class _FirstLine(msgspec.Struct, frozen=True):
    run_id: str = ""


def record_in(folder: Path, log: LeveledLogger, *, on_failure: bool = False) -> StartRecording:
    """Return what records each run in a file of the folder, named by the run's id.

    With ``on_failure`` the files of runs that succeed are deleted when they end. Raises
    :class:`UsageError` where the folder cannot be created.
    """
    try:
        make_private_folder(folder)
    except OSError as error:
        raise UsageError(f"cannot record in {folder}: {error.strerror}") from error

    def start(
        run_id: str, workflow: Workflow, options: Options, input: Mapping[str, Any], host: OpenHost
    ) -> RunRecording:
        try:
            prepared = PreparedRecording(workflow, options)
            recorder = Recorder(folder, prepared, input, host, run_id)
        except (UsageError, MachineError) as error:
            # The run matters more than its recording.
            log.warning("recording.failed", run_id=run_id, error=str(error))
            return RunRecording(options, host)
        selected = _FailureRecorder(recorder, log) if on_failure else recorder
        sink = GuardedSink(selected, str(recorder.file))
        return RunRecording(prepared.options, recorder.host, (sink,))

    return start


class _FailureRecorder:
    """Recorder that deletes its file where the run succeeds.

    The file is written while the run goes on: a worker that ends before its run leaves it too.
    """

    def __init__(self, recorder: Recorder, log: LeveledLogger) -> None:
        self._recorder = recorder
        self._log = log
        self._has_succeeded = False

    def receive(self, event: AnyEvent) -> None:
        self._has_succeeded = isinstance(event, RunComplete) and event.reason == "success"
        self._recorder.receive(event)

    def close(self) -> None:
        self._recorder.close()
        file, run_id = self._recorder.file, self._recorder.run_id
        if self._has_succeeded:
            file.unlink(missing_ok=True)
        else:
            self._log.warning("recording.kept", run_id=run_id, file=str(file))


def erase_recordings(folder: Path, run_id: str) -> int:
    """Delete the recordings of a run in a folder of :func:`record_in`. Return their number."""
    files = [file for file in folder.glob("*.jsonl") if recorded_run(file) == run_id]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def recorded_run(file: Path) -> str | None:
    """Return the id of the run in a recording; ``None`` where it cannot be read."""
    try:
        with file.open("rb") as lines:
            return run_of_header(lines.readline(MAX_HEADER_BYTES))
    except OSError:
        return None


def run_of_header(line: bytes) -> str | None:
    """Return the id of the run in a recording's first line; ``None`` where it cannot be read."""
    try:
        return msgspec.json.decode(line, type=_FirstLine).run_id
    except msgspec.MsgspecError:
        return None
