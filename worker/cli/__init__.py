"""The command. One file a command; :mod:`worker.cli.main` imports it when it is used."""
