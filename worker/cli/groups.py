"""Groups of commands whose modules are imported when a command is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from worker.cli.renamed import warn_renamed

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


# No dataclass: `worker --help` would import what makes one.
class LazyCommand(NamedTuple):
    """Command that is not imported yet: ``target`` is ``module:attribute``.

    ``summary`` repeats the first line of the command's help, so that the help of the group needs
    no import. A test compares the two.
    """

    name: str
    target: str
    summary: str


class LazyGroup(click.Group):
    """Group that imports a command when it is used, and lists all of them in sections.

    ``aliases`` maps old names of commands, which the help does not list, to their own.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[LazyCommand]],
        aliases: Mapping[str, str] | None = None,
        **attrs: Any,
    ) -> None:
        super().__init__(*args, **attrs)
        self.sections = sections
        self.aliases = aliases or {}
        self._by_name = {entry.name: entry for entries in sections.values() for entry in entries}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._by_name.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = self.aliases.get(args[0], args[0])
        if name != args[0] and not ctx.resilient_parsing:
            warn_renamed(args[0], name)
        # click would suggest only names of commands that are imported already.
        if name not in self._by_name and not ctx.resilient_parsing:
            ctx.fail(f"unknown command '{name}'{self._hint(ctx, name)}")
        return super().resolve_command(ctx, [name, *args[1:]])

    def _hint(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches

        from worker.cli.other_tools import command_elsewhere

        # Before a similar name: `docs` of the openfn command is not our `doctor`.
        if ctx.parent is None and (here := command_elsewhere(name)):
            return f" (instead: {here})"
        begun = [known for known in self._by_name if name and known.startswith(name)]
        close = begun or get_close_matches(name, self._by_name, n=1)
        return f"; did you mean '{close[0]}'?" if close else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # One width for all sections: each alone would have its own column.
        width = max(map(len, self._by_name))
        for title, entries in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{entry.name:<{width}}", entry.summary) for entry in entries])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # click's own would import every command for its help.
        names = [
            CompletionItem(entry.name, help=entry.summary)
            for entry in self._by_name.values()
            if entry.name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


class NounGroup(LazyGroup):
    """Group named after what it lists, where ``list`` and ``show`` can be left out.

    ``worker orders`` is ``worker orders list``, ``worker orders ID`` is ``worker orders show ID``.
    A group without ``list`` prints its help.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        help_names = self.get_help_option_names(ctx)
        spelled_out = bool(args) and (args[0] in self._by_name or args[0] in help_names)
        # A completion without arguments completes the names of the subcommands.
        if not spelled_out and (args or not ctx.resilient_parsing):
            args = [*self._implied(ctx, args), *args]
        return super().parse_args(ctx, args)

    def _implied(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return ``show`` where the arguments hold an id, else ``list``; nothing without a list."""
        if "show" not in self._by_name:
            # A list takes no argument: a word is a misspelt subcommand.
            return ["list"] if not args or args[0].startswith("-") else []
        # Only a parser that knows the options of both can distinguish an id from an option's value.
        commands = (self.get_command(ctx, name) for name in ("list", "show"))
        options: dict[str, click.Parameter] = {
            param.opts[0]: param
            for command in commands
            if command is not None
            for param in command.params
            if isinstance(param, click.Option)
        }
        probe = click.Command(self.name, params=list(options.values()))
        parser = probe.make_parser(click.Context(probe, resilient_parsing=True))
        _, ids, _ = parser.parse_args(list(args))
        # Neither has a second argument: the first one is a misspelt subcommand.
        if len(ids) > 1:
            return []
        return ["show"] if ids else ["list"] if "list" in self._by_name else []
