"""``worker completion``: the script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from worker.cli.options import command


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> int:
    """Print the script that completes commands in a shell.

    It completes the names of commands, subcommands and options.

    \b
    Examples:
      worker completion bash >> ~/.bashrc
      worker completion zsh >> ~/.zshrc
      worker completion fish > ~/.config/fish/completions/worker.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(ctx.find_root().command, {}, "worker", "_WORKER_COMPLETE").source())
    return 0
