"""The command as a process: starts what is slow to start first, and exits at once."""

from __future__ import annotations

import atexit
import os
import sys
import threading


def main() -> None:
    """Run the command and exit with its code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and not {"--help", "-h"} & set(arguments):
        from worker.sandbox.child_process import ZYGOTE, start_ahead

        # Before click is imported: the child's start and our imports take the same 0.1 s.
        start_ahead(*ZYGOTE)
    from worker.cli.main import main as run_command

    try:
        run_command()
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            exit_at_once(exit.code or 0)
        raise


def exit_at_once(code: int) -> None:
    """Exit without the interpreter's teardown, which takes as long as its start.

    Return where only a regular exit is right: while threads run, or if the output is refused.
    """
    if threading.active_count() > 1:
        return
    try:
        _flush()
        atexit._run_exitfuncs()
        _flush()
    except OSError:
        return
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A process without a terminal may have neither.
        if stream is not None:
            stream.flush()
