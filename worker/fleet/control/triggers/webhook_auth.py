"""Methods of authentication of webhooks: basic, a key in a header, or an HMAC signature. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from worker.errors import UsageError
from worker.workflow.documents.document import read_document
from worker.workflow.documents.mismatch import fail_mismatch

Secret = Annotated[str, Meta(min_length=8, max_length=1000)]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,100}$")]


class _Method(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method of authentication. Its secrets are in no representation of it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class BasicAuth(_Method, frozen=True, kw_only=True, tag_field="type", tag="basic"):
    """User name and password, in the header Authorization."""

    username: Annotated[str, Meta(min_length=1, max_length=200)]
    password: Secret


class ApiKeyAuth(_Method, frozen=True, kw_only=True, tag_field="type", tag="api_key"):
    """A key in a header."""

    key: Secret
    header: HeaderName = "x-api-key"


class HmacAuth(_Method, frozen=True, kw_only=True, tag_field="type", tag="hmac"):
    """An HMAC-SHA256 of the body in a header, as hex with or without ``sha256=`` before it."""

    secret: Secret
    header: HeaderName = "x-hub-signature-256"


AuthMethod = BasicAuth | ApiKeyAuth | HmacAuth


def is_authentic(methods: Iterable[AuthMethod], headers: Mapping[str, str], body: bytes) -> bool:
    """Return True where a request fulfils one of the methods; header names are in lower case."""
    # All are tried, so that the time tells nothing of which one fits.
    results = [_fulfils(method, headers, body) for method in methods]
    return any(results)


def needs_body(methods: Iterable[AuthMethod]) -> bool:
    """Return True where only the body can prove who sent it."""
    return any(isinstance(method, HmacAuth) for method in methods)


def secret_headers(methods: Iterable[AuthMethod]) -> frozenset[str]:
    """Return the headers that hold a proof, in lower case."""
    return frozenset(
        "authorization" if isinstance(method, BasicAuth) else method.header.lower()
        for method in methods
    )


def _fulfils(method: AuthMethod, headers: Mapping[str, str], body: bytes) -> bool:
    match method:
        case BasicAuth():
            return _is_basic(method, headers.get("authorization", ""))
        case ApiKeyAuth():
            return _equal(headers.get(method.header.lower(), ""), method.key)
        case HmacAuth():
            expected = hmac.new(method.secret.encode(), body, hashlib.sha256).hexdigest()
            signature = headers.get(method.header.lower(), "").removeprefix("sha256=")
            return _equal(signature.lower(), expected)


def _is_basic(method: BasicAuth, header: str) -> bool:
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    return scheme.lower() == "basic" and _equal(decoded, f"{method.username}:{method.password}")


def _equal(text: str, expected: str) -> bool:
    # Of bytes, as the comparison of texts refuses those that are not ASCII.
    return hmac.compare_digest(text.encode("utf-8", "replace"), expected.encode())


def read_webhook_auth(file: Path) -> dict[str, AuthMethod]:
    """Read methods of authentication by their names, from YAML or JSON.

    Raises :class:`WorkerError`, which quotes no secret.
    """
    document = read_document(file, located=True)
    try:
        return msgspec.convert(document.root, dict[str, AuthMethod])
    except msgspec.ValidationError as error:
        fail_mismatch(document, error, dict[str, AuthMethod])
    except UnicodeEncodeError as error:
        raise UsageError(f"{file}: {error}") from error
