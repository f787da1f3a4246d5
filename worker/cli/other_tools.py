"""Commands and options that people know from the openfn command, with their names here.

Only the error about an unknown word imports it.
"""

from __future__ import annotations

import re
import sys

from worker.sinks.terminal_text import shell_word
from worker.util.path_checks import exists

_COMMANDS = {
    "execute": "worker run FILE",
    "exec": "worker run FILE",
    "compile": "worker validate FILE checks code; compiled code is not printed",
    "docs": "docs.openfn.org has the functions of adaptors",
    "pull": "worker fetch PROJECT gets what Lightning has deployed",
    "project": "worker reads a checkout as it is: worker run WORKFLOW in its folder",
    "repo": "worker adaptors install|list|remove",
    "install": "worker adaptors install NAME@VERSION",
    "collections": "worker run FILE --collections DIR|URL",
    "apollo": "the openfn command has it",
    "metadata": "the openfn command has it",
    "help": "worker --help, worker COMMAND --help",
    "version": "worker --version",
    "init": "save a workflow as a file, then: worker run FILE",
    "record": "worker run FILE --record RECORDING",
    "server": "worker control-plane, or worker dev for a whole fleet",
    "coverage": "worker test --coverage FILE",
    "check": "worker validate FILE, worker lint FILE",
}

_RUN_OPTIONS = {
    "--state-stdin": "echo '{\"data\": {}}' | worker run FILE --input -",
    "--state": "--input FILE",
    "-t": "--timeout SECONDS, or with a unit: 5m",
    "-l": "--debug, --quiet, --json",
    "--log": "--debug, --quiet, --json",
    "--log-json": "--json",
    "--verbose": "--debug",
    "-v": "--debug; the version is worker --version",
    "--no-autoinstall": "leave it out: runs install nothing without --autoinstall",
    "--adaptors": "--adaptor NAME",
    "--end": "--stop-after STEP",
    "--repo-dir": "WORKER_CACHE names the folder of adaptors and the engine",
    "--monorepo-path": "worker adaptors install takes published versions",
    "-m": "worker adaptors install takes published versions",
    "--ignore-imports": "leave it out: imports follow the adaptors",
    "--strict": "leave it out: the state is not reduced to data",
    "--no-strict-output": "leave it out: the state is not reduced to data",
    "--workflow-path": "the file is the argument: worker run FILE",
    "--config": "worker.toml in the folder sets options (worker config prints them)",
}

_AUTOINSTALL = "--autoinstall installs adaptors; -i FILE is the input"
_FILE_SUFFIXES = (".js", ".mjs", ".cjs", ".py", ".json", ".yaml", ".yml")


def command_elsewhere(word: str) -> str:
    """Return what to type in place of an unknown command; empty if that is unknown too."""
    if word.endswith(_FILE_SUFFIXES) or ("/" in word and exists(word)):
        return f"worker run {shell_word(word)}"
    return _COMMANDS.get(word, "")


def option_elsewhere(command: str, name: str) -> str:
    """Return what to use in place of an unknown option or argument; empty if unknown too."""
    if command != "run":
        return "worker --version" if command == "cli" and name in ("-v", "-V") else ""
    return _AUTOINSTALL if _left_by_i(name) else _RUN_OPTIONS.get(name, "")


def _left_by_i(argument: str) -> bool:
    # OpenFn's -i has no value: in -ia http and -i -a http it takes the a here, and http is left.
    arguments = " ".join(sys.argv[1:])
    return not argument.startswith("-") and re.search(r"(^| )-i ?-?a ", arguments) is not None
