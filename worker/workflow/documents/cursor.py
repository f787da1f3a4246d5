"""Cursor over a document: typed access to its values, with errors that name the position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from worker.workflow.documents.data import (
    KeyPath,
    LineColumn,
    describe,
    did_you_mean,
    format_path,
    shorten,
)
from worker.workflow.documents.document import Document
from worker.workflow.model import LoadWarning

# An unsuitable file would cause a warning per key: more than anybody reads, and slow to make.
_WARNING_LIMIT = 100
MAX_AMOUNT = 1_000_000_000
"""The largest number of seconds or times that a file can hold."""
# What one format calls body is the expression of another.
_OTHER_NAMES = {
    "body": "expression",
    "expression": "body",
    "credential": "configuration",
    "configuration": "credential",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


class Cursor:
    """Value in a document, and the path to it. ``warnings`` is shared by the whole document."""

    __slots__ = ("document", "path", "value", "warnings")

    def __init__(
        self,
        document: Document,
        value: Any,
        path: KeyPath = (),
        warnings: list[LoadWarning] | None = None,
    ) -> None:
        self.document, self.value, self.path = document, value, path
        self.warnings: list[LoadWarning] = [] if warnings is None else warnings

    @property
    def position(self) -> LineColumn:
        """Line and column, from 1; (0, 0) if the document is not ``located``."""
        return self.document.locate(self.path) if self.document.located else (0, 0)

    def fail(self, message: str) -> NoReturn:
        self.document.fail(self.path, message)

    def warn(self, message: str, *, unknown_key: bool = False) -> None:
        if len(self.warnings) < _WARNING_LIMIT:
            # Located in every document: warnings are few.
            line, column = self.document.locate(self.path)
            self.warnings.append(
                LoadWarning(
                    path=format_path(self.path),
                    message=message,
                    unknown_key=unknown_key,
                    line=line,
                    column=column,
                )
            )

    def at(self, key: str) -> Cursor:
        """Move to the value under a key; it is ``None`` if the key is absent."""
        return self._child(key, self._mapping().get(key))

    def _child(self, key: str | int, value: Any) -> Cursor:
        return Cursor(self.document, value, (*self.path, key), self.warnings)

    def has(self, key: str) -> bool:
        return isinstance(self.value, Mapping) and key in self.value

    def first(self, *keys: str) -> Cursor:
        """Move to the first of several keys that has a value."""
        mapping = self._mapping()
        return self.at(next((key for key in keys if mapping.get(key) is not None), keys[0]))

    # --- typed values ---------------------------------------------------------------------------

    def mapping(self, *known: str) -> Cursor:
        """Require a mapping, and warn about keys that are not ``known`` (if any are named)."""
        for key in self._mapping():
            # Such a text cannot be encoded: it would fail later, far from its origin.
            if _SURROGATE.search(key):
                self.fail("a key contains half of a character (a lone surrogate)")
            if known and key not in known:
                self._unknown(key, known)
        return self

    def _mapping(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            self.fail(f"expected a mapping, found {describe(self.value)}")
        return self.value

    def _unknown(self, key: str, known: tuple[str, ...]) -> None:
        if len(self.warnings) < _WARNING_LIMIT:
            other = _OTHER_NAMES.get(key)
            hint = f"; here it is '{other}'" if other in known else did_you_mean(key, known)
            self.at(key).warn(f"unknown key '{shorten(key)}'{hint}", unknown_key=True)

    def items(self) -> Iterator[tuple[str, Cursor]]:
        """Yield the entries of a mapping, in the order of the file; none if it is absent."""
        if self.value is not None:
            for key, value in self.mapping().value.items():
                yield key, self._child(key, value)

    def elements(self) -> Iterator[Cursor]:
        """Yield the items of a list; none if it is absent."""
        if self.value is not None:
            if not isinstance(self.value, list):
                self.fail(f"expected a list, found {describe(self.value)}")
            for index, value in enumerate(self.value):
                yield self._child(index, value)

    def text(self, default: str | None = None) -> str:
        """Require a text of whole characters; with a default it may be absent."""
        text = self.any_text(default)
        if _SURROGATE.search(text):
            self.fail("expected text, found half of a character (a lone surrogate)")
        return text

    def any_text(self, default: str | None = None) -> str:
        """Require a text such as a run logs: it may be cut in the middle of a character."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            self.fail(f"expected text, found {describe(self.value)}")
        return self.value

    def name(self, default: str | None = None) -> str:
        """Require a text that is not empty, unless there is a default; a number counts as text."""
        # YAML reads an unquoted id such as 42 as a number.
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return str(self.value)
        text = self.text(default)
        if not text and default is None:
            self.fail("expected a name, found an empty text")
        return text

    def flag(self, default: bool) -> bool:
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            self.fail(f"expected true or false, found {describe(self.value)}")
        return self.value

    def amount(self) -> int | float:
        """Require a number from 0 to ``MAX_AMOUNT``."""
        # To Python, a bool is an int too.
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"expected a number, found {describe(self.value)}")
        # Written so that it is false for NaN too, which YAML can hold.
        if not 0 <= self.value <= MAX_AMOUNT:
            self.fail(f"expected a number from 0 to {MAX_AMOUNT:,}, found {describe(self.value)}")
        return self.value

    def data(self) -> dict[str, Any]:
        """Return a mapping as plain data; empty if it is absent."""
        return {} if self.value is None else dict(self._mapping())
