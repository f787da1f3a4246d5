"""``worker config``: the values of options that are set, and the place of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from worker.cli.option_sources import Setting, find_setting, option_name, variables
from worker.cli.options import as_json, command
from worker.cli.text_table import table_lines, terminal_width
from worker.errors import UsageError
from worker.sinks.terminal_text import one_line
from worker.util.json import dumps
from worker.util.masking import hide_url_secrets


@command()
@as_json
@click.pass_context
def config(ctx: click.Context, *, as_json: bool) -> int:
    """Print the options that the environment and files set.

    Each comes with its place: a variable, .env, worker.toml, pyproject.toml or your own file. An
    option on the command line counts before all of them.

    \b
    Examples:
      worker config
      WORKER_RUN_TIMEOUT=5m worker config --json
    """
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    rows = list(_settings(ctx, group, ""))
    if as_json:
        for name, option, value, source in rows:
            print(dumps({"command": name, "option": option, "value": value, "source": source}))
    elif rows:
        cells = [(name, f"--{option}", one_line(str(v)), place) for name, option, v, place in rows]
        header = ("command", "option", "value", "from")
        for line in table_lines([header, *cells], terminal_width()):
            print(line)
    else:
        print("nothing is set: all options have their defaults")
    return 0


def _settings(
    ctx: click.Context, group: click.Group, path: str
) -> Iterator[tuple[str, str, Any, str]]:
    for name in group.list_commands(ctx):
        below = group.get_command(ctx, name)
        words = f"{path} {name}".strip()
        if isinstance(below, click.Group):
            yield from _settings(ctx, below, words)
        for option in below.params if below is not None else ():
            if isinstance(option, click.Option) and (setting := _setting(words, option)):
                yield words, option_name(option), _without_secrets(setting.value), setting.source


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return hide_url_secrets(value) if isinstance(value, str) else value


def _setting(command: str, option: click.Option) -> Setting | None:
    for name in variables(command, option):
        if text := os.environ.get(name):
            return Setting(text, name)
    try:
        return find_setting(command, option)
    except UsageError as error:
        return Setting("refused", str(error))
