"""Values of options from the environment and from files: ``.env``, ``worker.toml``, the user's own.

Order: option, environment, ``.env``, ``worker.toml`` or ``[tool.worker]`` of ``pyproject.toml`` in
the current folder, ``worker/worker.toml`` in the user's folder of configurations, default.

The current folder can be somebody else's checkout. What lets a run reach or execute more is never
read from its files, and paths in them stay inside of it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from worker.errors import LoadError, UsageError

# Options that describe a place: their variable is WORKER_<OPTION> too, for all commands.
PLACES = frozenset(
    ["mqtt", "topic-prefix", "ca", "cert", "key", "store", "credentials", "name", "capacity",
     "outbox", "workflows", "collections", "reply-timeout"]
)  # fmt: skip
# Options that open something, with those that send data to another place.
OPENING = frozenset(
    ["allow-host", "allow-python", "allow-adaptor", "autoinstall", "alert-command",
     "alert-webhook", "isolation", "host", "trusted-host", "metrics-listen", "store",
     "from-store", "collections", "secret-key-file", "allow-inline-secrets", "token-file",
     "lightning", "secret-file", "no-public-hosts",
     # The results of a cluster are unpickled, so its scheduler can execute code here.
     "cluster",
     "webhooks", "open-webhooks", "webhook-auth",
     # Whoever wrote the folder would know the token.
     "read-token-file",
     # It is the answer to a question before something cannot be undone.
     "yes",
     # These open the hosts that they name, private ones too.
     "credentials", "state-path", "input-json",
     "policy", "max-timeout", "max-memory", "max-state", "max-payload", "max-log-payload",
     "max-events", "max-executions"]
)  # fmt: skip
# A worker executes what its broker sends, with its credentials, and a control plane hands out the
# content of its database.
_COMMANDED = ("start", "control-plane")
MAX_BYTES = 1024 * 1024
_PATH = re.compile(r"\b(FILE|DIR)\b")
PASSWORD = "WORKER_MQTT_PASSWORD"  # noqa: S105 (the name of a variable)
_NO_OPTIONS = {"WORKER_RUN_AS", "WORKER_DASHBOARD_TOKEN", "WORKER_DASHBOARD_READ_TOKEN"}


class Setting(NamedTuple):
    """Value of an option, as text or TOML has it, and the place that it is from."""

    value: Any
    source: str


def option_name(option: click.Parameter) -> str:
    """Return the name of an option in files, such as ``allow-host``."""
    return max(option.opts, key=len).lstrip("-")


def variables(command: str, option: click.Parameter) -> list[str]:
    """Return the variables of an option; ``command`` is what follows ``worker``."""
    name = option_name(option).replace("-", "_").upper()
    own = f"WORKER_{command.replace(' ', '_').replace('-', '_').upper()}_{name}"
    return [own, f"WORKER_{name}"] if option_name(option) in PLACES else [own]


def find_setting(command: str, option: click.Parameter) -> Setting | None:
    """Return the value that files have for an option.

    Raises :class:`UsageError` for what a file of the current folder may not set.
    """
    folder = Path()
    setting = _from_env_file(command, option) or _from_toml(folder, command, option)
    if setting is not None:
        _check_harmless(command, option, setting)
        return setting
    own = user_file()
    return _of_table(_read_toml(own), str(own), command, option)


def user_file() -> Path:
    """Return the path of the user's own file, which need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "worker" / "worker.toml"


def _check_harmless(command: str, option: click.Parameter, setting: Setting) -> None:
    name = option_name(option)
    if name in OPENING or (name == "mqtt" and command in _COMMANDED):
        raise UsageError(
            f"{setting.source}: '{name}' is not read from files of a folder, which may be somebody "
            f"else's: use --{name}, the environment, or {user_file()}"
        )
    if name == "mqtt" and os.environ.get(PASSWORD):
        raise UsageError(
            f"{setting.source}: a broker of a folder's file does not get the password in "
            f"{PASSWORD}: use --mqtt, or WORKER_MQTT"
        )
    if not isinstance(option.type, click.Path) and not _PATH.search(option.metavar or ""):
        return
    values = map(str, setting.value if isinstance(setting.value, list) else [setting.value])
    # What follows a colon can be the path (on-failure:DIR).
    for value in (part for text in values for part in (text, text.partition(":")[2])):
        if not Path(value).resolve().is_relative_to(Path.cwd().resolve()):
            raise UsageError(
                f"{setting.source}: '{value}' is outside of this folder: use --{name}, or the "
                "environment"
            )


def _read_text(file: Path) -> str:
    """Read a file of options; anything else, and no file, has no text."""
    try:
        # Every command reads it. A link to a device has no end, and a pipe may have no writer.
        if not file.is_file():
            return ""
        size_bytes = file.stat().st_size
        if size_bytes > MAX_BYTES:
            raise LoadError(f"over the limit of {MAX_BYTES // 1024} kB", file=file.name)
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"cannot be read: {error}", file=file.name) from error


# --- .env -----------------------------------------------------------------------------------------


def _from_env_file(command: str, option: click.Parameter) -> Setting | None:
    values = _read_env(Path(".env").absolute())
    for name in variables(command, option):
        if name in values:
            text, line = values[name]
            value = text.split() if option.multiple or option.nargs != 1 else text
            return Setting(value, f".env:{line} ({name})")
    return None


@functools.cache
def _read_env(file: Path) -> Mapping[str, tuple[str, int]]:
    text = _read_text(file)
    values: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        # Files of other programs have lines of other forms.
        if equals and name.strip().startswith("WORKER_"):
            values[name.strip()] = (_unquoted(value.strip()), number)
    return values


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text.partition(" #")[0].strip()


# --- worker.toml ----------------------------------------------------------------------------------


def _from_toml(folder: Path, command: str, option: click.Parameter) -> Setting | None:
    table = _read_toml((folder / "worker.toml").absolute())
    if (setting := _of_table(table, "worker.toml", command, option)) is not None:
        return setting
    project = _read_toml((folder / "pyproject.toml").absolute()).get("tool", {})
    table = project.get("worker", {}) if isinstance(project, dict) else {}
    source = "pyproject.toml [tool.worker]"
    return _of_table(table, source, command, option) if isinstance(table, dict) else None


@functools.cache
def _read_toml(file: Path) -> dict[str, Any]:
    text = _read_text(file)
    if not text:
        return {}
    # Most folders have no such file, and each command would import what reads it.
    import tomllib

    try:
        return tomllib.loads(text)
    # It has no error of its own for nesting without an end, and for numbers of any length.
    except (ValueError, RecursionError) as error:
        raise LoadError(f"not TOML: {error}", file=file.name) from error


def _of_table(
    table: Mapping[str, Any], source: str, command: str, option: click.Parameter
) -> Setting | None:
    name = option_name(option)
    own: Any = table
    for word in command.split():
        own = own.get(word, {}) if isinstance(own, dict) else {}
    if isinstance(own, dict) and name in own:
        return Setting(own[name], f"{source} [{command}]")
    return Setting(table[name], source) if name in PLACES and name in table else None


def misspelt_variables(command: str, options: list[click.Parameter]) -> Iterator[str]:
    """Yield a warning for each variable that is nearly the name of one of the command."""
    known = {
        name
        for option in options
        if isinstance(option, click.Option)
        for name in variables(command, option)
    }
    own = f"WORKER_{command.replace(' ', '_').replace('-', '_').upper()}_"
    in_file = _read_env(Path(".env").absolute())
    places = {name: f" (.env:{line})" for name, (_, line) in in_file.items()}
    for name in sorted({*places, *os.environ} - known - _NO_OPTIONS):
        if name.startswith(own):
            from difflib import get_close_matches  # only for a mistake

            ends = [each.removeprefix(own) for each in known if each.startswith(own)]
            for end in get_close_matches(name.removeprefix(own), ends, n=1, cutoff=0.75):
                yield f"{name}{places.get(name, '')} is not read; did you mean {own}{end}?"


def check_names(command: str, options: list[click.Parameter]) -> None:
    """Raise UsageError for a key that no option of the command has, where a file has it."""
    known = [option_name(option) for option in options if isinstance(option, click.Option)]
    for file in (Path("worker.toml").absolute(), user_file()):
        table: Any = _read_toml(file)
        for word in command.split():
            table = table.get(word, {}) if isinstance(table, dict) else {}
        for name, value in table.items() if isinstance(table, dict) else ():
            if name not in known and not isinstance(value, dict):
                from difflib import get_close_matches  # only for a mistake

                close = get_close_matches(name, known, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise UsageError(f"{file.name} [{command}]: unknown option '{name}'{hint}")
