"""Masking of credentials in everything that leaves a run: logs, events, errors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.util.json import dumps

MASK = "***"
# A shorter value protects nothing, and masking it would make ordinary words unreadable.
MIN_SECRET_LENGTH = 4

# These values are not secret, and a log is of little use without them.
PUBLIC_KEYS = frozenset(
    {
        *("apiversion", "baseurl", "email", "host", "hosturl", "instanceurl", "loginurl", "port"),
        *("sandbox", "scheme", "servername", "tls", "url", "user", "username"),
    }
)
"""Keys of a credential that name hosts and users, in lower case and without underscores."""


def collect_secrets(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Collect the secret values of credentials in all their encodings, the longest first."""
    secrets: set[str] = set()
    for configuration in configurations:
        values = tuple(_values("", configuration))
        for value in values:
            secrets.update(_encodings(value))
        secrets.update(_basic_auth(configuration, values))
    # The pattern takes the first alternative that matches: a secret must not hide a longer one.
    return tuple(sorted(secrets, key=len, reverse=True))


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
    # A URL with an @ after its scheme may contain a password (https://user:password@host).
    public = key.lower().replace("_", "") in PUBLIC_KEYS and "@" not in value.partition("://")[2]
    return len(value) >= MIN_SECRET_LENGTH and not public


def _encodings(value: str) -> Iterator[str]:
    from urllib.parse import quote, quote_plus  # not needed by a run's process

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
    """Replaces secrets by asterisks; without secrets it returns the same text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        alternatives = "|".join(re.escape(secret) for secret in secrets)
        self._pattern = re.compile(alternatives) if alternatives else None

    def text(self, text: str) -> str:
        """Return plain text with its secrets masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def json(self, text: str) -> str:
        """Mask secrets in JSON text; if it is nested too deeply to decode, mask it as a whole."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        # Decoded first: to mask a secret such as null or 1234 in the text would break the JSON.
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
