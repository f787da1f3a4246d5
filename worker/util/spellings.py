"""Search for secrets in all spellings that JSON, URLs and forms give them. Pure."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

MAX_PATTERN_UNITS = 64
"""The words and signs of a secret that a pattern has: to compile it takes 0.1 ms for each."""
# A search that takes more steps, in all and for each character of a text, goes over the same
# characters many times, as they begin like the secret. The rest of the text is hidden then.
_STEPS, _STEPS_PER_CHARACTER = 10_000, 4

Span = tuple[int, int]


class SecretSearch(Protocol):
    """Search for secrets whose spellings all contain the same text, ``core``."""

    core: str

    def spans(self, text: str) -> Iterator[Span]:
        """Yield where the secrets are in a text."""


# --- patterns -------------------------------------------------------------------------------------

# No encoder changes these characters.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
# Backslashes are doubled together, so that a run of them is one unit; and what URLs drop.
_UNITS = re.compile(r"[A-Za-z0-9_.-]{1,64}|\\+|[\t\n\r]+|.", re.DOTALL)
# JSON in JSON doubles the backslashes of escapes: so many stand for one at a depth of six. Without
# a bound, and without possessive repeats, a text of backslashes would be searched for hours: of a
# run that several units could take, each way to divide it would be tried.
_NESTED = 64
# A run of backslashes before an escape takes those of the escape too.
_ESCAPE = rf"(?:\\{{1,{_NESTED}}}+|(?<=\\))"
_OTHER_CHARACTERS = {
    " ": r"\+",  # in forms
    "+": "-",  # in base64url
    "/": "_",
}
# A URL drops them.
_DROPPED_CHARACTERS = "\t\n\r"


def longest_plain(secret: str) -> str:
    """Return the longest part of a secret that is spelled in one way alone."""
    return max(_PLAIN.findall(secret), key=len, default="")


def _pattern(units: Sequence[str]) -> str:
    return "".join(map(_unit_pattern, units))


def _unit_pattern(unit: str) -> str:
    if _PLAIN.fullmatch(unit):
        return re.escape(unit)
    if unit[0] == "\\":
        count = len(unit)
        # The path of a URL has slashes instead.
        return (
            rf"(?:\\{{{count},{_NESTED * count}}}+|(?:%(?:25){{0,2}}5[cC]){{{count}}}|/{{{count}}})"
        )
    if unit[0] in _DROPPED_CHARACTERS:
        return _dropped_pattern(unit)
    # Atomic: it ends at one place alone, or each way to divide a text would be tried. Only a
    # percent sign is the start of its own escape.
    return f"(?{':' if unit == '%' else '>'}{_character_pattern(unit)})"


def _dropped_pattern(unit: str) -> str:
    patterns = list(map(_character_pattern, sorted(set(unit))))
    if "\n" in unit:
        # First, so that the two are one in the count too.
        patterns.insert(0, _line_end_pattern())
    count = len(unit) - unit.count("\r\n")
    return f"(?:{'|'.join(patterns)}){{0,{count}}}+"


@functools.cache
def _line_end_pattern() -> str:
    """Return a pattern of the line end of forms and Windows, both its characters spelled alike."""
    pairs = [("\r", "\n")]
    for depth in range(_NESTED.bit_length()):
        marks = rf"\\{{{2**depth}}}"
        codes = (("r", "n"), ("u000[dD]", "u000[aA]"), ("x0d", "x0a"))
        start = rf"(?:{marks}|(?<=\\))"
        pairs += [(start + first, marks + second) for first, second in codes]
    pairs += [(f"%{'25' * depth}0[dD]", f"%{'25' * depth}0[aA]") for depth in range(3)]
    # Where a file that has it already is written on Windows, it gets another.
    return "|".join(f"(?:{first}){{1,2}}+{second}" for first, second in pairs)


@functools.lru_cache(maxsize=1024)
def _character_pattern(char: str) -> str:
    """Return a pattern of all spellings of a character in JSON, URLs and forms."""
    spellings = [rf"\\{{0,{_NESTED - 1}}}+{re.escape(char)}", _percent(char)]
    if char in _OTHER_CHARACTERS:
        spellings.append(_OTHER_CHARACTERS[char])
    escapes = {json.dumps(char)[1:-1], f"\\u{ord(char):04x}"}
    # As objects in a log line write control characters.
    if not char.isprintable() and char <= "\x9f":
        escapes.add(f"\\x{ord(char):02x}")
    for escape in sorted(escapes - {char, f"\\{char}"}):
        codes = escape.split("\\")[1:]
        spellings.append("".join(f"{_ESCAPE}(?i:{code})" for code in codes))
    if "\ud800" <= char <= "\udfff":
        # UTF-8 has no half of a pair: encoders write the sign of replacement.
        spellings += [r"\?", "\ufffd", _percent("\ufffd")]
    return "|".join(spellings)


def _percent(char: str) -> str:
    # An address in the query of another is encoded twice: %2525 is the percent sign then.
    codes = char.encode("utf-8", "surrogatepass")
    return "".join(f"%(?:25){{0,2}}(?i:{code:02x})" for code in codes)


# --- searches -------------------------------------------------------------------------------------


def search_for(core: str, secrets: Iterable[str]) -> list[SecretSearch]:
    """Return searches for secrets that all contain ``core``."""
    short: list[Sequence[str]] = []
    searches: list[SecretSearch] = []
    # A pattern takes the first alternative that matches: the longest must be tried first.
    for secret in sorted(secrets, key=len, reverse=True):
        units = _UNITS.findall(secret)
        if len(units) > MAX_PATTERN_UNITS:
            searches.append(_LongSearch(core, units))
        else:
            short.append(units)
    return [_ShortSearch(core, short), *searches] if short else searches


class _ShortSearch:
    """Search for several secrets, by one pattern."""

    # A search for a text costs a hundredth of a search for a pattern, and nearly always fails. So
    # that a pattern is compiled only where its core was seen.

    def __init__(self, core: str, secrets: Sequence[Sequence[str]]) -> None:
        self.core = core
        self._secrets = secrets

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(_pattern, self._secrets)))

    def spans(self, text: str) -> Iterator[Span]:
        for match in self._pattern.finditer(text):
            # Of a secret of characters that URLs drop, nothing may be left.
            if match[0]:
                yield match.span()


class _LongSearch:
    """Search for one secret: for its start by a pattern, and from there unit by unit."""

    def __init__(self, core: str, units: Sequence[str]) -> None:
        self.core = core
        self._units = units

    @functools.cached_property
    def _start(self) -> re.Pattern[str]:
        return re.compile(_pattern(self._units[:MAX_PATTERN_UNITS]))

    def spans(self, text: str) -> Iterator[Span]:
        steps, position = _STEPS + _STEPS_PER_CHARACTER * len(text), 0
        while match := self._start.search(text, position):
            start, ends = match.start(), {match.start()}
            for unit in self._units:
                ends = {end for each in ends for end in _ends(unit, text, each)}
                steps -= 1
                if not ends:
                    break
            if steps < 0:
                yield start, len(text)
                return
            if ends:
                yield start, max(ends)
            position = max(ends, default=start + 1)


def _ends(unit: str, text: str, start: int) -> Iterator[int]:
    """Yield all ends of a unit's spellings that start at a place."""
    if _PLAIN.fullmatch(unit):
        if text.startswith(unit, start):
            yield start + len(unit)
        return
    for pattern in _unit_patterns(unit):
        if match := pattern.match(text, start):
            yield match.end()


@functools.lru_cache(maxsize=256)
def _unit_patterns(unit: str) -> tuple[re.Pattern[str], ...]:
    escapes = ("%25", "%2525", "%252525") if unit == "%" else ()
    return tuple(map(re.compile, (_unit_pattern(unit), *escapes)))
