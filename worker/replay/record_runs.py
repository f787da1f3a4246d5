"""Recording of every run of a worker, each in a file of one folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import MachineError, UsageError
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.prepare import Options
from worker.runner.run_recording import OpenHost, RunRecording, StartRecording
from worker.sinks.guarded import GuardedSink
from worker.sinks.log import LeveledLogger
from worker.util.private_files import make_private_folder
from worker.workflow.model import Workflow


def record_in(folder: Path, log: LeveledLogger) -> StartRecording:
    """Return what records each run in a file of the folder, named by the run's id.

    Raises :class:`UsageError` where the folder cannot be created.
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
        sink = GuardedSink(recorder, str(recorder.file))
        return RunRecording(prepared.options, recorder.host, (sink,))

    return start
