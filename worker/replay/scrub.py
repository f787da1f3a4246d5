"""Scrubber of recordings: masks credentials, secret headers and fields, and chosen patterns.

A recording is made to be shared, reviewed and committed, so that no secret may remain in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest, Pairs
from worker.errors import UsageError
from worker.util.json import dumps
from worker.util.masking import (
    MASK,
    MIN_SECRET_LENGTH,
    Mask,
    collect_secrets,
    is_secret_number,
)
from worker.util.nesting import nests_deeper

HEADERS = re.compile(
    r"authorization|proxy-authorization|cookie|set-cookie|.*(api[-_]?key|token|secret|password).*",
    re.IGNORECASE,
)
"""Headers whose values are always masked."""

FIELDS = re.compile(
    r"password|passwd|secret|client_secret|access_?token|refresh_?token|id_?token|api_?key",
    re.IGNORECASE,
)
"""Fields of JSON bodies whose values are always masked.

The token that a login returns is part of no credential, so only its name shows that it is secret.
"""


MAX_REPLY_SECRETS = 1000
"""The tokens of one reply that are masked one by one; with more, all of the recording is hidden."""
# Of bodies that cannot be parsed: a name of a field, and its text up to where it or the body ends.
_TEXT_FIELDS = re.compile(
    rf"""("(?:{FIELDS.pattern})"\s*+:\s*+")((?:[^"\\]|\\.)*+)""", FIELDS.flags | re.DOTALL
)
_BRACKETS = ("{", "[")


class Scrubber:
    """Masks secrets in texts, requests and replies. ``patterns`` are regular expressions.

    Where there are more secrets than a mask takes, it hides all of each text.
    """

    def __init__(
        self, secrets: Iterable[str] = (), patterns: Iterable[str | re.Pattern[str]] = ()
    ) -> None:
        self._secrets = frozenset(secrets)
        self._mask = Mask(self._secrets)
        self._patterns = [_compiled(pattern) for pattern in patterns]

    @classmethod
    def hiding_all(cls) -> Scrubber:
        """Return a scrubber that hides all of each text."""
        scrubber = cls()
        scrubber._mask = Mask.hiding_all()
        return scrubber

    def text(self, text: str) -> str:
        masked = self._mask.text(text)
        for pattern in self._patterns:
            masked = pattern.sub(MASK, masked)
        return masked

    def json(self, text: str) -> str:
        """Mask the secrets in JSON text, which stays JSON."""
        masked = self._mask.json(text)
        # A pattern could match across quotes and brackets, so that it is applied to strings alone.
        if not self._patterns:
            return masked
        try:
            return dumps(self._strings(json.loads(masked)))
        except RecursionError:
            return dumps(MASK)

    def _strings(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self._strings(item) for key, item in value.items()}
            case list():
                return [self._strings(item) for item in value]
            case _:
                return value

    def with_secrets_of(self, reply: HttpReply) -> Scrubber:
        """Return a scrubber that also masks the reply's cookies and tokens, wherever they occur."""
        values = [value for name, value in reply.headers if _is_secret_header(name)]
        values += _secret_fields_of(reply.body)
        # Masking short values would tear holes into ordinary words.
        long = {value for value in values if len(value) >= MIN_SECRET_LENGTH and value != MASK}
        if long <= self._secrets:
            return self
        if len(long) > MAX_REPLY_SECRETS:
            return Scrubber.hiding_all()
        # Events come with credentials masked already: a token that holds one is spelled so.
        masked = {self._mask.text(value) for value in long}
        return self.with_secrets((long | masked) - {MASK})

    def with_secrets(self, secrets: Iterable[str]) -> Scrubber:
        """Return a scrubber that masks these secrets too."""
        if self._mask.hides_all:
            return self
        return Scrubber(self._secrets.union(secrets), self._patterns)

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
            (name, MASK if _is_secret_header(name) else self.text(value)) for name, value in headers
        )

    def _body(self, body: bytes) -> bytes:
        if not body:
            return body
        try:
            value = _parsed(body)
        except _TooDeepError:
            return MASK.encode()
        # A body without secret fields keeps its spelling: dumps() would change spaces and numbers.
        if any(field != MASK for field in _secret_fields(value)):
            return self.text(dumps(mask_fields(value))).encode("utf-8", "surrogatepass")
        return self._undecoded(body)

    def _undecoded(self, body: bytes) -> bytes:
        """Mask the secrets in a body of any encoding, and leave all other bytes as they are."""
        for encoding, errors in _encodings(body):
            try:
                text = body.decode(encoding, errors)
            except UnicodeDecodeError:
                continue
            masked = self.text(_TEXT_FIELDS.sub(rf"\g<1>{MASK}", text))
            if masked != text:
                body = masked.encode(encoding, errors)
        return body


def scrub_exchange(scrubber: Scrubber, exchange: Exchange) -> tuple[Scrubber, Exchange]:
    """Mask the secrets of an exchange. Return a scrubber that knows those of its reply too."""
    # First, so that a token is masked in the reply that brings it too.
    scrubber = scrubber.with_secrets_of(exchange.reply)
    request, reply = scrubber.request(exchange.request), scrubber.reply(exchange.reply)
    return scrubber, replace(exchange, request=request, reply=reply)


def _encodings(body: bytes) -> Iterator[tuple[str, str]]:
    """Yield encodings that a body may have, each with what handles bytes that it does not know."""
    yield "utf-8", "surrogateescape"
    if b"\0" in body:
        yield from (("utf-16-le", "surrogatepass"), ("utf-16-be", "surrogatepass"))
    try:
        body.decode()
    except UnicodeDecodeError:
        yield "latin-1", "strict"


class _TooDeepError(Exception):
    """JSON of more levels than any that is looked through."""


def _parsed(body: bytes) -> Any:
    """Return the value of a body that is JSON, and else None. Raises :class:`_TooDeepError`."""
    text = _json_text(body)
    # Files of other kinds have brackets that mean nothing.
    if not text.lstrip().startswith(_BRACKETS):
        return None
    if nests_deeper(text):
        raise _TooDeepError
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _parsed_by_json(text)


def _parsed_by_json(text: str) -> Any:
    # It accepts NaN and halves of surrogate pairs, which services send too.
    try:
        return json.loads(text)
    except ValueError:
        return None


def _json_text(body: bytes) -> str:
    """Decode a body as json.loads does: also from UTF-16, and with a mark of the order of bytes."""
    try:
        return body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeDecodeError:
        return ""


def _secret_fields_of(body: bytes) -> Iterator[str]:
    """Yield the texts of a body's secret fields, also where it cannot be parsed."""
    try:
        value = _parsed(body)
    except _TooDeepError:
        value = None
    yield from _secret_fields(value)
    if value is None:
        for match in _TEXT_FIELDS.finditer(body.decode("utf-8", "replace")):
            yield from _texts_of(match[2])


def _texts_of(spelled: str) -> Iterator[str]:
    yield spelled
    with suppress(ValueError):
        yield json.loads(f'"{spelled}"', strict=False)


# Without a cache: names of services have any length.
def _is_secret_header(name: str) -> bool:
    return HEADERS.fullmatch(name) is not None


def _is_secret(field: str) -> bool:
    return FIELDS.fullmatch(field) is not None


def _secret_fields(value: Any) -> Iterator[str]:
    """Collect the texts that the secret fields of JSON data hold."""
    if isinstance(value, dict):
        yield from (
            item for key, item in value.items() if isinstance(item, str) and _is_secret(key)
        )
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        # Only what can hold fields: a list of numbers is passed over.
        if isinstance(item, dict | list):
            yield from _secret_fields(item)


def mask_fields(value: Any) -> Any:
    """Mask the secret :data:`FIELDS` of JSON data."""
    match value:
        case dict():
            return {
                key: MASK if isinstance(item, str) and _is_secret(key) else mask_fields(item)
                for key, item in value.items()
            }
        case list():
            return [mask_fields(item) for item in value]
        case _:
            return value


def mask_configuration(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Mask the secrets of a credential, which a replay passes to steps instead."""
    return {key: _masked_value(key, value) for key, value in configuration.items()}


def _masked_value(key: str, value: Any) -> Any:
    match value:
        case str():
            # Addresses and names stay, or a replay's requests would go elsewhere than recorded.
            return Mask(collect_secrets([{key: value}])).text(value)
        case dict():
            return mask_configuration(value)
        case list():
            return [_masked_value(key, item) for item in value]
        case int() | float() if is_secret_number(value):
            return MASK
        case _:
            return value


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"'{pattern}' is not a regular expression: {error}") from error
