"""The command: the only place that wires files, runs and sinks together."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from worker.cli import fleet_options as cli_control
from worker.cli import live_options as cli_live
from worker.errors import WorkerError
from worker.sinks.terminal_text import printable
from worker.version import VERSION

EXIT_USAGE = 2
EXIT_DEFECT = 5

RUN_EXAMPLES = """
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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="worker")
def cli() -> None:
    """Run OpenFn workflows on this machine: the same rules, a real sandbox, no server."""


@cli.command(epilog=RUN_EXAMPLES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workflow", metavar="NAME", help="Which workflow of a project, by key, id or name.")
@click.option("--input", "-i", "input_file", metavar="FILE|-", help="The input state, as JSON.")
@click.option("--start", metavar="STEP", default="", help="Start at this step.")
@click.option("--end", metavar="STEP", default="", help="Stop after this step.")
@click.option("--only", metavar="STEP", default="", help="Run this step alone.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="Kill the run after this time.  [default: 300]")  # fmt: skip
@click.option("--memory", type=click.IntRange(min=8), metavar="MB",
              help="Kill the run above this memory.  [default: 500]")  # fmt: skip
@click.option("--state-limit", type=click.FloatRange(min=0, min_open=True), metavar="MB",
              help="Kill the run for a larger state.  [default: memory / 4]")  # fmt: skip
@click.option("--payload-limit", type=click.FloatRange(min=0, min_open=True), metavar="MB",
              help="Withhold larger outputs from the events.  [default: 10]")  # fmt: skip
@click.option("--credentials", metavar="FILE", type=click.Path(path_type=Path),
              help="Credentials by the names that steps use, as JSON or YAML.")  # fmt: skip
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="HOST[:PORT]",
              help="Let adaptors make requests to this host too, or to *.DOMAIN.")  # fmt: skip
@click.option("--record", type=click.Path(path_type=Path), metavar="DIR",
              help="Record the run here, with its requests, for worker replay.")  # fmt: skip
@click.option("--scrub", multiple=True, metavar="REGEX",
              help="Keep what this matches out of the recording.")  # fmt: skip
@click.option("--no-python", is_flag=True, help="Refuse workflows that have Python steps.")
@click.option("--output", "-o", metavar="FILE|-", help="Write the final state here, as JSON.")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE",
              help="Write every event here, one a line.")  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Events on stdout, one a line; logs on stderr."
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing of the run.")
@click.option("--debug", is_flag=True, help="Print debug lines of the run too.")
def run(**options: Any) -> None:
    """Run the workflow in FILE to its end, and show every step.

    FILE is a project.yaml (version 3 or 4.0), one workflow of it, an execution plan as JSON or
    YAML, or a Lightning run.
    """
    from worker.cli.run import run as run_file

    sys.exit(run_file(**options))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workflow", metavar="NAME", help="Only this workflow of a project.")
def validate(file: Path, workflow: str | None) -> None:
    """Check that the workflows in FILE can be read, and could run.

    \b
    Examples:
      worker validate project.yaml
      worker validate project.yaml --workflow "Case referral"
    """
    from worker.cli.validate import validate as validate_file

    sys.exit(validate_file(file, workflow))


@cli.command()
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--workflow", metavar="NAME", help="Only this workflow of a project.")
@click.option("--format", type=click.Choice(["text", "json", "sarif", "github"]), default="text",
              show_default=True, help="How to write the findings down.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(["note", "warning", "error"]), default="warning",
              show_default=True, help="The least severity that gives exit code 1.")  # fmt: skip
def lint(files: tuple[Path, ...], workflow: str | None, format: str, fail_on: str) -> None:
    """Find mistakes in the workflows in FILES: in edges, conditions, adaptors and names.

    A comment takes a finding back, with a reason, on its line or above it:
    # worker-lint: ignore W008 -- the newest is wanted

    \b
    Examples:
      worker lint graphs/referral.yaml
      worker lint project.yaml --format sarif > lint.sarif
    """
    from worker.cli.lint import lint as lint_files

    sys.exit(lint_files(files, workflow, format, fail_on))


@cli.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1)
@click.option("-k", "keyword", default="", metavar="TEXT", help="Only cases with this in the name.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=os.cpu_count() or 2,
              help="How many cases run at once.  [default: one for each core]")  # fmt: skip
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the verdicts here as JUnit XML.")  # fmt: skip
@click.option("--coverage", type=click.Path(path_type=Path), metavar="FILE",
              help="Add up here, as JSON, which rules were exercised.")  # fmt: skip
@click.option("--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="Exit 1 where fewer of a workflow's rules were exercised.")  # fmt: skip
@click.option("--draw", type=click.Path(path_type=Path), metavar="FILE",
              help="Draw the coverage on the graph: .svg, .png, .html, .mmd or .dot.")  # fmt: skip
@click.option("--update", is_flag=True,
              help="Write what was found into the cases that expected something else.")  # fmt: skip
@click.option("--schema", is_flag=True, help="Print the JSON Schema of case files, and leave.")
def test(paths: tuple[Path, ...], **options: Any) -> None:
    """Run the cases in PATHS: files that end in .cases.yaml, or folders that hold such.

    A case scripts what steps do, and says where the run must go.

    \b
    Examples:
      worker test graphs
      worker test graphs/referral.cases.yaml -k nurse --junit junit.xml
      worker test . --coverage rules.json --fail-under 90
    """
    from worker.cli.test import print_schema
    from worker.cli.test import test as test_files

    sys.exit(print_schema() if options.pop("schema") else test_files(paths, **options))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workflow", metavar="NAME", help="Which workflow of a project, by key, id or name.")
@click.option("--input", "-i", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The input state, as JSON: what it decides is not varied.")  # fmt: skip
@click.option("--start", metavar="STEP", default="", help="Start at this step.")
@click.option("--end", metavar="STEP", default="", help="Stop after this step.")
@click.option("--ask", "questions", multiple=True, metavar="SENTENCE",
              help="Look for a run against this sentence, among all combinations.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Every combination, not only what differs.")
@click.option("--aborts", is_flag=True, help="Show the rows in which a step ends the run.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True,
              help="The most rows.")  # fmt: skip
@click.option("--write-cases", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the rows down as cases, for worker test.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Rows and answers as JSON, one a line.")
def explore(file: Path, **options: Any) -> None:
    """Show every way that the workflow in FILE can go, without running any of its steps.

    Each step succeeds, fails, crashes or is killed; each condition says all that some state makes
    it say. Sentences that can be asked:

    \b
      no failure of STEP goes unhandled      no failure goes unhandled
      STEP always runs                       STEP never runs
      STEP always runs after STEP [succeeds|fails]
      STEP never runs after STEP [succeeds|fails]
      never both STEP and STEP

    \b
    Examples:
      worker explore graphs/referral.yaml
      worker explore graphs/referral.yaml --ask "no failure of fetch-patient goes unhandled"
      worker explore graphs/router.yaml --write-cases router.cases.yaml

    \b
    Exit code: 0 every sentence holds, 1 one does not, 2 wrong usage or an unreadable file.
    """
    from worker.cli.explore import explore as explore_file

    sys.exit(explore_file(file, **options))


@cli.command()
@click.argument(
    "folders", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR..."
)
@click.option("--workflow", "workflow_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Run this workflow instead of the recorded one.")  # fmt: skip
@click.option("--pick", metavar="NAME", help="Which workflow of that file, by key, id or name.")
@click.option("--from", "start", metavar="STEP", default="",
              help="Begin at this step, with its recorded input.")  # fmt: skip
@click.option("--until", "end", metavar="STEP", default="", help="Stop after this step.")
@click.option("--only", metavar="STEP", default="", help="Run this step alone.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=os.cpu_count() or 2,
              help="How many run at once.  [default: one for each core]")  # fmt: skip
@click.option("--write-case", "write_case_to", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the recordings down as cases, for worker test.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One recording a line, as JSON.")
def replay(start: str, end: str, only: str, **options: Any) -> None:
    """Run recordings again, offline, and say where they first differ.

    Requests are answered from the recording; time and chance are those of the recording too.

    \b
    Examples:
      worker run project.yaml --credentials secrets.yaml --record runs/first
      worker replay runs/first
      worker replay runs --workflow project.yaml
      worker replay runs/first --from notify --write-case notify.cases.yaml

    \b
    Exit code: 0 nothing differs, 1 something does, 2 wrong usage or nothing to read.
    """
    from worker.cli.replay import replay_all
    from worker.errors import UsageError
    from worker.replay.replayer import ReplayPart

    if only and (start or end):
        raise UsageError("--only says where to start and end: leave out --from and --until")
    sys.exit(replay_all(part=ReplayPart(start=only or start, end=only or end), **options))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workflow", metavar="NAME", help="Which workflow of a project, by key, id or name.")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE|-",
              help="Where to; its name tells the format.  [default: Mermaid, printed]")  # fmt: skip
@click.option("--format", type=click.Choice(["svg", "png", "html", "mmd", "dot"]),
              help="What to draw it as.")  # fmt: skip
def graph(file: Path, workflow: str | None, output: Path | None, format: str | None) -> None:
    """Draw the workflow in FILE, even one that could not run.

    \b
    Examples:
      worker graph graphs/referral.yaml -o referral.svg
      worker graph project.yaml --workflow "Case referral"
    """
    from worker.cli.graph import graph as draw_graph

    sys.exit(draw_graph(file, workflow, output, format))


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="JOURNAL|RECORDING")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE|-",
              default="report.html", show_default=True, help="Where to write it.")  # fmt: skip
@click.option("--against", type=click.Path(path_type=Path), metavar="JOURNAL|RECORDING",
              help="Show this run beside it, with the first difference.")  # fmt: skip
@click.option("--replay", "replayed", is_flag=True,
              help="Replay the recording, and show that run beside it.")  # fmt: skip
@click.option("--workflow", "workflow_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The workflow that a journal's run was of, or the one to replay.")  # fmt: skip
@click.option("--pick", metavar="NAME", help="Which workflow of that file, by key, id or name.")
def report(source: Path, **options: Any) -> None:
    """Write a run down as a page to look at: one file that opens anywhere, offline.

    It shows the path on the graph, the time that each step took, the states and what changed in
    them, errors in their source, edges that were not followed and why, and the log.

    \b
    Examples:
      worker report runs/first -o report.html
      worker report run.jsonl --workflow project.yaml
      worker report runs/first --against runs/second
      worker report runs/first --replay

    \b
    Exit code: 0 written, whatever the run came to, 2 wrong usage or nothing to read.
    """
    from worker.cli.report import report as report_run

    sys.exit(report_run(source, **options))


@cli.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path), metavar="DIR",
              required=True, help="Where to write the recording.")  # fmt: skip
@click.option("--workflow", type=click.Path(path_type=Path), metavar="FILE",
              help="The workflow, which the CLI's cache does not hold.")  # fmt: skip
@click.option("--pick", metavar="NAME", help="Which workflow of that file, by key, id or name.")
def import_(source: Path, folder: Path, workflow: Path | None, pick: str | None) -> None:
    """Make a recording of a run that was recorded elsewhere.

    SOURCE is a Lightning run as JSON (with its steps, dataclips and logs), or a folder of the
    OpenFn CLI's cached steps. Steps with an adaptor of their own do in a replay what was seen of
    them, as their requests are not known.

    \b
    Examples:
      worker import run.json -o runs/imported
      worker import .cli-cache/referral --workflow workflow.json -o runs/cached
    """
    from worker.cli.import_run import import_run

    sys.exit(import_run(source, folder, workflow, pick))


@cli.group()
def adaptors() -> None:
    """Install real adaptors from npm, list and remove them.

    Installing needs Node and npm; running workflows does not.
    """


@adaptors.command("install")
@click.argument("specifiers", nargs=-1, metavar="ADAPTOR...")
@click.option("--project", type=click.Path(path_type=Path), metavar="FILE",
              help="Install what the workflows of this file name.")  # fmt: skip
def adaptors_install(specifiers: tuple[str, ...], project: Path | None) -> None:
    """Fetch adaptors, bundle them for the sandbox, and keep them in the cache.

    What @latest comes to is written into adaptors.lock.json, beside the project.

    \b
    Examples:
      worker adaptors install @openfn/language-http@7.2.10 fhir@5.0.15
      worker adaptors install --project project.yaml
    """
    from worker.cli.adaptors import install

    sys.exit(install(specifiers, project))


@adaptors.command("list")
@click.option("--json", "as_json", is_flag=True, help="One adaptor a line, as JSON.")
def adaptors_list(as_json: bool) -> None:
    """Show what is installed."""
    from worker.cli.adaptors import list_installed

    sys.exit(list_installed(as_json=as_json))


@adaptors.command("remove")
@click.argument("specifiers", nargs=-1, required=True, metavar="ADAPTOR...")
def adaptors_remove(specifiers: tuple[str, ...]) -> None:
    """Remove adaptors: one version, or all where none is given.

    \b
    Examples:
      worker adaptors remove http@7.2.10
      worker adaptors remove fhir
    """
    from worker.cli.adaptors import remove

    sys.exit(remove(specifiers))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes this command in SHELL.

    \b
    Examples:
      worker completion bash >> ~/.bashrc
      worker completion fish > ~/.config/fish/completions/worker.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "worker", "_WORKER_COMPLETE").source())


for _command in (*cli_control.COMMANDS, *cli_live.COMMANDS):
    cli.add_command(_command)


def main() -> None:
    """The command, with our own errors and defects said in a line."""
    try:
        cli.main(prog_name="worker", standalone_mode=True)
    except WorkerError as error:
        fail(str(error), EXIT_USAGE)
    except BrokenPipeError:
        # Whoever read our output has gone; what is left of it has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_DEFECT)
    except Exception as error:
        if os.environ.get("WORKER_DEBUG"):
            raise
        text = f"a defect in worker, please report it: {type(error).__name__}: {error}"
        fail(f"{text} (WORKER_DEBUG=1 shows where)", EXIT_DEFECT)


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on stderr, and leave."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
