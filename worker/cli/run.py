"""``worker run``: one workflow from its file to its verdict."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.adaptors.http.allowlist import HostPattern, hosts_of, named
from worker.adaptors.http.lazy_host import LazyHost
from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.runner.pool import Pool
from worker.runner.prepare import Options, configurations, limits_of
from worker.runner.result import Result
from worker.sinks.terminal_text import printable
from worker.workflow.documents.document import parse_json, read_document, read_text
from worker.workflow.load import load
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.sinks.base import Sink

UNENFORCED = (
    "warning: this system enforces the time limit and the JavaScript memory limit; the memory of "
    "Python steps is not limited, and a killed worker leaves its runs to end by themselves"
)
INPUT_LIMIT = 100 * 1024 * 1024


def run(
    *,
    file: Path,
    workflow: str | None,
    input_file: str | None,
    start: str,
    end: str,
    only: str,
    output: str | None,
    journal: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    credentials: Path | None,
    no_python: bool,
    record: Path | None,
    allow_hosts: tuple[str, ...],
    scrub: tuple[str, ...],
    **limits: Any,
) -> int:
    """The exit code of the run. Raises :class:`worker.errors.WorkerError` on wrong usage."""
    if only and (start or end):
        raise UsageError("--only says where to start and end: leave out --start and --end")
    if as_json and output == "-":
        raise UsageError("--json and --output - both write to stdout: choose a file for --output")
    if sys.platform != "linux":
        print(UNENFORCED, file=sys.stderr)
    pool = Pool(size=1)
    pool.boot()
    loaded = load(file, workflow=workflow)
    for warning in loaded.warnings:
        print(
            f"warning: {printable(f'{file}: {warning.path}: {warning.message}')}", file=sys.stderr
        )
    options = Options(
        start=start,
        end=end,
        only=only,
        limits=limits_of(loaded, **limits),
        credentials=read_credentials(credentials),
        allow_python=not no_python,
    )
    state = read_input(input_file)
    allowed = [named(text) for text in allow_hosts]
    if scrub and record is None:
        raise UsageError("--scrub says what to keep out of a recording: add --record DIR")
    sinks = _sinks(
        loaded, journal=journal, as_json=as_json, quiet=quiet, debug=debug, output=output
    )
    live = functools.partial(_live, loaded, options, allowed)
    recording = None if record is None else (record, scrub)
    result = asyncio.run(_run(pool, loaded, state, options, sinks, live, recording))
    if output is not None:
        write_output(output, result)
    return STATUSES[result.status].exit_code


async def _run(
    pool: Pool,
    workflow: Workflow,
    state: dict[str, Any],
    options: Options,
    sinks: list[Sink],
    live: Callable[[], LazyHost],
    recording: tuple[Path, tuple[str, ...]] | None,
) -> Result:
    cancel = asyncio.Event()
    _cancel_on_signals(cancel)
    run = functools.partial(pool.run, workflow, state, sinks=sinks, cancel=cancel)
    sender = live()
    try:
        async with pool:
            if recording is None:
                return await run(options, host=sender)
            from worker.replay.recorder import Recorder

            recorder = Recorder(recording[0], workflow, state, options, sender, recording[1])
            sinks.append(recorder)
            return await run(recorder.options, host=recorder.host, run_id=recorder.run_id)
    finally:
        await sender.close()
        for sink in sinks:
            sink.close()


def _live(workflow: Workflow, options: Options, allowed: list[HostPattern]) -> LazyHost:
    """Requests go to the hosts that were allowed, and to those that credentials name."""
    found, _ = configurations(workflow, options.credentials or {})
    return LazyHost([*allowed, *hosts_of(found.values())])


def _cancel_on_signals(cancel: asyncio.Event) -> None:
    """Ctrl-C and SIGTERM cancel the run; a second one leaves at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if cancel.is_set():
            os._exit(STATUSES[Status.CANCELLED].exit_code)
        cancel.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def read_input(source: str | None) -> dict[str, Any]:
    """The input state, from a file or (``-``) from stdin; empty without one."""
    if source is None:
        return {}
    if source == "-":
        name, text = "<stdin>", sys.stdin.read(INPUT_LIMIT + 1)
        if len(text) > INPUT_LIMIT:
            raise UsageError(f"the input is over the limit of {INPUT_LIMIT // 2**20} MB")
    else:
        name, text = source, read_text(Path(source), INPUT_LIMIT)
    state = parse_json(text, name)
    if not isinstance(state, dict):
        raise UsageError(f'{name}: the input must be a JSON object, such as {{"data": {{}}}}')
    return state


def read_credentials(file: Path | None) -> Mapping[str, Mapping[str, Any]]:
    """Credentials by the names that steps use."""
    if file is None:
        return {}
    found = read_document(file).root
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise UsageError(f"{file}: expected a mapping of credential names to their content")
    return found


def _sinks(
    workflow: Workflow,
    *,
    journal: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    output: str | None,
) -> list[Sink]:
    found: list[Sink] = []
    if journal is not None:
        from worker.sinks.journal import Journal

        found.append(Journal(journal))
    if as_json:
        from worker.sinks.journal import EventLines
        from worker.sinks.log import LogSink

        found += [EventLines(sys.stdout), *([] if quiet else [LogSink()])]
    elif not quiet:
        found.append(_screen(workflow, debug=debug, to_stderr=output == "-"))
    return found


def _screen(workflow: Workflow, *, debug: bool, to_stderr: bool) -> Sink:
    """A live tree where there is a terminal to draw on, else plain lines."""
    from worker.sinks.terminal import TREE_LIMIT, LiveTree, PlainLines

    stream = sys.stderr if to_stderr else sys.stdout
    dumb = os.environ.get("TERM") == "dumb"
    if stream is sys.stdout and stream.isatty() and not dumb and len(workflow.steps) <= TREE_LIMIT:
        return LiveTree(workflow, debug=debug)
    return PlainLines(workflow, stream, debug=debug)


def write_output(target: str, result: Result) -> None:
    """The final state as JSON, whole or not at all; ``null`` where there is none."""
    text = json.dumps(result.final_state, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target)
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, delete=False, encoding="utf-8"
        ) as part:
            part.write(text)
        Path(part.name).replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
