"""The command ``worker`` for tests: in this process, or as users start it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli.main import main
from worker.runner.pool import Pool

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, "-m", "worker"]
# A command takes one or two seconds; on a machine that is busy, a hundred times as long.
TIMEOUT_S = 240.0

Done = subprocess.CompletedProcess[str]


def start_worker(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Done:
    """Run the command in a process of its own, to its end."""
    return subprocess.run(
        [*WORKER, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def call_worker(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run the command in this process, to its end.

    It does the same as in a process of its own, and needs a fraction of the time, as nothing is
    imported again and processes of the pool stay ready.
    """
    line = ["worker", *map(str, arguments)]
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
    ):
        patch.setattr(sys, "argv", line)
        # `worker run` starts it early, and leaves it to end with the command after a usage error.
        patch.setattr(Pool, "boot", lambda pool, **_: None)
        # click ends its commands with an exit, also those that succeed.
        with pytest.raises(SystemExit) as end:
            main()
    output, errors = (stream.buffer.getvalue().decode() for stream in streams)
    return Done(line, end.value.code or 0, output, errors)  # type: ignore[arg-type]
