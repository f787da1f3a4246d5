"""``worker run``: one workflow from its file to its final status."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.adaptors.http.allowlist import HostPattern, hosts_in_credentials, parse_host_pattern
from worker.adaptors.http.lazy_host import LazyHost
from worker.cli.files import read_credentials, read_input, write_state
from worker.cli.options import (
    PATH,
    check_only,
    command,
    input_state,
    only_step,
    option,
    permissions,
    pick_workflow,
    run_limits,
    start_at,
    stop_after,
)
from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.runner.pool import Pool
from worker.runner.prepare import Options, configurations, limits_of
from worker.runner.result import Result
from worker.sinks.terminal_text import printable
from worker.workflow.load import load
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.sinks.base import Sink

UNENFORCED = (
    "warning: this system enforces the time limit and the JavaScript memory limit; the memory of "
    "Python steps is not limited, and a killed worker leaves its runs to end by themselves"
)
EPILOG = """
\b
Examples:
  worker run graphs/referral.yaml --input graphs/referral.input.json
  worker run project.yaml --workflow "Case referral" --timeout 30 --memory 128
  worker run project.yaml --only fetch-patient --input state.json --output -
  curl ... | worker run plan.json --input - --json > events.jsonl

\b
Exit code: 0 success, 1 failed, 3 crashed, 4 killed, 5 exception or lost,
6 cancelled, 2 wrong usage or an unreadable file.
"""


@command(epilog=EPILOG)
@click.argument("file", type=PATH)
@pick_workflow
@input_state
@start_at("--start")
@stop_after("--end")
@only_step
@run_limits
@permissions
@option("--record", type=PATH, metavar="DIR",
        help="Record the run and its requests in DIR, for worker replay.")  # fmt: skip
@option("--scrub", multiple=True, metavar="REGEX",
        help="Keep what this matches out of the recording.")  # fmt: skip
@option("--output", "-o", metavar="FILE|-", help="Write the final state to FILE, as JSON.")
@option("--journal", type=PATH, metavar="FILE", help="Write all events to FILE, one a line.")
@option("--json", "as_json", is_flag=True,
        help="Print events to stdout, one a line, and logs to stderr.")  # fmt: skip
@option("--quiet", "-q", is_flag=True, help="Print nothing of the run.")
@option("--debug", is_flag=True, help="Print debug lines of the run too.")
def run(
    *,
    file: Path,
    workflow: str | None,
    input_file: str | None,
    start_at: str,
    stop_after: str,
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
    """Run a workflow to its end and show every step.

    FILE is a project.yaml (version 3 or 4.0), one workflow of it, an execution plan as JSON or
    YAML, or a Lightning run.
    """
    check_only(only, start_at, stop_after)
    if as_json and output == "-":
        raise UsageError("--json and --output - both write to stdout: choose a file for --output")
    if sys.platform != "linux":
        print(UNENFORCED, file=sys.stderr)
    pool = Pool(size=1)
    # The process that forks runs starts while the file is read and compiled.
    pool.boot()
    loaded = load(file, workflow=workflow)
    for warning in loaded.warnings:
        print(
            f"warning: {printable(f'{file}: {warning.path}: {warning.message}')}", file=sys.stderr
        )
    options = Options(
        start=start_at,
        end=stop_after,
        only=only,
        limits=limits_of(loaded, **limits),
        credentials=read_credentials(credentials),
        allow_python=not no_python,
    )
    state = read_input(input_file)
    allowed = [parse_host_pattern(text) for text in allow_hosts]
    if scrub and record is None:
        raise UsageError("--scrub needs a recording: add --record DIR")
    sinks = _sinks(
        loaded, journal=journal, as_json=as_json, quiet=quiet, debug=debug, output=output
    )
    live = functools.partial(_live, loaded, options, allowed)
    recording = None if record is None else (record, scrub)
    result = asyncio.run(_run(pool, loaded, state, options, sinks, live, recording))
    if output is not None:
        write_state(output, result.final_state)
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
    """Build a host that allows requests to ``allowed`` and to the hosts of credentials."""
    configured, _ = configurations(workflow, options.credentials or {})
    return LazyHost([*allowed, *hosts_in_credentials(configured.values())])


def _cancel_on_signals(cancel: asyncio.Event) -> None:
    """Cancel the run on Ctrl-C or SIGTERM; exit at once on the second one."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        # The second signal: the run may never end, so the command does not wait for it.
        if cancel.is_set():
            os._exit(STATUSES[Status.CANCELLED].exit_code)
        cancel.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def _sinks(
    workflow: Workflow,
    *,
    journal: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    output: str | None,
) -> list[Sink]:
    sinks: list[Sink] = []
    if journal is not None:
        from worker.sinks.journal import Journal

        sinks.append(Journal(journal))
    if as_json:
        from worker.sinks.journal import EventLines
        from worker.sinks.log import LogSink

        sinks += [EventLines(sys.stdout), *([] if quiet else [LogSink()])]
    elif not quiet:
        sinks.append(_screen(workflow, debug=debug, to_stderr=output == "-"))
    return sinks


def _screen(workflow: Workflow, *, debug: bool, to_stderr: bool) -> Sink:
    """Return a live tree if stdout is a terminal, else plain lines."""
    from worker.sinks.terminal import TREE_LIMIT, LiveTree, PlainLines

    stream = sys.stderr if to_stderr else sys.stdout
    dumb = os.environ.get("TERM") == "dumb"
    if stream is sys.stdout and stream.isatty() and not dumb and len(workflow.steps) <= TREE_LIMIT:
        return LiveTree(workflow, debug=debug)
    return PlainLines(workflow, stream, debug=debug)
