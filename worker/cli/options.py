"""Options that commands share, and the old names of options."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from worker.cli import complete, option_sources
from worker.cli.renamed import warn_renamed
from worker.cli.targets import check_targets
from worker.cli.value_types import NumberRange, OneOf, WholeNumberRange
from worker.util.cores import usable_cores
from worker.util.path_checks import is_file
from worker.util.units import COUNTS, MEGABYTES, SECONDS
from worker.workflow.limit_ranges import RANGES

PATH = click.Path(path_type=Path)


class _WorkflowPath(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # A device is read like any other file, so nothing else has to know about stdin.
        return super().convert("/dev/stdin" if value == "-" else value, param, ctx)


WORKFLOW_PATH = _WorkflowPath(path_type=Path)
"""Path of a workflow; ``-`` is stdin."""


def check_stdin(file: Path | None, input_file: str | None) -> None:
    """Raise UsageError where the workflow and the input would both be read from stdin."""
    if file == Path("/dev/stdin") and input_file == "-":
        raise click.UsageError("the workflow and --input both read stdin: choose a file for one")


# Bounded, as an event loop or a lock cannot wait longer than a few centuries.
POSITIVE = NumberRange(min=0, min_open=True, max=10**9)
DURATION = NumberRange(min=0, min_open=True, max=10**9, units=SECONDS)
SIZE = NumberRange(min=0, min_open=True, max=10**9, units=MEGABYTES)


_UNITS = {"_s": SECONDS, "_mb": MEGABYTES, "fuel": COUNTS}


def limit_type(name: str) -> NumberRange:
    """Return the type of an option for a field of ``Limits``, with its range and units."""
    limit = RANGES[name]
    units = next((units for end, units in _UNITS.items() if name.endswith(end)), None)
    if limit.is_whole:
        return WholeNumberRange(limit.minimum, limit.maximum, units=units)
    return NumberRange(min=0, min_open=True, max=limit.maximum, units=units)


Body = Callable[..., int]
Decorator = Callable[[Body], Body]


class ExitCodeCommand(click.Command):
    """Command whose function returns the exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        option_sources.check_names(_words(ctx), self.params)
        for text in option_sources.misspelt_variables(_words(ctx), self.params):
            click.echo(f"warning: {text}", err=True)
        check_targets(ctx)
        # click itself exits with 0 whatever a function returns.
        ctx.exit(super().invoke(ctx))


class Option(click.Option):
    """Option that also accepts its old names, which the help does not list."""

    def __init__(self, *args: Any, deprecated_names: Sequence[str] = (), **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.deprecated_names = tuple(deprecated_names)

    def get_help_extra(self, ctx: click.Context) -> Any:
        # click adds ranges as "[x>0]", which is no help to somebody who reads it.
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        action = "append" if self.multiple else "store"
        # The name itself is the key: click does not record which spelling of an option was used.
        for old in self.deprecated_names:
            parser.add_option(obj=self, opts=[old], dest=old, action=action, nargs=self.nargs)

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        assert self.name is not None
        new = max(self.opts, key=len)
        for old in self.deprecated_names:
            if old not in opts:
                continue
            # The parser loses the order of the two, so neither can win.
            if self.name in opts:
                raise click.UsageError(f"{old} is the old name of {new}: leave it out", ctx)
            # A completion runs this too, on a line that its user still writes.
            if not ctx.resilient_parsing:
                warn_renamed(old, new)
            opts = {**opts, self.name: opts[old]}
        value, source = super().consume_value(ctx, opts)
        if ctx.resilient_parsing or source is not ParameterSource.DEFAULT:
            return value, source
        setting = option_sources.find_setting(_words(ctx), self)
        if setting is None:
            return value, source
        return self._converted(ctx, setting), ParameterSource.DEFAULT_MAP

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        names = option_sources.variables(_words(ctx), self)
        own = next((text for name in names if (text := os.environ.get(name))), None)
        return own or super().resolve_envvar_value(ctx)

    def _converted(self, ctx: click.Context, setting: option_sources.Setting) -> Any:
        # Here already, so that an error can name the place of the value.
        value = setting.value
        if self.multiple and not isinstance(value, list):
            value = [value]
        try:
            self.type_cast_value(ctx, value)
        except click.UsageError as error:
            raise click.UsageError(f"{setting.source}: {error.message}", ctx) from error
        return value


def _words(ctx: click.Context) -> str:
    """Return what follows ``worker`` in the command, such as ``orders list``."""
    return ctx.command_path.partition(" ")[2]


def command(name: str | None = None, **attrs: Any) -> Callable[[Body], ExitCodeCommand]:
    """Make a function that returns an exit code a command."""
    return click.command(name, cls=ExitCodeCommand, **attrs)


def option(*names: str, **attrs: Any) -> Decorator:
    """Add an option; ``deprecated_names`` are those that it had before."""
    return click.option(*names, cls=Option, **attrs)


def options(*decorators: Decorator) -> Decorator:
    """Join options into one decorator; the help lists them in this order."""

    def decorated(function: Body) -> Body:
        # click lists the option that was added last first.
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorated


# --- a workflow and its steps ---------------------------------------------------------------------


def _set_file_limit(context: click.Context, parameter: click.Parameter, value: float) -> None:
    # The help needs none of what reads files.
    from worker.workflow.documents.document import set_file_limit

    if not context.resilient_parsing:
        set_file_limit(int(value * 2**20))


file_limit = option(
    "--file-limit", type=SIZE, default=20.0, metavar="MB", expose_value=False,
    callback=_set_file_limit, help="Largest file of a workflow or a job.  [default: 20]",
)  # fmt: skip
pick_workflow = options(
    option(
        "--workflow",
        metavar="NAME",
        help="Workflow of a project, by key, id or name.",
        shell_complete=complete.workflow_names,
    ),
    file_limit,
)
input_state = options(
    option("--input", "-i", "--state-path", "-s", "input_file", metavar="FILE|-",
           help="Input state, as JSON."),
    option("--input-json", "-S", metavar="JSON",
           help="Input state itself, such as '{\"data\": {}}'."),
)  # fmt: skip


def start_at(*old: str, default: str | None = "", help: str = "Start at this step.") -> Decorator:
    """Add ``--start-at``, with the names that it had before."""
    return option(
        "--start-at", metavar="STEP", default=default, deprecated_names=old, help=help,
        shell_complete=complete.step_ids,
    )  # fmt: skip


def stop_after(*old: str) -> Decorator:
    """Add ``--stop-after``, with the names that it had before."""
    return option(
        "--stop-after", metavar="STEP", default="", deprecated_names=old,
        help="Stop after this step.", shell_complete=complete.step_ids,
    )  # fmt: skip


only_step = option("--only", metavar="STEP", default="", help="Run this step alone.",
                   shell_complete=complete.step_ids)  # fmt: skip


def check_only(only: str, start_at: str, stop_after: str) -> None:
    """Raise UsageError where ``--only`` stands beside the options that it implies."""
    if only and (start_at or stop_after):
        raise click.UsageError(
            "--only starts and stops at one step: leave out --start-at and --stop-after"
        )


def workflow_file(help: str, *, of: str = "that file", needs_file: bool = True) -> Decorator:
    """Add ``--workflow-file FILE`` and the ``--workflow NAME`` that picks one of its workflows.

    ``of`` describes what has the workflow. Without ``needs_file`` the command itself checks, by
    :func:`check_picks`, that something does.
    """

    def decorated(function: Body) -> Body:
        @functools.wraps(function)
        def checked(*, workflow_file: Path | None, workflow: str | None, **rest: Any) -> int:
            if needs_file:
                check_picks(workflow, workflow_file)
            return function(workflow_file=workflow_file, workflow=workflow, **rest)

        return options(
            option("--workflow-file", type=PATH, metavar="FILE", help=help),
            option("--workflow", metavar="NAME", deprecated_names=["--pick"],
                   shell_complete=complete.workflow_names,
                   help=f"Workflow of {of}, by key, id or name."),
        )(checked)  # fmt: skip

    return decorated


def check_picks(workflow: str | None, workflow_file: Path | None) -> None:
    """Raise UsageError where ``--workflow`` has no file to pick from."""
    if workflow is None:
        return
    # --workflow named the file before: an alias would read a file's name as a workflow's.
    if is_file(workflow):
        from worker.sinks.terminal_text import shell_word  # only for a mistake

        raise click.UsageError(
            f"--workflow picks a workflow by its name: write --workflow-file {shell_word(workflow)}"
        )
    if workflow_file is None:
        raise click.UsageError("--workflow picks a workflow of a file: add --workflow-file FILE")


# --- limits ---------------------------------------------------------------------------------------

# The names of the parameters are the fields of Limits.
run_limits = options(
    option("--timeout", "timeout_s", type=limit_type("timeout_s"), metavar="SECONDS",
           help="Kill the run after this time.  [default: the file's, else 300]"),
    option("--memory", "memory_mb", type=limit_type("memory_mb"), metavar="MB",
           help="Kill the run above this memory.  [default: the file's, else 500]"),
    option("--state-limit", "state_mb", type=limit_type("state_mb"), metavar="MB",
           help="Kill the run for a larger state.  [default: the file's, else memory / 4]"),
    option("--payload-limit", "payload_mb", type=limit_type("payload_mb"), metavar="MB",
           help="Withhold larger outputs from the events.  [default: the file's, else 10]"),
    option("--max-executions", "executions", type=limit_type("executions"), metavar="N",
           help="Kill the run after so many executions of steps.  [default: 250000]"),
    option("--max-events", "events_mb", type=limit_type("events_mb"), metavar="MB",
           help="Kill the run when its events are larger.  [default: 256]"),
    option("--fuel-limit", "fuel", type=limit_type("fuel"), metavar="N",
           help="Kill the run after so many instructions, such as 50M.  [default: none]"),
)  # fmt: skip
fuel = option("--fuel", "counts_fuel", is_flag=True,
              help="Count the engine's instructions for each step: the same number on every "
                   "machine. Runs take about a tenth longer.")  # fmt: skip

# --- what a run may do ----------------------------------------------------------------------------

permissions = options(
    option("--credentials", metavar="FILE", type=PATH,
           help="Credentials by the names that steps use, as JSON or YAML."),
    option("--allow-host", "allow_hosts", multiple=True, metavar="HOST[:PORT]",
           help="Let adaptors make requests to this host too, or to *.DOMAIN."),
    option("--collections", metavar="DIR|URL",
           help="Collections: a folder of JSON files, or OpenFn's service, such as "
                "https://app.openfn.org/collections with its token in WORKER_COLLECTIONS_TOKEN."),
)  # fmt: skip
no_python = option("--no-python", is_flag=True, help="Refuse workflows that have Python steps.")
allow_python = options(
    option("--allow-python", is_flag=True, help="Execute the Python steps of orders."),
    # The default since then: the option stays for the units and scripts that name it.
    option("--no-python", is_flag=True, hidden=True),
)

openfn_ways = options(
    option("--permissive-globals", is_flag=True,
           help="Let jobs name URL, structuredClone and others that crash on OpenFn."),
    option("--payload", type=OneOf(["real", "openfn"]), default=None,
           help="What follows an output over the payload limit: openfn redacts its data."),
)  # fmt: skip

capacity = option("--capacity", type=WholeNumberRange(1, 1000), default=os.cpu_count() or 2,
                  metavar="N",
                  help="How many runs execute at once.  [default: one for each core]")  # fmt: skip
isolation = option(
    "--isolation",
    type=OneOf(["runner", "process", "strict"]),
    default="runner",
    show_default=True,
    help="Run after run in one process, or each in a new one; strict does not start without all "
    "layers of confinement.",
)
max_limits = options(
    option("--max-timeout", "timeout_s", type=limit_type("timeout_s"), metavar="SECONDS",
           deprecated_names=["--timeout"],
           help="Longest timeout that an order or a file can set.  [default: 300]"),
    option("--max-memory", "memory_mb", type=limit_type("memory_mb"), metavar="MB",
           deprecated_names=["--memory"],
           help="Largest memory limit that an order or a file can set.  [default: 500]"),
    option("--max-state", "state_mb", type=limit_type("state_mb"), metavar="MB",
           help="Largest state limit.  [default: a quarter of --max-memory]"),
    option("--max-payload", "payload_mb", type=limit_type("payload_mb"), metavar="MB",
           help="Largest payload limit.  [default: 10]"),
    option("--max-log-payload", "log_payload_mb", type=limit_type("log_payload_mb"), metavar="MB",
           help="Largest limit of one log line.  [default: 1]"),
    option("--max-executions", "executions", type=limit_type("executions"), metavar="N",
           help="Kill a run after so many executions of steps.  [default: 250000]"),
    option("--max-events", "events_mb", type=limit_type("events_mb"), metavar="MB",
           help="Kill a run when its events are larger.  [default: 256]"),
    option("--fuel-limit", "fuel", type=limit_type("fuel"), metavar="N",
           help="Most instructions of a run, such as 50M; a lower limit of an order counts.  "
                "[default: none]"),
)  # fmt: skip

# --- output ---------------------------------------------------------------------------------------

as_json = option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
jobs = option("--jobs", "-j", type=WholeNumberRange(1, 1_000), default=usable_cores, metavar="N",
              help="How many run at once; 1 is one after the other.  "
                   "[default: one for each usable core]")  # fmt: skip


def write_cases(*old: str, help: str) -> Decorator:
    """Add ``--write-cases``, with the names that it had before."""
    return option("--write-cases", type=PATH, metavar="FILE", deprecated_names=old, help=help)


# --- a fleet --------------------------------------------------------------------------------------


def broker_options(function: Body) -> Body:
    """Add the options of a broker; the function gets a ``connection``."""
    return _connected(_broker_options)(function)


def client_options(function: Body) -> Body:
    """Add the options of a client: those of a broker, and ``--reply-timeout``."""
    reply_timeout = option("--reply-timeout", type=DURATION, default=10.0, show_default=True,
                           metavar="SECONDS", deprecated_names=["--patience"],
                           help="How long the control plane may take to answer.")  # fmt: skip
    return _connected(options(_broker_options, reply_timeout))(function)


def _connected(decorator: Decorator) -> Decorator:
    def decorated(function: Body) -> Body:
        @functools.wraps(function)
        def connected(
            *, mqtt: str, topic_prefix: str, ca: Path | None, cert: Path | None, key: Path | None,
            packet_limit: float | None, reply_timeout: float = 10.0, **rest: Any,
        ) -> int:  # fmt: skip
            # Only the commands of a fleet need the client and its messages.
            from worker.cli.connection import parse

            connection = parse(
                mqtt, topic_prefix, ca=ca, cert=cert, key=key, packet_limit_mb=packet_limit,
                reply_timeout_s=reply_timeout,
            )  # fmt: skip
            return function(connection=connection, **rest)

        return decorator(connected)

    return decorated


_broker_options = options(
    option("--mqtt", envvar="WORKER_MQTT", default="mqtt://127.0.0.1", metavar="URL",
           show_default=True, show_envvar=True,
           help="Broker: mqtt[s]://[NAME:PASSWORD@]HOST[:PORT], or ws[s]://HOST/PATH for "
                "WebSockets. WORKER_MQTT_PASSWORD can hold the password instead."),
    option("--topic-prefix", default="worker", show_default=True, metavar="NAME",
           deprecated_names=["--root"], help="First level of all topics."),
    option("--ca", type=PATH, metavar="FILE",
           help="Certificate of the authority that signed the broker's, for TLS."),
    option("--cert", type=PATH, metavar="FILE", help="Client certificate, for TLS."),
    option("--key", type=PATH, metavar="FILE", help="Key of --cert."),
    option("--packet-limit", type=SIZE, metavar="MB",
           help="Send and receive no larger MQTT packets, such as 128kB.  "
                "[default: the limit of the broker]"),
)  # fmt: skip

store_workflows = option("--workflows", type=PATH, multiple=True, metavar="FILE|DIR",
                         help="Workflows that orders can name.")  # fmt: skip
metrics_listen = option("--metrics-listen", metavar="[HOST:]PORT", deprecated_names=["--http"],
                        help="Serve /metrics for Prometheus and /health here.")  # fmt: skip
quiet_log = option("--quiet", "-q", is_flag=True, help="Log only warnings and errors.")
wait_for_run = option("--wait", is_flag=True, help="Show the run until it ends.")
