"""Command for the reference of the command line, with its help texts in Markdown.

mkdocs-click takes help texts for Markdown and leaves out epilogs. A block that click must not
rewrap (after ``\\b``) becomes a code block here.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from worker.cli.main import cli


def in_markdown(command: click.Command) -> click.Command:
    """Convert the help of a command, and of its subcommands."""
    texts = (inspect.cleandoc(text) for text in (command.help, command.epilog) if text)
    paragraphs = "\n\n".join(texts).split("\n\n")
    command.help, command.epilog = "\n\n".join(map(_paragraph, paragraphs)), None
    if isinstance(command, click.Group):
        for subcommand in _subcommands(command):
            in_markdown(subcommand)
    return command


def _subcommands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        if subcommand := group.get_command(context, name):
            yield subcommand


def _paragraph(text: str) -> str:
    block = text.removeprefix("\b\n")
    if block == text:
        return text
    if block.startswith("Exit code:"):
        return block
    title, _, rest = block.partition("\n")
    if not title.endswith(":"):
        title, rest = "", block
    return f"{title}\n\n```text\n{textwrap.dedent(rest)}\n```"


# The same object can be the subcommand of two groups, and is converted once: a converted text has
# no block that is left.
reference = in_markdown(cli)
