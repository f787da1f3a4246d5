"""One run of a workflow from a file, for ``worker run``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from worker.adaptors.collections.open_host import open_host
from worker.adaptors.collections.settings import parse_collections
from worker.adaptors.http.lazy_host import LazyHost
from worker.cli.entry import EXIT_MACHINE
from worker.cli.files import (
    print_warnings,
    read_credentials,
    read_input,
    write_state,
)
from worker.cli.record_option import failure_folder, make_folder
from worker.cli.services import on_signals
from worker.cli.targets import prepare_target
from worker.core.status import STATUSES, Status
from worker.errors import WorkerError
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.reach import local_reach
from worker.runner.result import Result
from worker.sandbox.isolation import Isolation
from worker.sandbox.limits import resolve_limits
from worker.sinks.guarded import GuardedSink
from worker.sinks.terminal_text import printable
from worker.workflow.credential_names import split_configuration
from worker.workflow.documents.data import did_you_mean
from worker.workflow.load import load
from worker.workflow.model import Language, Step, Workflow
from worker.workflow.step_names import find_step

if TYPE_CHECKING:
    from worker.adaptors.collections.local_host import CollectionsSender
    from worker.sinks.base import Sink

_CONFIGURATION_OF_INPUT = (
    "warning: the input has a configuration: the first step gets it, under its own credential"
)
UNENFORCED = (
    "warning: this system enforces the time limit and the JavaScript memory limit; the memory of "
    "Python steps is not limited, and a killed worker leaves its runs to end by themselves"
)


class RunInput(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command that say what runs, and what it may do.

    ``installs`` are the adaptors beside OpenFn's that are installed where they are missing;
    ``None`` installs none.
    """

    workflow: str | None
    adaptors: tuple[str, ...]
    input_file: str | None
    input_json: str | None
    start: str
    end: str
    only: str
    credentials: Path | None
    allow_python: bool
    isolation: str
    allow_hosts: tuple[str, ...]
    collections: str | None
    fuel: bool
    cache_steps: bool
    installs: tuple[str, ...] | None
    limits: Mapping[str, Any]
    workflow_options: Mapping[str, Any]


class RecordingOutput(msgspec.Struct, frozen=True, kw_only=True):
    """File or folder of the recording, and the patterns of what is kept out of it.

    ``on_failure`` removes the recording of a run that succeeds.
    """

    path: Path
    on_failure: bool
    patterns: tuple[str, ...]

    @classmethod
    def parse(cls, value: str, patterns: tuple[str, ...]) -> RecordingOutput:
        """Parse the value of ``--record``."""
        folder = failure_folder(value)
        path = folder or Path(value)
        return cls(path=path, on_failure=folder is not None, patterns=patterns)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command about what it prints and writes."""

    final_state: str | None
    journal: Path | None
    as_json: bool
    quiet: bool
    debug: bool
    sanitize: str
    recording: RecordingOutput | None


def run_file(file: Path, request: RunInput, output: Output) -> int:
    """Run the workflow of a file to its end; return the exit code of its status."""
    if sys.platform != "linux":
        print(UNENFORCED, file=sys.stderr)
    if output.final_state is not None:
        prepare_target(output.final_state)
    pool = Pool(1, Isolation(request.isolation))
    # The process that forks runs starts while the file is read and compiled.
    pool.boot(metered=request.fuel or request.limits.get("fuel") is not None)
    loaded = load(file, workflow=request.workflow, adaptors=request.adaptors)
    print_warnings(loaded)
    if request.workflow_options:
        loaded = replace(loaded, options={**loaded.options, **request.workflow_options})
    if request.installs is not None:
        from worker.cli.autoinstall import install_missing

        install_missing(loaded, request.installs)
    options = _options(loaded, request)
    state = _state(loaded, request, options.only or options.start)
    if isinstance(state, dict) and state.get("configuration"):
        print(_CONFIGURATION_OF_INPUT, file=sys.stderr)
    reach = local_reach(loaded, state, options)
    sinks = _sinks(loaded, output, cache_steps=request.cache_steps)
    live = functools.partial(open_host, reach, options.collections)
    gc.freeze()
    gc.enable()
    result = asyncio.run(_run(pool, loaded, state, options, sinks, live, output.recording))
    problems = [sink.problem for sink in sinks if sink.problem]
    if output.final_state is not None:
        try:
            write_state(output.final_state, result.final_state)
        except WorkerError as error:
            problems.append(str(error))
    if hint := hint_for(loaded, result, options.credentials or ()):
        print(f"hint: {printable(hint)}", file=sys.stderr)
    elif output.final_state is None and not output.as_json and _watched(output):
        print("the final state: --output - prints it, --output FILE writes it", file=sys.stderr)
    return _exit_code(result.status, problems)


def _options(workflow: Workflow, request: RunInput) -> Options:
    return Options(
        start=find_step(workflow, request.start, "--start-at"),
        end=find_step(workflow, request.end, "--stop-after"),
        only=find_step(workflow, request.only, "--only"),
        limits=resolve_limits(workflow.options, request.limits),
        credentials=read_credentials(request.credentials),
        allow_hosts=request.allow_hosts,
        allow_python=request.allow_python,
        collections=parse_collections(request.collections),
        fuel=request.fuel,
    )


def _state(workflow: Workflow, request: RunInput, start: str) -> dict[str, Any]:
    """Read the input: without one, a run with cached steps starts with what led to its start."""
    is_given = request.input_file is not None or request.input_json is not None
    if request.cache_steps and not is_given and start:
        from worker.cli.step_cache import cached_input

        return read_input(str(cached_input(workflow, start)))
    return read_input(request.input_file, request.input_json)


def _watched(output: Output) -> bool:
    return not output.quiet and sys.stdout.isatty() and sys.stderr.isatty()


def _exit_code(status: Status, problems: list[str]) -> int:
    """Report what could not be written, with the status, which may be among it."""
    for problem in problems:
        print(f"error: {printable(problem)} (the run ended as {status})", file=sys.stderr)
    return STATUSES[status].exit_code or (EXIT_MACHINE if problems else 0)


def hint_for(workflow: Workflow, result: Result, credentials: Collection[str]) -> str:
    """Return the likely cause of an error that does not name it; empty if there is none.

    ``credentials`` are the names of those that were given.
    """
    last = result.path[-1].step if result.path else ""
    step = next((step for step in workflow.steps if step.id == last), None)
    if result.error_type == "ImportError" and "module not allowed" in (result.error_message or ""):
        return _import_hint(step)
    if result.error_type == "CredentialError" and step is not None:
        name, _ = split_configuration(step.configuration)
        return _credential_hint(name, credentials)
    if result.error_type != "ReferenceError" or step is None or step.adaptors:
        return ""
    remedy = "adaptor: '@openfn/language-common', or --adaptor common for a job alone"
    return f"step '{step.id}' names no adaptor, so it has no operations such as fn ({remedy})"


def _credential_hint(name: str, given: Collection[str]) -> str:
    if not given or not name or name in given:
        return ""
    near = did_you_mean(name, given) or f" (it has: {', '.join(given)})"
    return f"the file of --credentials has no '{name}'{near}"


def _import_hint(step: Step | None) -> str:
    if step is None or step.language is not Language.PYTHON:
        return (
            "jobs can import their own adaptors: adaptor: in the file, or --adaptor for a job alone"
        )
    from worker.sandbox.python.guard import ALLOWED_MODULES

    return f"Python steps can import {', '.join(sorted(ALLOWED_MODULES))}"


async def _run(
    pool: Pool,
    workflow: Workflow,
    state: dict[str, Any],
    options: Options,
    sinks: list[GuardedSink],
    live: Callable[[], LazyHost | CollectionsSender],
    recording: RecordingOutput | None,
) -> Result:
    cancel = asyncio.Event()
    # The second signal: the run may never end, so the command does not wait for it.
    on_signals(cancel.set, at_once=lambda: os._exit(STATUSES[Status.CANCELLED].exit_code))
    run = functools.partial(pool.run, workflow, state, sinks=sinks, cancel=cancel)
    sender = live()
    try:
        async with pool:
            if recording is None:
                return await run(options, host=sender)
            from worker.replay.recorder import PreparedRecording, Recorder

            if recording.on_failure:
                make_folder(recording.path)
            prepared = PreparedRecording(workflow, options, recording.patterns)
            recorder = Recorder(recording.path, prepared, state, sender)
            sinks.append(GuardedSink(recorder, str(recording.path)))
            result = await run(prepared.options, host=recorder.host, run_id=recorder.run_id)
            if recording.on_failure:
                _keep_failure(recorder.file, result)
            return result
    finally:
        await sender.close()
        for sink in sinks:
            sink.close()


def _keep_failure(file: Path, result: Result) -> None:
    """Print the name of the recording of a failed run; remove that of another."""
    if result.status is Status.SUCCESS:
        # It was written while the run went on: a run that takes this process with it leaves it too.
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()
    else:
        print(f"recorded {printable(str(file))} (open it: worker report FILE)", file=sys.stderr)


def _sinks(workflow: Workflow, output: Output, *, cache_steps: bool) -> list[GuardedSink]:
    sinks = [
        GuardedSink(_sanitized(sink, output.sanitize), name)
        for sink, name in _outputs(workflow, output)
    ]
    if cache_steps:
        from worker.cli.step_cache import StepCache, cache_folder

        folder = cache_folder(workflow)
        sinks.append(GuardedSink(StepCache(folder), str(folder)))
    return sinks


def _sanitized(sink: Sink, policy: str) -> Sink:
    if policy == "none":
        return sink
    from worker.cli.sanitized_sink import SanitizedSink

    return SanitizedSink(sink, policy)


def _outputs(workflow: Workflow, output: Output) -> Iterator[tuple[Sink, str]]:
    """Yield the sinks of what the command prints and writes, each with the name of its target."""
    if output.journal is not None:
        from worker.sinks.journal import Journal

        yield Journal(output.journal), str(output.journal)
    if output.as_json:
        from worker.sinks.journal import EventLines

        yield EventLines(sys.stdout), "stdout"
        if not output.quiet:
            from worker.sinks.log import LogSink

            yield LogSink(), "stderr"
    elif not output.quiet:
        to_stderr = output.final_state == "-"
        screen = _screen(workflow, debug=output.debug, to_stderr=to_stderr)
        yield screen, "stderr" if to_stderr else "stdout"


def _screen(workflow: Workflow, *, debug: bool, to_stderr: bool) -> Sink:
    """Return a live tree if stdout is a terminal, else plain lines."""
    from worker.sinks.terminal import TREE_LIMIT, LiveTree, PlainLines

    stream = sys.stderr if to_stderr else sys.stdout
    dumb = os.environ.get("TERM") == "dumb"
    if stream is sys.stdout and stream.isatty() and not dumb and len(workflow.steps) <= TREE_LIMIT:
        return LiveTree(workflow, debug=debug)
    return PlainLines(workflow, stream, debug=debug)
