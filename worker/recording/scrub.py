"""Keeps secrets out of recordings: credential values, headers that carry them, chosen patterns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from worker.errors import UsageError
from worker.hosts.exchange import HttpReply, HttpRequest, Pairs
from worker.walk.jsontext import dumps
from worker.walk.secrets import MASK, OPEN_KEYS, Mask

HEADERS = re.compile(
    r"authorization|proxy-authorization|cookie|set-cookie|.*(api[-_]?key|token|secret|password).*",
    re.IGNORECASE,
)
"""Headers whose values are never kept."""

FIELDS = re.compile(
    r"password|passwd|secret|client_secret|access_?token|refresh_?token|id_?token|api_?key",
    re.IGNORECASE,
)
"""Fields of JSON bodies whose values are never kept: what a login answers is in no credential."""


class Scrubber:
    """Replaces secrets in whatever is written down. ``patterns`` are regular expressions."""

    def __init__(self, secrets: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._mask = Mask(secrets)
        self._patterns = [_compiled(pattern) for pattern in patterns]

    def text(self, text: str) -> str:
        found = self._mask.text(text)
        for pattern in self._patterns:
            found = pattern.sub(MASK, found)
        return found

    def json(self, text: str) -> str:
        """JSON text, which stays JSON."""
        masked = self._mask.json(text)
        if not self._patterns:
            return masked
        return dumps(self._strings(json.loads(masked)))

    def _strings(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self._strings(one) for key, one in value.items()}
            case list():
                return [self._strings(one) for one in value]
            case _:
                return value

    def request(self, request: HttpRequest) -> HttpRequest:
        return replace(
            request,
            url=self.text(request.url),
            headers=self._headers(request.headers),
            body=self._body(request.body),
        )

    def reply(self, reply: HttpReply) -> HttpReply:
        error = {name: self.text(value) for name, value in reply.error.items()}
        return replace(
            reply,
            url=self.text(reply.url),
            headers=self._headers(reply.headers),
            body=self._body(reply.body),
            error=error,
        )

    def _headers(self, headers: Pairs) -> Pairs:
        return tuple(
            (name, MASK if HEADERS.fullmatch(name) else self.text(value)) for name, value in headers
        )

    def _body(self, body: bytes) -> bytes:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return body
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text).encode()
        hidden = without_fields(value)
        same = hidden == value
        return self.text(text if same else dumps(hidden)).encode("utf-8", "surrogatepass")


def without_fields(value: Any) -> Any:
    """JSON data without what its :data:`FIELDS` hold."""
    match value:
        case dict():
            return {
                key: MASK if isinstance(one, str) and FIELDS.fullmatch(key) else without_fields(one)
                for key, one in value.items()
            }
        case list():
            return [without_fields(one) for one in value]
        case _:
            return value


def stand_in(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A credential with its secrets masked: what a replay gives to steps instead."""
    return {key: _stand_in(key, value) for key, value in configuration.items()}


def _stand_in(key: str, value: Any) -> Any:
    match value:
        case str():
            is_open = key.lower().replace("_", "") in OPEN_KEYS and "@" not in value
            return value if is_open or len(value) < 4 else MASK
        case dict():
            return stand_in(value)
        case list():
            return [_stand_in(key, one) for one in value]
        case bool() | None:
            return value
        case _:
            return value if len(str(value)) <= 5 else MASK


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"'{pattern}' is no regular expression: {error}") from error
