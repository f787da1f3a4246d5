"""Option ``--record`` of ``worker start``: a folder or URL that keeps recordings of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.cli.record_option import failure_folder
from worker.replay.record_runs import erase_recordings, record_in
from worker.replay.remote_files import is_url
from worker.replay.uploaded_recordings import UploadedRecordings
from worker.runner.run_recording import StartRecording
from worker.sinks.log import LeveledLogger
from worker.util.cache_folder import root


@dataclass(frozen=True, slots=True)
class KeptRecordings:
    """Functions that begin the recording of a run, and that erase those of one."""

    start: StartRecording | None
    erase: Callable[[str], int]


@contextmanager
def keep_recordings(place: str | None, name: str, log: LeveledLogger) -> Iterator[KeptRecordings]:
    """Record the runs of the worker ``name`` in a place, and wait a while for the last uploads.

    ``on-failure`` and ``on-failure:DIR`` keep the recordings of runs that do not succeed. Raises
    :class:`WorkerError` where that is not possible.
    """
    if place is None:
        yield KeptRecordings(None, lambda run_id: 0)
    elif not is_url(place):
        failing = failure_folder(place)
        folder = failing or Path(place)
        start = record_in(folder, log, on_failure=failing is not None)
        yield KeptRecordings(start, lambda run_id: erase_recordings(folder, run_id))
    else:
        uploaded = UploadedRecordings(place, root() / "recordings" / name, log)
        try:
            yield KeptRecordings(uploaded.start, uploaded.erase)
        finally:
            uploaded.close()
