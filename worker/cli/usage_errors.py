"""Errors of click in the words of this command."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)


def describe(error: click.ClickException) -> str:
    """Return an error as its cause and, on a line of its own, the help to read."""
    text = _cause(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text}\n  see: {context.command_path} --help" if context is not None else text


def _cause(error: click.ClickException) -> str:
    match error:
        case click.NoSuchOption(option_name=name, possibilities=names):
            return f"unknown option '{name}'{_hint(error.ctx, name, names or _options(error.ctx))}"
        case click.BadOptionUsage(option_name=name) if "does not take" in error.message:
            return f"option '{name}' takes no value"
        case click.BadOptionUsage(option_name=name):
            return f"option '{name}' needs a value"
        case click.MissingParameter(param=parameter):
            return _missing(parameter)
        case click.BadParameter(param=parameter) if parameter is not None:
            return f"{_name(parameter)}: {error.message}"
    extra = _EXTRA.match(error.message)
    if extra and isinstance(error, click.UsageError):
        return f"unexpected argument '{extra[1]}'{_hint(error.ctx, extra[1], ())}"
    return error.format_message()


def _hint(context: click.Context | None, name: str, possibilities: Iterable[str]) -> str:
    from worker.cli.other_tools import option_elsewhere  # only for a mistake

    command = (context.command.name or "") if context is not None else ""
    if here := option_elsewhere(command, name):
        return f" (instead: {here})"
    return _suggestion(name, possibilities)


def _missing(parameter: click.Parameter | None) -> str:
    if isinstance(parameter, click.Option):
        return f"option '{_name(parameter)}' is missing"
    return f"argument {_name(parameter)} is missing" if parameter else "an argument is missing"


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.metavar or (parameter.name or "").upper()


def _options(context: click.Context | None) -> Iterable[str]:
    parameters = context.command.params if context is not None else ()
    return [name for parameter in parameters for name in parameter.opts]


def _suggestion(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # only for a mistake

    # Without the dashes, which would make short names similar.
    long = [text[2:] for text in names if text.startswith("--")]
    close = get_close_matches(name.lstrip("-"), long, n=1)
    return f"; did you mean '--{close[0]}'?" if close else ""
