"""The structure of the command: its groups, its help, and the names that it had before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner, Result

from worker.cli.groups import LazyGroup
from worker.cli.main import cli
from worker.cli.options import Option
from worker.cli.query_filters import print_remaining
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.client_messages import OrderQuery


def leaves(path: str = "", group: click.Command = cli) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands that are no groups, with what one types to get them."""
    assert isinstance(group, LazyGroup)
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        typed = f"{path} {name}".strip()
        yield from leaves(typed, command) if isinstance(command, LazyGroup) else [(typed, command)]


def groups(path: str = "", group: click.Command = cli) -> Iterator[tuple[str, LazyGroup]]:
    assert isinstance(group, LazyGroup)
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from groups(f"{path} {name}".strip(), command)


COMMANDS = dict(leaves())
GROUPS = dict(groups())


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="worker")


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GROUPS)
def test_a_groups_help_is_that_of_its_commands(path: str) -> None:
    """A group knows it without an import, so it is written twice."""
    group = GROUPS[path]
    for entries in group.sections.values():
        for entry in entries:
            command = group.get_command(click.Context(group), entry.name)
            assert command is not None and command.help is not None
            assert command.help.partition("\n")[0] == entry.summary


@pytest.mark.parametrize("path", GROUPS)
def test_no_line_of_a_groups_list_is_cut_at_80_columns(path: str) -> None:
    lines = invoke(*path.split(), "--help").stdout.splitlines()
    for entries in GROUPS[path].sections.values():
        for entry in entries:
            (line,) = (line for line in lines if line.split()[:1] == [entry.name])
            assert line.endswith(entry.summary) and len(line) <= 80


def test_the_help_is_in_sections() -> None:
    text = invoke("--help").stdout
    titles = ("Run and inspect:", "Test:", "Fleet:", "Adaptors:")
    places = [text.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    for hidden in ("serve", "control "):
        assert f"\n  {hidden}" not in text


@pytest.mark.parametrize("path", COMMANDS)
def test_each_command_has_examples_that_name_it(path: str) -> None:
    text = invoke(*path.split(), "--help").stdout
    short = path.removeprefix("orders ").removeprefix("runs ")
    assert "Examples:" in text
    assert f"  worker {path} " in text or f"  worker {path}\n" in text or f"worker {short}" in text


@pytest.mark.parametrize("path", COMMANDS)
def test_help_begins_with_a_verb_and_ends_its_summary(path: str) -> None:
    summary = (COMMANDS[path].help or "").partition("\n")[0]
    verb = summary.split()[0].rstrip(":")
    assert summary.endswith(".") and verb[0].isupper() and not verb.endswith("s")


def test_the_help_of_the_command_imports_no_command() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from worker.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "print(*(name for name in sys.modules if name.startswith('worker.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert set(done.stdout.split()) == {
        "worker.cli", "worker.cli.entry", "worker.cli.main", "worker.cli.groups", "worker.cli.renamed",
        "worker.errors", "worker.sinks", "worker.sinks.terminal_text", "worker.version",
        "worker.util", "worker.util.lazy_exports",
    }  # fmt: skip


# --- short forms ----------------------------------------------------------------------------------


class Chosen(Exception):
    pass


@pytest.mark.parametrize(
    ("typed", "command", "arguments"),
    [
        ("orders", "list", {"status": None}),
        ("orders --status failed", "list", {"status": "failed"}),
        ("orders --limit 5 --json", "list", {"limit": 5, "as_json": True}),
        ("orders 5f", "show", {"order": "5f"}),
        ("orders --json 5f", "show", {"order": "5f", "as_json": True}),
        ("orders --mqtt mqtt://x 5f", "show", {"order": "5f"}),
        ("orders --root clinic 5f", "show", {"order": "5f", "topic_prefix": "clinic"}),
        ("orders show list", "show", {"order": "list"}),
        ("runs", "list", {"status": None}),
        ("runs 5f --follow", "show", {"run": "5f", "follow": True}),
        ("runs -f 5f", "show", {"run": "5f", "follow": True}),
        ("workers", "list", {"as_json": False}),
        ("workflows --json", "list", {"as_json": True}),
    ],
)
def test_list_and_show_can_be_left_out(
    typed: str, command: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def invoked(self: click.Command, ctx: click.Context) -> None:
        if not isinstance(self, click.Group):
            raise Chosen(self.name, ctx.params)
        click.Group.invoke(self, ctx)

    chosen = COMMANDS[f"{typed.split()[0]} {command}"]
    monkeypatch.setattr(type(chosen), "invoke", invoked)
    result = invoke(*typed.split())
    assert isinstance(result.exception, Chosen), result.output
    name, params = result.exception.args
    assert name == command
    assert arguments.items() <= params.items()


@pytest.mark.parametrize("name", ["submit", "retry", "cancel"])
def test_what_changes_an_order_needs_no_group(name: str) -> None:
    assert COMMANDS[name] is COMMANDS[f"orders {name}"]


def test_an_unknown_command_is_an_error_that_names_the_nearest() -> None:
    result = invoke("explor")
    assert result.exit_code == 2
    assert "unknown command 'explor'; did you mean 'explore'?" in result.stderr


# --- old names ------------------------------------------------------------------------------------

# The old names that work until 0.2.0, with a value that each accepts.
OLD_NAMES = {
    "run": {"--start": "--start-at", "--end": "--stop-after"},
    "explore": {"--start": "--start-at", "--end": "--stop-after"},
    "submit": {
        "--start": "--start-at", "--end": "--stop-after",
        "--root": "--topic-prefix", "--patience": "--reply-timeout",
    },
    "replay": {
        "--from": "--start-at", "--until": "--stop-after", "--pick": "--workflow",
        "--write-case": "--write-cases",
    },
    "report": {"--pick": "--workflow"},
    "import": {"--pick": "--workflow"},
    "retry": {
        "--from": "--start-at", "--root": "--topic-prefix", "--patience": "--reply-timeout"
    },
    "cancel": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "orders list": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "orders show": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "runs list": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "runs show": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "runs record": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "conformance": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "workers list": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "workflows list": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "orders export": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "orders erase": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "workflows pause": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "workflows resume": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "alerts list": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "alerts acknowledge": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    # Newer than the old names, which all commands of a fleet's clients share.
    **{
        path: {"--root": "--topic-prefix", "--patience": "--reply-timeout"}
        for path in ("audit", "deploy", "diff", "workflows show", "workflows history", "workflows rollback",
                     "workflows dead-letters")
    },
    "watch": {"--root": "--topic-prefix", "--patience": "--reply-timeout"},
    "dashboard": {
        "--root": "--topic-prefix", "--patience": "--reply-timeout", "--allow-host": "--trusted-host"
    },
    "control-plane": {
        "--grace": "--disconnect-grace", "--keep": "--retain-days", "--http": "--metrics-listen",
        "--message-limit": "--payload-limit", "--root": "--topic-prefix",
    },
    "start": {
        "--timeout": "--max-timeout", "--memory": "--max-memory", "--http": "--metrics-listen",
        "--root": "--topic-prefix",
    },
    "dev": {"--timeout": "--max-timeout", "--memory": "--max-memory"},
    "adaptors install": {"--project": "--workflow-file"},
}  # fmt: skip
TABLE = [(path, old, new) for path, names in OLD_NAMES.items() for old, new in names.items()]


def parsed(path: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """Return the parameters of a command and what it wrote on stderr."""
    command = COMMANDS[path]
    required = ["x" for one in command.params if isinstance(one, click.Argument) and one.required]
    output = ["-o", "x"] if path == "import" else []
    with CliRunner().isolation() as (_, err, _):
        with command.make_context(path, [*required, *output, *arguments]) as context:
            params = dict(context.params)
        return params, err.getvalue().decode()


@pytest.mark.parametrize(("path", "old", "new"), TABLE, ids=[f"{p} {o}" for p, o, _ in TABLE])
def test_an_old_name_does_what_the_new_one_does_and_names_it(path: str, old: str, new: str) -> None:
    expected, silence = parsed(path, new, "9")
    params, warning = parsed(path, old, "9")
    assert params == expected and silence == ""
    assert warning == f"warning: {old} is now {new}; the old name works until 0.2.0\n"
    assert parsed(path, f"{old}=9")[0] == expected
    assert old not in invoke(*path.split(), "--help").stdout.split()
    with pytest.raises(click.UsageError, match=f"{old} is the old name of {new}"):
        parsed(path, old, "9", new, "9")


def test_the_table_has_all_old_names() -> None:
    short_forms = {"orders submit": "submit", "orders retry": "retry", "orders cancel": "cancel",
                   "runs retry": "retry", "runs cancel": "cancel"}  # fmt: skip
    names = {
        (short_forms.get(path, path), old)
        for path, command in COMMANDS.items()
        for param in command.params
        if isinstance(param, Option)
        for old in param.deprecated_names
    }
    assert names == {(path, old) for path, old, _ in TABLE}


def test_one_name_of_an_option_means_one_thing() -> None:
    """A word that is an old name somewhere is a name elsewhere only with its own meaning."""
    kinds: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            for name in param.opts if isinstance(param, Option) else ():
                kinds.setdefault(name, set()).add(param.metavar or "flag")
    several = {name: sorted(kind) for name, kind in kinds.items() if len(kind) > 1}
    assert several == {
        "--input": ["FILE", "FILE|-"], "-i": ["FILE", "FILE|-"],
        "--output": ["FILE", "FILE|-", "FILE|URL"], "-o": ["FILE", "FILE|-", "FILE|URL"],
        "--record": [
            "DIR|URL|on-failure[:DIR]", "FILE|on-failure[:DIR]", "flag", "on-failure[:DIR]",
        ],
    }  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [("serve", "start"), ("control", "control-plane")])
def test_the_old_name_of_a_command_is_that_command(old: str, new: str) -> None:
    result = invoke(old, "--help")
    warning = f"warning: {old} is now {new}; the old name works until 0.2.0\n"
    assert (result.stdout, result.stderr) == (invoke(new, "--help").stdout, warning)


@pytest.mark.parametrize("path", ["replay", "report", "import"])
def test_a_file_after_workflow_is_an_error_that_names_the_new_option(
    path: str, tmp_path: Path
) -> None:
    file = tmp_path / "project.yaml"
    file.write_text("{}")
    output = ["-o", str(tmp_path / "out")] if path == "import" else []
    for name in ("--workflow", "--pick"):
        result = invoke(path, str(tmp_path), *output, name, str(file))
        assert result.exit_code == 2
        assert f"write --workflow-file {file}" in result.stderr
    result = invoke(path, str(tmp_path), *output, "--workflow", "Case referral")
    assert result.exit_code == 2
    assert "add --workflow-file FILE" in result.stderr


def test_only_excludes_start_at_and_stop_after() -> None:
    for path in ("run", "replay"):
        result = invoke(path, "x", "--only", "a", "--stop-after", "b")
        assert result.exit_code == 2 and "leave out --start-at and --stop-after" in result.stderr


def test_the_status_of_orders_is_one_of_a_list() -> None:
    result = invoke("orders", "--status", "broken")
    assert result.exit_code == 2 and "unknown value 'broken'" in result.stderr


def test_a_grace_beyond_the_lease_is_an_error() -> None:
    result = invoke("control-plane", "--lease", "1", "--disconnect-grace", "2")
    assert isinstance(result.exception, UsageError)
    assert "--disconnect-grace cannot be longer than --lease" in str(result.exception)


# --- the package ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "from worker import local_fleet, connect",
        "import worker.fleet.connect; from worker import connect",
        "from worker.fleet import connect as module; from worker import connect",
        "from worker import connect; import worker.fleet.connect",
    ],
)
def test_connect_is_a_function_whatever_was_imported_before(imports: str) -> None:
    code = f"{imports}; import types, worker; assert isinstance(connect, types.FunctionType); assert connect is worker.connect"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


def test_python_runs_the_package_as_the_command() -> None:
    line = [sys.executable, "-m", "worker", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=50)
    assert done.stdout.startswith("worker, version")


async def test_a_list_that_is_cut_names_how_many_match(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Counting:
        async def count(self, query: OrderQuery, *, at_most: int) -> int:
            return min(1234, at_most)

    client = cast(Client, Counting())
    await print_remaining(client, OrderQuery(limit=50), 49, "orders")
    assert capsys.readouterr().err == ""
    await print_remaining(client, OrderQuery(limit=50), 50, "orders")
    expected = "the newest 50 of 1,234 orders: --limit lists more\n"
    assert capsys.readouterr().err == expected
    await print_remaining(client, OrderQuery(limit=1234), 1234, "runs")
    assert capsys.readouterr().err == ""


# --- numbers --------------------------------------------------------------------------------------


NUMBERS: dict[str, Any] = {
    f"{path} {parameter.opts[0]}": parameter.type
    for path, command in COMMANDS.items()
    for parameter in command.params
    if isinstance(parameter.type, click.FloatRange | click.types.IntParamType)
}


@pytest.mark.parametrize("option", NUMBERS)
def test_a_number_beyond_all_use_is_refused_with_the_upper_end(option: str) -> None:
    with pytest.raises(click.BadParameter, match=r"expected .* (up )?to [\d,]+.*, found '1e300'"):
        NUMBERS[option].convert("1e300", None, None)
