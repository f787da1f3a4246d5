"""The command as a process: starts what is slow to start first, and exits at once."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

EXIT_USAGE = 2
EXIT_DEFECT = 70
EXIT_MACHINE = 71
# As shells report a command that SIGINT ended.
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command and exit with its code."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        escape_foreign_characters(stream)
    # A terminal takes all messages, and what draws on it exchanges the stream meanwhile.
    if not sys.stderr.isatty():
        sys.stderr = _lossy(sys.stderr)
    arguments = sys.argv[1:]
    if arguments[:1] in (["run"], ["diff"]) and not {"--help", "-h"} & set(arguments):
        from worker.sandbox.parent.zygote_ahead import start_ahead

        # Before click is imported: the zygote's start and our imports take the same 0.1 s.
        start_ahead()
        from worker.util.quick_import import import_msgspec

        import_msgspec()
    if arguments[:1] == ["run"]:
        # What the imports make stays: to look for garbage among it takes a twentieth of the
        # command. It is enabled before the run.
        gc.disable()
    from worker.cli.main import main as run_command
    from worker.cli.terminal_stream import guard_terminals

    guard_terminals()
    try:
        run_command()
    except SystemExit as exit:
        if exit.code is None or isinstance(exit.code, int):
            code = flushed(exit.code or 0)
            exit_at_once(code)
            sys.exit(code)
        raise


def _open_missing_streams() -> None:
    """Open what the caller has closed (``>&-``), as a place where output is lost."""
    # First of all: the next file or socket would get the number of a standard stream, and what is
    # printed would be written there.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def escape_foreign_characters(stream: TextIO) -> None:
    """Have what the encoding of a locale lacks written as an escape, such as ``\\u2713``."""
    # UTF-8 has all characters, and keeps a handler that writes a file's name as its own bytes.
    if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
        stream.reconfigure(errors="backslashreplace")


class LossyFile(io.FileIO):
    """Standard error, on which a message that cannot be written changes nothing but an exit code.

    An exception would end the command with 1, which means that a run failed.
    """

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.lost = error
        return memoryview(data).nbytes


def _lossy(stream: TextIO) -> TextIO:
    file = io.BufferedWriter(LossyFile(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=True)


def _loses_messages(stream: TextIO) -> bool:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return isinstance(raw, LossyFile) and raw.lost is not None


def exit_at_once(code: int) -> None:
    """Exit without the interpreter's teardown, which takes as long as its start.

    Return where only a regular exit is right: while threads run.
    """
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    os._exit(flushed(code))


def flushed(code: int) -> int:
    """Write what is buffered for the standard streams; return the code to exit with.

    That is ``code``, but 71 for a success whose output, or messages, cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            # Whoever read it has seen enough.
            _silence(stream)
        except OSError as error:
            _silence(stream)
            code = code or EXIT_MACHINE
            print(f"error: cannot write {stream.name}: {error.strerror}", file=sys.stderr)
    return code or (EXIT_MACHINE if _loses_messages(sys.stderr) else 0)


def _silence(stream: TextIO) -> None:
    # What stays in its buffer would be written, and refused, once more at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
