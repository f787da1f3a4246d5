"""Recording of a case that failed, for a report or a comparison."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from worker.replay.recorder import PreparedRecording
from worker.replay.recording_writer import RecordingWriter
from worker.runner.prepare import input_text
from worker.testing.case_runner import CaseResult
from worker.testing.schedule import ScheduledRun, scheduled_runs
from worker.util.masking import collect_input_secrets


def record_failure(result: CaseResult, folder: Path) -> Path | None:
    """Write the last run of a case into a folder, in the place of an earlier recording of the case.

    Returns the file; ``None`` if the case could not be run. Raises :class:`UsageError` if the
    folder cannot be written.
    """
    if not result.results:
        return None
    run = _last_run(result)
    prepared = PreparedRecording(result.case.workflow, run.options)
    scrubber = prepared.scrubber.with_secrets(collect_input_secrets(run.input))
    # The requests were answered by stubs, so a replay does what was recorded of each step.
    header = replace(prepared.header, run_id=run.run_id, origin="case")
    file = folder / f"{_slug(result.case.name)}-{run.run_id[:8]}.jsonl"
    file.unlink(missing_ok=True)
    text = input_text(run.input)
    writer = RecordingWriter(file, header, prepared.workflow, text, scrubber.json)
    for event in result.results[-1].events:
        writer.receive(event)
    writer.close()
    return file


def _last_run(result: CaseResult) -> ScheduledRun:
    """Return the run that the last result belongs to, with its input."""
    schedule = scheduled_runs(result.case)
    run = next(schedule)
    for earlier in result.results[:-1]:
        run = schedule.send(earlier)
    return run


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:60].strip("-") or "case"
