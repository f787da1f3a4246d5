"""``worker completion``: the script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from worker.cli.options import command
from worker.cli.value_types import OneOf


@command()
@click.argument("shell", type=OneOf(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> int:
    """Print the script that completes commands in a shell.

    It completes the names of commands and options, statuses, the workflows and steps of a file, and
    the orders and runs of a fleet that answers.

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
