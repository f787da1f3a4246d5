"""Tokens of the protocol: that of the worker, and those of its runs."""

from __future__ import annotations

import base64
import binascii
import functools
import time
import warnings
from typing import Any

import jwt
from jwt.algorithms import RSAAlgorithm
from msgspec import Struct

from worker.errors import UsageError, WorkerError

WORKER_ISSUER = "urn:openfn:worker"
RUN_ISSUER = "Lightning"
LEEWAY_S = 5
MIN_SECRET_BYTES = 32
"""Shortest key of HS256 by RFC 7518. Lightning accepts shorter ones, and so does the worker."""
# A token without an expiry does not come from Lightning; its run must end all the same.
_DEFAULT_LIFE_S = 86_400
_MAX_LIFE_S = 365 * 86_400
# Half of a surrogate pair, a number of 5,000 digits, nesting without an end: the library that reads
# tokens has no error of its own for these.
_UNREADABLE = (jwt.PyJWTError, ValueError, OverflowError, RecursionError)


class RunTokenError(WorkerError):
    """The token of the run is not one of this Lightning's."""


class RunToken(Struct, frozen=True, kw_only=True):
    """Token of a run. After ``expires_s``, in seconds since the epoch, no join is accepted."""

    run_id: str
    text: str
    expires_s: float


def worker_token(secret: str, name: str) -> str:
    """Sign the token with which the worker connects; ``secret`` is Lightning's WORKER_SECRET."""
    claims = {"worker_id": name, "iat": int(time.time()), "iss": WORKER_ISSUER}
    with warnings.catch_warnings():
        # A short key is logged once, at the start, and not as a warning of Python on stderr.
        warnings.filterwarnings("ignore", message="The HMAC key")
        # Lightning takes the text of the secret as the key, although it looks like base64.
        return jwt.encode(claims, secret.encode(), "HS256")


def read_public_key(text: str) -> str:
    """Decode WORKER_LIGHTNING_PUBLIC_KEY, the base64 of a PEM. Raises :class:`UsageError`."""
    try:
        pem = base64.b64decode(text, validate=False).decode()
    except (binascii.Error, ValueError):
        pem = ""
    if "PUBLIC KEY" not in pem:
        raise UsageError("WORKER_LIGHTNING_PUBLIC_KEY: expected base64 of a PEM public key")
    return pem


def read_run_token(run_id: str, text: str, public_key: str | None) -> RunToken:
    """Check the token of a run; without a public key, read it alone.

    Raises :class:`RunTokenError`.
    """
    try:
        claims = _verified(text, public_key) if public_key else _unverified(text)
    except _UNREADABLE as error:
        raise RunTokenError(f"cannot accept the token of the run: {error}") from error
    if public_key and claims.get("id") != run_id:
        raise RunTokenError("the token is that of another run")
    return RunToken(run_id=run_id, text=text, expires_s=_expiry_s(claims.get("exp")))


def _expiry_s(claim: Any) -> float:
    latest_s = time.time() + _MAX_LIFE_S
    if isinstance(claim, int | float) and claim <= latest_s:
        return float(claim)
    return time.time() + _DEFAULT_LIFE_S


def _verified(text: str, public_key: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        text,
        _parsed_key(public_key),
        ["RS256"],
        issuer=RUN_ISSUER,
        leeway=LEEWAY_S,
        options={"require": ["exp", "nbf", "iss", "id"]},
    )
    return claims


@functools.lru_cache(maxsize=4)
def _parsed_key(public_key: str) -> Any:
    # To parse the key takes longer than to verify a token with it.
    return RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(public_key)


def _unverified(text: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    except _UNREADABLE:
        return {}
    return claims if isinstance(claims, dict) else {}
