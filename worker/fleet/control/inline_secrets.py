"""Configurations that stand in plans and inputs: refused, or encrypted before they are stored.

A configuration with open keys alone (:data:`worker.util.masking.PUBLIC_KEYS`) is stored as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from worker.errors import UsageError
from worker.util.json import dumps
from worker.util.masking import is_public
from worker.workflow.credential_names import split_configuration

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_SEALED = "$encrypted"
# Most plans have none, and need not be parsed. In a text of JSON the quotes would be escaped.
_PRESENT = re.compile(r'"(configuration|credentials)"\s*:\s*\{')
KEY_LOST = "(encrypted with a key that the control plane does not have)"


class SecretRefused(Exception):
    """A configuration that may not be stored; the message names its key and the remedy."""


class InlineSecrets:
    """Rules for inline configurations: encrypt them with a key, else refuse or ``allow`` them."""

    def __init__(self, *, key: MultiFernet | None = None, allow: bool = False) -> None:
        self._key = key
        self._allow = allow

    def seal_plan(self, plan: str) -> str:
        """Return a plan for the store. Raises :class:`SecretRefused`."""
        return self._sealed(plan, _in_plan)

    def seal_input(self, input: str) -> str:
        """Return an input for the store. Raises :class:`SecretRefused`."""
        return self._sealed(input, _in_input)

    def open_plan(self, plan: str) -> str:
        """Return a stored plan as it was submitted."""
        return self._opened(plan, _in_plan)

    def open_input(self, input: str) -> str:
        """Return a stored input as it was submitted."""
        return self._opened(input, _in_input)

    def _sealed(self, text: str, places: _Places) -> str:
        if self._allow or not _PRESENT.search(text):
            return text
        document = msgspec.json.decode(text)
        has_secret = False
        for place in places(document):
            if secret := _secret_key(place):
                self._seal(place, secret)
                has_secret = True
        return dumps(document) if has_secret else text

    def _seal(self, place: _Place, secret: str) -> None:
        if self._key is None:
            raise SecretRefused(
                f"{place.name} holds '{secret[:100]}', which would be stored in clear: name a"
                " credential of the workers instead, or start the control plane with"
                " --secret-key-file"
            )
        content = dumps(place.holder[place.key]).encode()
        place.holder[place.key] = {_SEALED: self._key.encrypt(content).decode()}

    def _opened(self, text: str, places: _Places) -> str:
        if _SEALED not in text or not _PRESENT.search(text):
            return text
        document = msgspec.json.decode(text)
        for _, holder, key, _ in places(document):
            if isinstance(holder[key], dict) and holder[key].keys() == {_SEALED}:
                holder[key] = self._open(holder[key][_SEALED])
                if key == "credentials" and holder[key] == KEY_LOST:
                    _close_steps(holder)
        return dumps(document)

    def _open(self, token: str) -> Any:
        if self._key is not None:
            from cryptography.fernet import InvalidToken

            try:
                return msgspec.json.decode(self._key.decrypt(token))
            except InvalidToken:
                pass
        # The name of a credential that nobody holds: the step ends as exception, and says so.
        return KEY_LOST


class _Place(NamedTuple):
    """Configuration in a document: its name in errors, and the object and key that hold it."""

    name: str
    holder: dict[str, Any]
    key: str
    names_credential: bool = False


_Places = Callable[[dict[str, Any]], Iterator[_Place]]


def _in_plan(document: dict[str, Any]) -> Iterator[_Place]:
    workflow = document["workflow"]
    for step in workflow["steps"]:
        if isinstance(step.get("configuration"), dict):
            name = f"the configuration of step '{step.get('id', '')}'"
            yield _Place(name, step, "configuration", names_credential=True)
    if isinstance(workflow.get("credentials"), dict):
        yield _Place("workflow.credentials", workflow, "credentials")


def _in_input(document: dict[str, Any]) -> Iterator[_Place]:
    if isinstance(document.get("configuration"), dict):
        yield _Place("the configuration of the input", document, "configuration")


def _close_steps(workflow: dict[str, Any]) -> None:
    # They are merged under the configuration of every step, so none may run without them.
    del workflow["credentials"]
    for step in workflow["steps"]:
        step["configuration"] = KEY_LOST


def _secret_key(place: _Place) -> str | None:
    """Return the first key of a configuration whose value is not open, or ``None``."""
    fields: Mapping[str, Any] = place.holder[place.key]
    if place.names_credential:
        _, fields = split_configuration(fields)
    for key, value in fields.items():
        # An open key with an object below it may hold anything.
        if value is None or (isinstance(value, str | int | float) and is_public(key, str(value))):
            continue
        return key
    return None


def read_secret_keys(file: Path) -> MultiFernet:
    """Read the keys of a file, one a line: the first encrypts, all decrypt.

    Raises :class:`UsageError`.
    """
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ModuleNotFoundError as error:
        raise UsageError(
            "--secret-key-file needs an extra, pip install 'workflow-worker[secrets]'"
        ) from error
    try:
        return MultiFernet([Fernet(key) for key in file.read_text("ascii").split()])
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    # The cause is not shown: it could quote a key.
    except ValueError:
        raise UsageError(f"{file}: expected keys of 32 bytes in base64url, one a line") from None
