"""The command ``worker``: all of its commands, and errors as one line."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

import click

from worker.cli.entry import EXIT_DEFECT, EXIT_INTERRUPTED, EXIT_MACHINE, EXIT_USAGE
from worker.cli.groups import LazyCommand, LazyGroup
from worker.errors import PlanError, WorkerError, name_in_message, reason_of
from worker.sinks.terminal_text import excerpt_of, printable
from worker.version import VERSION

EXTRAS = {
    "alembic": "fleet",
    "sqlalchemy": "fleet",
    "jwt": "lightning",
    "cryptography": "lightning",
    "dask": "cluster",
    "distributed": "cluster",
    "fsspec": "cluster",
    "websockets": "lightning",
}
"""Packages that only an extra installs, with its name."""

# A table and no import: `worker --help` and the start of a command load nothing else.
SECTIONS = {
    "Run and inspect": (
        LazyCommand("run", "worker.cli.run:run", "Run a workflow to its end and show every step."),
        LazyCommand(
            "replay", "worker.cli.replay:replay_all",
            "Run recordings again, offline, and show the first difference.",
        ),
        LazyCommand(
            "campaign", "worker.cli.replay_campaign:campaign",
            "Replay many recordings with versions of a workflow.",
        ),
        LazyCommand(
            "import", "worker.cli.import_run:import_run",
            "Make a recording of a run of Lightning or the OpenFn CLI.",
        ),
        LazyCommand(
            "audit", "worker.cli.audit:audit", "Check logs of runs against the rules of a run."
        ),
        LazyCommand(
            "fetch", "worker.cli.fetch:fetch",
            "Get a project of Lightning as it is deployed, by its UUID.",
        ),
        LazyCommand("recording", "worker.cli.recordings:recording", "Look into recordings."),
        LazyCommand(
            "report", "worker.cli.report:report", "Write a run as one HTML page that opens offline."
        ),
        LazyCommand(
            "graph", "worker.cli.graph:graph", "Draw a workflow, even one that could not run."
        ),
    ),
    "Test": (
        LazyCommand(
            "test", "worker.cli.test:test", "Run cases: what steps do, and where the run must go."
        ),
        LazyCommand(
            "explore", "worker.cli.explore:explore",
            "List all paths of a workflow without running its steps.",
        ),
        LazyCommand(
            "diff", "worker.cli.diff:diff", "Show where two versions of a workflow differ."
        ),
        LazyCommand(
            "fuzz", "worker.cli.fuzz:fuzz",
            "Generate inputs from samples; show new endings.",
        ),
        LazyCommand(
            "lint", "worker.cli.lint:lint",
            "Find mistakes in edges, conditions, adaptors and names.",
        ),
        LazyCommand(
            "validate", "worker.cli.validate:validate",
            "Check that workflows can be read and run.",
        ),
    ),
    "Fleet": (
        LazyCommand(
            "dev", "worker.cli.dev:dev",
            "Run a whole fleet with its dashboard, for a first try.",
        ),
        LazyCommand(
            "control-plane", "worker.cli.control_plane:control_plane",
            "Run the control plane: queue runs and lease them to workers.",
        ),
        LazyCommand(
            "start", "worker.cli.start:start",
            "Run a worker: claim runs, execute them and report them.",
        ),
        LazyCommand(
            "simulate", "worker.cli.simulate:simulate_fleet",
            "Check a fleet under faults, on virtual time.",
        ),
        LazyCommand(
            "conformance", "worker.cli.conformance:conformance",
            "Check that a worker or control plane follows the protocol.",
        ),
        LazyCommand(
            "deploy", "worker.cli.deploy:deploy",
            "Deploy the workflows of a project with their triggers.",
        ),
        LazyCommand("submit", "worker.cli.submit:submit", "Submit a work order for a workflow."),
        LazyCommand("retry", "worker.cli.retry:retry", "Run a work order again, or many."),
        LazyCommand(
            "cancel", "worker.cli.cancel:cancel", "Cancel a run, or many orders, and wait."
        ),
        LazyCommand("orders", "worker.cli.orders:orders", "List, show and change work orders."),
        LazyCommand("runs", "worker.cli.runs:runs", "List, show, record, retry and cancel runs."),
        LazyCommand("workers", "worker.cli.workers:workers", "List the workers of a fleet."),
        LazyCommand(
            "alerts", "worker.cli.fleet_alerts:alerts",
            "List and acknowledge the alerts of a fleet.",
        ),
        LazyCommand(
            "workflows", "worker.cli.workflows:workflows",
            "List, show and roll back the workflows of a fleet.",
        ),
        LazyCommand(
            "watch", "worker.cli.watch:watch",
            "Watch orders, runs, workers and alerts as they change.",
        ),
        LazyCommand(
            "dashboard", "worker.cli.dashboard:dashboard",
            "Show a fleet in the browser; cancel and retry runs there.",
        ),
    ),
    "Adaptors": (
        LazyCommand(
            "adaptors", "worker.cli.adaptors:adaptors",
            "Install real adaptors from npm, list and remove them.",
        ),
    ),
    "Machine": (
        LazyCommand(
            "engine", "worker.cli.prepare_engine:engine",
            "Prepare the engine that executes JavaScript.",
        ),
        LazyCommand(
            "doctor", "worker.cli.doctor:doctor",
            "Check what this machine has of what the worker needs.",
        ),
    ),
    "Shell": (
        LazyCommand(
            "config", "worker.cli.config:config",
            "Print the options that the environment and files set.",
        ),
        LazyCommand(
            "completion", "worker.cli.completion:completion",
            "Print the script that completes commands in a shell.",
        ),
    ),
}  # fmt: skip


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    aliases={"serve": "start", "control": "control-plane"},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, prog_name="worker")
def cli() -> None:
    """Run OpenFn workflows: the same rules, a real sandbox, no server.

    \b
    Examples:
      worker run project.yaml --input state.json
      worker test graphs
      worker run --help
      worker completion bash >> ~/.bashrc
    """


def main() -> None:
    """Run the command; print errors, ours and unexpected ones, as one line on stderr."""
    try:
        sys.exit(cli.main(prog_name="worker", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        from worker.cli.usage_errors import describe

        fail(describe(error), EXIT_USAGE)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except PlanError as error:
        fail("\n".join([str(error), *excerpt_of(error)]), error.exit_code)
    except WorkerError as error:
        fail(str(error), error.exit_code)
    except OSError as error:
        # A full disk, a missing permission: of the machine, and not of this program.
        where = f"{name_in_message(str(error.filename))}: " if error.filename else ""
        code = EXIT_USAGE if error.errno == errno.ENAMETOOLONG else EXIT_MACHINE
        fail(f"{where}{reason_of(error)}", code)
    except Exception as error:
        if os.environ.get("WORKER_DEBUG"):
            raise
        fail_unexpectedly(error)


def fail_unexpectedly(error: Exception) -> NoReturn:
    """Exit for an error that is no :class:`WorkerError`: an absent extra, or a defect."""
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = f"pip install 'workflow-worker[{EXTRAS[error.name]}]'"
        fail(f"this needs an extra: {extra}", EXIT_USAGE)
    fail(
        f"this is a defect of worker {VERSION}: {type(error).__name__}: {error}\n"
        "please report it in the project's issue tracker, with the command and its traceback "
        "(WORKER_DEBUG=1 shows it)",
        EXIT_DEFECT,
    )


def fail(message: str, code: int) -> NoReturn:
    """Print an error on stderr and exit."""
    for number, line in enumerate(message.split("\n")):
        print(f"{'' if number else 'error: '}{printable(line)}", file=sys.stderr)
    sys.exit(code)
