"""Keeps secrets out of recordings: credential values, headers that carry them, chosen patterns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from worker.adaptors.http.exchange import HttpReply, HttpRequest, Pairs
from worker.errors import UsageError
from worker.util.json import dumps
from worker.util.masking import MASK, MIN_SECRET_LENGTH, PUBLIC_KEYS, Mask

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
        self._secrets = set(secrets)
        self._mask = Mask(longest_first(self._secrets))
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

    def learn(self, reply: HttpReply) -> None:
        """Keep out from now on what a service has just given: cookies, tokens, and the like.

        In events a credential inside of them is masked already: that spelling counts too.
        """
        values = [value for name, value in reply.headers if HEADERS.fullmatch(name)]
        values += _fields_of(_parsed(reply.body))
        long = {value for value in values if len(value) >= MIN_SECRET_LENGTH and value != MASK}
        if long - self._secrets:
            self._secrets |= long | {self._mask.text(value) for value in long}
            self._secrets -= {MASK}
            self._mask = Mask(longest_first(self._secrets))

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
        value = _parsed(body)
        hidden = without_fields(value)
        shown = text if hidden == value else dumps(hidden)
        return self.text(shown).encode("utf-8", "surrogatepass")


def longest_first(secrets: Iterable[str]) -> list[str]:
    """So that of two secrets the one that holds the other is masked as a whole."""
    return sorted(secrets, key=len, reverse=True)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _fields_of(value: Any) -> Iterator[str]:
    """The texts that secret fields hold."""
    match value:
        case dict():
            for key, one in value.items():
                if isinstance(one, str) and FIELDS.fullmatch(key):
                    yield one
                else:
                    yield from _fields_of(one)
        case list():
            for one in value:
                yield from _fields_of(one)


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
            is_open = key.lower().replace("_", "") in PUBLIC_KEYS and "@" not in value
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
