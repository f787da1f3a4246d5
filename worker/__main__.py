"""The command as ``python -m worker``."""

from worker.cli.entry import main

main()
