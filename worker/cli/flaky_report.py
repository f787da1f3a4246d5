"""Output of ``--flaky``: the first thing that differs under other conditions, and its cause."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from worker.cli.progress import progress
from worker.errors import UsageError
from worker.replay.recording import read_recording
from worker.sinks.terminal_text import one_line, printable
from worker.testing.case import Case
from worker.testing.case_reader import read_case
from worker.testing.flaky import Flakiness, find_flakiness
from worker.testing.from_recording import case_fields


def report_flaky_cases(cases: Sequence[Case], count: int, jobs: int) -> int:
    """Print what differs under variations of each case; return the number of cases that fail."""
    return asyncio.run(_report(cases, count, jobs))


async def _report(cases: Sequence[Case], count: int, jobs: int) -> int:
    failing = 0
    async with aclosing(find_flakiness(cases, count, jobs)) as results:
        with progress("varying", len(cases)) as done:
            async for flaky in results:
                failing += flaky is not None and flaky.fails
                if flaky is not None:
                    _print_flaky(flaky)
                done()
    return failing


def _print_flaky(flaky: Flakiness) -> None:
    print(f"{'✗' if flaky.fails else '~'} {printable(flaky.case.name)}")
    print(f"    with {flaky.cause.value} ({printable(flaky.detail)}):")
    print(f"    {one_line(flaky.message)}")


def run_and_vary(run: Callable[[Path], int], count: int) -> int:
    """Run a workflow once, recorded, and then that recording under variations.

    ``run`` records in a file and returns the exit code of its run. The recording answers the
    requests of all further runs. Return that code, or 1 where another run ends otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.jsonl")
        code = run(file)
        recording = read_recording(file)
    if not recording.complete:
        raise UsageError("--flaky needs a run that ends: this one was not recorded to its end")
    fields = case_fields(recording)
    expect = {key: fields["expect"][key] for key in ("status", "path")}
    # A state may hold the time or a random number: another one is a difference, not a failure.
    case = read_case({**fields, "expect": expect}, recording.workflow, "the recorded run")
    print()
    failing = asyncio.run(_report([case], count, jobs=1))
    ends = "1 of them ends" if failing else "none of them ends"
    print(f"{count} variations of each kind: {ends} otherwise")
    return code or int(failing > 0)
