"""Formats of texts: dates, numbers, ids and keywords, and other ways to write the same content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum


class TextFormat(StrEnum):
    """Kind of content that a text has."""

    DATE = "date"
    NUMBER = "number"
    UUID = "uuid"
    EMAIL = "email"
    URL = "url"
    PLAIN = "plain"


# Tried in order: day before month, as most of the world writes it.
DATE_PATTERNS = {
    "%Y-%m-%d": r"\d{4}-\d\d-\d\d",
    "%Y-%m-%dT%H:%M:%SZ": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "%Y-%m-%dT%H:%M:%S.%fZ": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z",
    "%Y-%m-%dT%H:%M:%S%z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:?\d\d",
    "%Y-%m-%dT%H:%M:%S.%f%z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}[+-]\d\d:?\d\d",
    "%Y-%m-%dT%H:%M:%S": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "%Y-%m-%d %H:%M:%S": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "%d/%m/%Y": r"\d\d/\d\d/\d{4}",
    "%m/%d/%Y": r"\d\d/\d\d/\d{4}",
    "%d.%m.%Y": r"\d\d\.\d\d\.\d{4}",
    "%d-%m-%Y": r"\d\d-\d\d-\d{4}",
}
_OTHER_DATES = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%dT%H:%M:%SZ", "%Y%m%d")

_FORMATS = (
    (TextFormat.NUMBER, re.compile(r"[+-]?\d+(\.\d+)?")),
    (TextFormat.UUID, re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")),
    (TextFormat.EMAIL, re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    (TextFormat.URL, re.compile(r"https?://\S+")),
)

_MAX_LENGTH = 2000
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,31}")
_PERSONAL_NAME = re.compile(
    r"name|phone|mobile|tel|mail|address|street|city|town|village|birth|dob|ssn|passport|contact|"
    r"mother|father|parent|child|spouse|caregiver|guardian|patient|person|user|owner|author|"
    r"national|identi|nick|comment|note|remark|description|text|message|token|secret|password|key",
    re.IGNORECASE,
)


def format_of(text: str) -> TextFormat:
    """Return the kind of content of a text."""
    # Longer ones are free text; and some patterns take time that grows with the square.
    if len(text) > _MAX_LENGTH:
        return TextFormat.PLAIN
    if date_format(text) is not None:
        return TextFormat.DATE
    matches = (kind for kind, pattern in _FORMATS if pattern.fullmatch(text))
    return next(matches, TextFormat.PLAIN)


def date_format(text: str) -> str | None:
    """Return the ``strptime`` format of a text that is a valid date; ``None`` for another text."""
    for format, pattern in DATE_PATTERNS.items():
        if re.fullmatch(pattern, text, re.ASCII) and _parse(text, format) is not None:
            return format
    return None


def _parse(text: str, format: str) -> datetime | None:
    try:
        return datetime.strptime(text, format)
    except ValueError:
        return None


def other_dates(text: str) -> Iterator[str]:
    """Yield the same day in other formats, if the text is a date."""
    own = date_format(text)
    moment = _parse(text, own) if own else None
    if moment is not None:
        yield from (moment.strftime(format) for format in _OTHER_DATES if format != own)


def is_keyword(text: str) -> bool:
    """Return True for a text that can be a value of an enumeration: a short word of a program."""
    # A word with a capital letter alone is the name of somebody, more often than not.
    is_name = text.istitle() and text.isalpha() and len(text) > 1
    return bool(_KEYWORD.fullmatch(text)) and not is_name and not re.search(r"\d{3}", text)


def is_personal_field(name: str) -> bool:
    """Return True if the name of a field suggests content about a person, or free text."""
    return bool(_PERSONAL_NAME.search(name))
