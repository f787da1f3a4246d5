"""Configurations that stand in plans and inputs: refused, or encrypted before they are stored.

A configuration with open keys alone (:data:`worker.util.masking.PUBLIC_KEYS`) is stored as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        for place, holder, key in places(document):
            if secret := secret_key(holder[key]):
                self._seal(place, holder, key, secret)
                has_secret = True
        return dumps(document) if has_secret else text

    def _seal(self, place: str, holder: dict[str, Any], key: str, secret: str) -> None:
        if self._key is None:
            raise SecretRefused(
                f"{place} holds '{secret[:100]}', which would be stored in clear: name a credential"
                " of the workers instead, or start the control plane with --secret-key-file"
            )
        holder[key] = {_SEALED: self._key.encrypt(dumps(holder[key]).encode()).decode()}

    def _opened(self, text: str, places: _Places) -> str:
        if _SEALED not in text or not _PRESENT.search(text):
            return text
        document = msgspec.json.decode(text)
        for _, holder, key in places(document):
            if isinstance(holder[key], dict) and holder[key].keys() == {_SEALED}:
                holder[key] = self._open(holder[key][_SEALED])
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


def _in_plan(document: dict[str, Any]) -> Iterator[_Place]:
    workflow = document["workflow"]
    for step in workflow["steps"]:
        if isinstance(step.get("configuration"), dict):
            yield f"the configuration of step '{step.get('id', '')}'", step, "configuration"
    if isinstance(workflow.get("credentials"), dict):
        yield "workflow.credentials", workflow, "credentials"


def _in_input(document: dict[str, Any]) -> Iterator[_Place]:
    if isinstance(document.get("configuration"), dict):
        yield "the configuration of the input", document, "configuration"


_Place = tuple[str, dict[str, Any], str]
_Places = Any


def secret_key(configuration: Mapping[str, Any]) -> str | None:
    """Return the first key of a configuration whose value is not open, or ``None``."""
    for key, value in split_configuration(configuration)[1].items():
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
