"""Masking of credentials in everything that leaves a run: logs, events, errors."""

from __future__ import annotations

import base64
import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice, starmap
from typing import Any

from worker.util.bounded_cache import cached_within
from worker.util.json import dumps
from worker.util.spellings import SecretSearch, longest_plain, search_for

MASK = "***"
# A shorter value protects nothing, and masking it would make ordinary words unreadable.
MIN_SECRET_LENGTH = 4
# A shorter line of a secret of many lines may be an ordinary word or a heading.
MIN_LINE_LENGTH = 16

# The time of a mask is their number by the length of its texts. The key of a service account has
# some 200: with its lines, and each in base64.
MAX_SECRETS = 5000
# Each secret is compared with so many others: with all, the time would be the square of the number.
_SHARED_CORES = 200
MAX_CACHED_BYTES = 16 * 1024 * 1024

# These values are not secret, and a log is of little use without them.
PUBLIC_KEYS = frozenset(
    {
        *("apiversion", "baseurl", "email", "host", "hosturl", "instanceurl", "loginurl", "port"),
        *("sandbox", "scheme", "servername", "tls", "url", "user", "username"),
    }
)
"""Keys of a credential that name hosts and users, in lower case and without underscores."""


# --- the secrets of a credential ------------------------------------------------------------------


def collect_secrets(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Collect the secret values of credentials, their parts, and their forms in base64.

    A :class:`Mask` recognises each of them also as JSON, URLs and forms spell it. Where there are
    more than MAX_SECRETS, some are left out, but never so many that a mask would take the others.
    """
    texts = {json.dumps(dict(configuration), default=str) for configuration in configurations}
    return _secrets_in(tuple(sorted(texts)))


def _size_bytes(secrets: tuple[str, ...], texts: tuple[str, ...]) -> int:
    return sum(map(sys.getsizeof, (*secrets, *texts)))


# Cached because all runs of a workflow have the same credentials: it would take a third of a run.
@cached_within(MAX_CACHED_BYTES, _size_bytes)
def _secrets_in(texts: tuple[str, ...]) -> tuple[str, ...]:
    secrets: set[str] = set()
    for configuration in map(json.loads, texts):
        values = _distinct(part for value in _values("", configuration) for part in _parts(value))
        for value in values:
            secrets.add(value)
            secrets.update(_base64_parts(value))
        secrets.update(_basic_auth(configuration, values))
        if len(secrets) > MAX_SECRETS:
            break
    return tuple(sorted(secrets))


def _distinct(values: Iterable[str]) -> list[str]:
    """Return the different values; of more than MAX_SECRETS, one more than that."""
    distinct: dict[str, None] = {}
    for value in values:
        distinct[value] = None
        if len(distinct) > MAX_SECRETS:
            break
    return list(distinct)


def collect_input_secrets(input: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Collect the secrets of a credential that an input brings."""
    # No step receives it, but it is part of the input's dataclip, and may be copied from there.
    configuration = (input or {}).get("configuration")
    return collect_secrets([configuration] if isinstance(configuration, Mapping) else [])


def is_public(key: str, value: str) -> bool:
    """Return True if the value of a credential's key is the name of a host or a user."""
    # A URL with an @ after its scheme may contain a password (https://user:password@host).
    return key.lower().replace("_", "") in PUBLIC_KEYS and "@" not in value.partition("://")[2]


def is_secret_number(value: float) -> bool:
    """Return True for a number that is more likely a secret than a port or a version."""
    return not isinstance(value, bool) and len(javascript_number(value)) > 5


def _values(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _values(str(name), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(key, item)
    elif isinstance(value, str):
        # Spaces and line ends around a secret come from the file that it was pasted from.
        yield from [] if is_public(key, value) else _texts(value.strip())
        yield from _secrets_in_url(value)
    elif isinstance(value, int | float) and is_secret_number(value):
        yield from {str(value), javascript_number(value)}


def _texts(value: str) -> Iterator[str]:
    yield value
    # The key of a service account is often stored as the text of its JSON file.
    if value.startswith("{"):
        try:
            yield from _values("", json.loads(value))
        except (ValueError, RecursionError):
            return


def _parts(value: str) -> Iterator[str]:
    if len(value) >= MIN_SECRET_LENGTH:
        yield value
    for line in map(str.strip, value.splitlines()[1:] and value.splitlines()):
        # The first and the last line of a key in PEM are the same in all keys.
        if len(line) >= MIN_LINE_LENGTH and not line.startswith("-----"):
            yield line


def _secrets_in_url(value: str) -> Iterator[str]:
    """Yield the password of a URL, and what in its path and query looks like a token."""
    from urllib.parse import unquote, unquote_plus

    address = value.partition("://")[2]
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    userinfo, _, host = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    # Without a password, the name itself is a token (https://token@host).
    yield unquote(password or user)
    path, _, query = address[len(userinfo) + len(host) :].partition("#")[0].partition("?")
    yield from (unquote(segment) for segment in path.split("/")[1:] if _is_token(segment))
    for field in filter(None, query.split("&")):
        name, _, text = field.partition("=")
        if _SECRET_FIELD.search(name) or _is_token(text):
            yield unquote_plus(text)


# To the last @: a password that is not encoded can hold any character.
_PASSWORD = re.compile(r"(?<=://)([^:@/?#]*):.*@|(?<=://)[^:@/?#]{20,}@", re.DOTALL)


def hide_url_secrets(text: str) -> str:
    """Return a URL, for people, without its password and the tokens in its path and query.

    Any other text is returned as it is.
    """
    hidden = _PASSWORD.sub(r"\1:…@", text)
    tokens = tuple(filter(None, _secrets_in_url(hidden))) if "://" in hidden else ()
    return Mask(token for token in tokens if len(token) >= MIN_SECRET_LENGTH).text(hidden)


# Only with a value: in the path of a file, a question mark stands for any character.
_QUERY = re.compile(r"\?[^\s?=/'\"]*=[^\s'\")]*(?<![:,.])")


def hide_file_secrets(text: str) -> str:
    """Return a text, for people, whose URLs of files have no password and no query.

    Their paths stay, as names of files look like tokens. A query is what signs a URL of an object.
    """
    # Of a file in an archive, each part has a password of its own.
    parts = text.split("::")
    return "::".join(_QUERY.sub("?…", _PASSWORD.sub(r"\1:…@", part)) for part in parts)


_SECRET_FIELD = re.compile(r"key|token|secret|sig|pass|pwd|auth|code", re.IGNORECASE)


def _is_token(text: str) -> bool:
    """Return True for a text that is more likely random than a name."""
    kinds = [any(test(char) for char in text) for test in (str.isdigit, str.islower, str.isupper)]
    return (
        (len(text) >= 8 and all(kinds))
        or (len(text) >= 16 and kinds[0])
        or (len(text) >= 20 and text.isalnum())
    )


def javascript_number(value: float) -> str:
    """Format a number as JavaScript does: 1e21 as ``1e+21``, 1.0 as ``1``, 1e-7 as ``1e-7``."""
    try:
        sign, digits, exponent = _decimal(float(value))
    except (OverflowError, ValueError):
        return str(value)
    point = len(digits) + exponent
    if exponent >= 0 and point <= 21:
        return sign + digits + "0" * exponent
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def _decimal(value: float) -> tuple[str, str, int]:
    """Return the sign, the shortest digits and the exponent of ten of a number."""
    mantissa, _, exponent = f"{value!r}".lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0").rstrip("0") or "0"
    trailing = len(whole + fraction) - len((whole + fraction).rstrip("0"))
    power = int(exponent or 0) - len(fraction) + trailing
    return "-" if value < 0 else "", digits, 0 if digits == "0" else power


def _base64_parts(value: str) -> Iterator[str]:
    """Yield the base64 of a value, and what of it any text around the value leaves unchanged."""
    for raw in _bytes(value):
        yield _base64(raw)
        # Characters of base64 hold 6 bits: at either end one may hold bits of the neighbour too.
        for offset in range(3):
            text = _base64(b"\0" * offset + raw)
            end = len(text) - ((offset + len(raw)) % 3 != 0)
            yield text[(0, 2, 3)[offset] : end]


def _bytes(value: str) -> Iterator[bytes]:
    yield value.encode("utf-8", "surrogatepass")
    # btoa() takes a character for a byte.
    if not value.isascii() and all(char <= "\xff" for char in value):
        yield value.encode("latin-1")


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _basic_auth(configuration: Mapping[str, Any], values: Iterable[str]) -> Iterator[str]:
    for key in ("username", "user", "email"):
        if isinstance(user := configuration.get(key), str):
            for value in values:
                yield from (_base64(raw) for raw in _bytes(f"{user}:{value}"))


# --- the mask -------------------------------------------------------------------------------------


class Mask:
    """Replaces secrets by asterisks, in all their spellings.

    Where there are more than MAX_SECRETS, it hides all of each text.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        listed = tuple(dict.fromkeys(secrets))
        self.hides_all = len(listed) > MAX_SECRETS
        self._searches = () if self.hides_all else _searches(listed)
        self._clean = ""

    @classmethod
    def hiding_all(cls) -> Mask:
        """Return a mask that hides all of each text."""
        mask = cls(())
        mask.hides_all = True
        return mask

    def text(self, text: str) -> str:
        """Return plain text with its secrets masked."""
        return MASK if self.hides_all else _masked(text, self._searches)

    def json(self, text: str) -> str:
        """Mask secrets in JSON text; if it is nested too deeply to decode, mask it as a whole."""
        if self.hides_all:
            return dumps(MASK)
        # The final state of a run is the output of its last step: it is not searched again.
        if text is self._clean or not self._searches:
            return text
        searches = _present(text, self._searches)
        if not any(map(any, (search.spans(text) for search in searches))):
            self._clean = text
            return text
        # Decoded first: to mask a secret such as null or 1234 in the text would break the JSON.
        try:
            return dumps(_masked_value(json.loads(text), searches))
        except RecursionError:
            return dumps(MASK)


def _present(text: str, searches: Iterable[SecretSearch]) -> list[SecretSearch]:
    return [search for search in searches if search.core in text]


def _masked(text: str, searches: Iterable[SecretSearch]) -> str:
    present = _present(text, searches)
    if not present:
        return text
    pieces, end = [], 0
    # Where secrets overlap, one mask hides all of them.
    spans = [span for search in present for span in search.spans(text)]
    for start, stop in sorted(spans):
        if start >= end:
            pieces += [text[end:start], MASK]
        end = max(end, stop)
    return "".join((*pieces, text[end:]))


def _masked_value(value: Any, searches: Iterable[SecretSearch]) -> Any:
    if isinstance(value, str):
        return _masked(value, searches)
    if isinstance(value, dict):
        return {
            _masked(key, searches): _masked_value(item, searches) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked_value(item, searches) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # As a whole: the digits of a secret may stand within a time or a count by chance.
        spellings = (str(value), javascript_number(value))
        return MASK if any(_masked(text, searches) == MASK for text in spellings) else value
    return value


# Cached because a process has many runs with the same secrets. Few, as they stay in memory.
@functools.lru_cache(maxsize=16)
def _searches(secrets: tuple[str, ...]) -> tuple[SecretSearch, ...]:
    """Group secrets by cores, of which there are fewer: a secret contains its parts' cores."""
    groups: dict[str, list[str]] = {}
    for secret in sorted(filter(None, secrets), key=len):
        # A short core, such as the empty one of a secret that has no plain character, is in most
        # texts: with it, the patterns of all its group would be tried each time.
        long = (core for core in groups if len(core) >= MIN_SECRET_LENGTH)
        core = next((core for core in islice(long, _SHARED_CORES) if core in secret), None)
        if core is None:
            core = longest_plain(secret)
        groups.setdefault(core, []).append(secret)
    return tuple(chain.from_iterable(starmap(search_for, groups.items())))
