"""Masks the values of credentials in everything that leaves a run: logs, events, errors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.util.json import dumps

MASK = "***"
MIN_SECRET_LENGTH = 4
"""A shorter value hides nothing and would tear holes into ordinary words."""

PUBLIC_KEYS = frozenset(
    {
        *("apiversion", "baseurl", "email", "host", "hosturl", "instanceurl", "loginurl", "port"),
        *("sandbox", "scheme", "servername", "tls", "url", "user", "username"),
    }
)
"""What a credential says of where and who, in lower case: needed to read a log, not secret."""


def collect_secrets(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The secret values of credentials in every spelling in which they may appear."""
    found: set[str] = set()
    for configuration in configurations:
        values = tuple(_values("", configuration))
        for value in values:
            found.update(_spellings(value))
        found.update(_basic_auth(configuration, values))
    return tuple(sorted(found, key=len, reverse=True))


def _values(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _values(str(name), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(key, item)
    elif isinstance(value, str) and _is_secret(key, value):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool) and len(str(value)) > 5:
        yield str(value)


def _is_secret(key: str, value: str) -> bool:
    open_key = key.lower().replace("_", "") in PUBLIC_KEYS and "@" not in value.partition("://")[2]
    return len(value) >= MIN_SECRET_LENGTH and not open_key


def _spellings(value: str) -> Iterator[str]:
    from urllib.parse import quote, quote_plus  # the run's process masks, and never needs it

    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value, safe="", errors="replace")
    yield quote_plus(value, errors="replace")
    yield from _base64(value)


def _base64(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")


def _basic_auth(configuration: Mapping[str, Any], values: tuple[str, ...]) -> Iterator[str]:
    for key in ("username", "user", "email"):
        if isinstance(user := configuration.get(key), str):
            for value in values:
                yield from _base64(f"{user}:{value}")


class Mask:
    """Replaces secrets in what leaves a run; without secrets it costs nothing."""

    def __init__(self, secrets: Iterable[str]) -> None:
        alternatives = "|".join(re.escape(secret) for secret in secrets)
        self._pattern = re.compile(alternatives) if alternatives else None

    def text(self, text: str) -> str:
        """Plain text without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def json(self, text: str) -> str:
        """JSON text without secrets, and still JSON: a secret may read ``null`` or ``1234``.

        What is nested too deeply to be looked through is masked as a whole.
        """
        if self._pattern is None or not self._pattern.search(text):
            return text
        try:
            return dumps(self._value(json.loads(text)))
        except RecursionError:
            return dumps(MASK)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return MASK if number and self.text(str(value)) != str(value) else value
