"""Warning about the old name of a command or an option."""

from __future__ import annotations

import click

from worker.version import REMOVED_IN


def warn_renamed(old: str, new: str) -> None:
    """Print on stderr that ``old`` is now named ``new``."""
    click.echo(f"warning: {old} is now {new}; the old name works until {REMOVED_IN}", err=True)
