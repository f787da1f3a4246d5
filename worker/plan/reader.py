"""A cursor over a document, so that readers of formats say what they expect and nothing else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from worker.plan.document import Document, Path_, path_text
from worker.plan.workflow import Warning

_SURROGATE = re.compile("[\ud800-\udfff]")


class Node:
    """A value in a document, and the path to it."""

    __slots__ = ("document", "path", "value", "warnings")

    def __init__(
        self,
        document: Document,
        value: Any,
        path: Path_ = (),
        warnings: list[Warning] | None = None,
    ) -> None:
        self.document, self.value, self.path = document, value, path
        self.warnings: list[Warning] = [] if warnings is None else warnings

    @property
    def place(self) -> tuple[int, int]:
        return self.document.place(self.path)

    def fail(self, message: str) -> NoReturn:
        self.document.fail(self.path, message)

    def warn(self, message: str) -> None:
        self.warnings.append(Warning(path=path_text(self.path), message=message))

    def at(self, key: str | int) -> Node:
        """The value under a key or an index; its value is ``None`` where there is none."""
        found = self.mapping().value.get(key) if isinstance(key, str) else self.value[key]
        return Node(self.document, found, (*self.path, key), self.warnings)

    def has(self, key: str) -> bool:
        return isinstance(self.value, Mapping) and key in self.value

    def first(self, *keys: str) -> Node:
        """The value under the first of several names that is there."""
        return self.at(next((key for key in keys if self.has(key)), keys[0]))

    # --- what is expected -----------------------------------------------------------------------

    def mapping(self, *known: str) -> Node:
        """This node, which must be a mapping; keys outside ``known`` (if any) are warned of."""
        if not isinstance(self.value, Mapping):
            self.fail(f"expected a mapping, found {kind_of(self.value)}")
        for key in self.value:
            if not isinstance(key, str):
                self.fail(f"expected keys that are text, found {kind_of(key)}")
            if _SURROGATE.search(key):
                self.fail("a key holds half of a character (a lone surrogate)")
            if known and key not in known:
                self._unknown(key, known)
        return self

    def _unknown(self, key: str, known: tuple[str, ...]) -> None:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        self.at(key).warn(f"unknown key '{key}'{hint}")

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping, in the order of the file; none where it is absent."""
        if self.value is not None:
            self.mapping()
            for key in self.value:
                yield key, self.at(key)

    def elements(self) -> Iterator[Node]:
        """The items of a list; none where it is absent."""
        if self.value is not None:
            if not isinstance(self.value, list | tuple):
                self.fail(f"expected a list, found {kind_of(self.value)}")
            for index in range(len(self.value)):
                yield self.at(index)

    def text(self, default: str | None = None) -> str:
        """A text. Required unless there is a default."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            self.fail(f"expected text, found {kind_of(self.value)}")
        if _SURROGATE.search(self.value):
            self.fail("expected text, found half of a character (a lone surrogate)")
        return self.value

    def name(self, default: str | None = None) -> str:
        """A text that names something; a number is taken as the word that was meant."""
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
            self.fail(f"expected true or false, found {kind_of(self.value)}")
        return self.value

    def data(self) -> dict[str, Any]:
        """A mapping taken as it is; empty where it is absent."""
        return {} if self.value is None else dict(self.mapping().value)


def kind_of(value: Any) -> str:
    """What a value is, in the words of a file's author."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
