"""Strict YAML parser with positions, built on the event stream of PyYAML.

Nesting and the expansion of aliases are limited before anything is built, and a duplicate key is an
error. Plain scalars have the types of YAML 1.2's core schema: ``on``, ``yes``, ``no`` and dates are
text. ``<<`` merges mappings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import yaml
from msgspec import Struct, field

from worker.errors import LoadError
from worker.util.nesting import NESTING_LIMIT
from worker.workflow.documents.data import (
    NODE_LIMIT,
    KeyPath,
    LineColumn,
    format_path,
    shorten,
)

# Line and column are packed into one number: a file can have two million values.
_COLUMNS = 1 << 32
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# The parser in Python needs seconds for a megabyte.
_HALVES_LIMIT = 1024 * 1024
# A key of a block with a plain scalar beside it or below it.
_KEY_WITH_TEXT = re.compile(r"""(?: *- )* *([\w.][\w.-]*):(?: *$| +[^\s|>"'#])""")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parse(text: str, file: str) -> tuple[Any, YamlPositions]:
    """Parse one YAML document to plain data, with its positions. Raises :class:`LoadError`."""
    try:
        builder = _build(_events(text), file)
    except yaml.MarkedYAMLError as error:
        _fail_marked(error, text, file)
    except yaml.YAMLError as error:
        _fail_unprintable(error, text, file)
    except (ValueError, OverflowError) as error:
        # The parser in Python converts numbers of escapes and directives as they come.
        raise LoadError(f"not YAML: {error}", file=file) from None
    return builder.root, YamlPositions(builder.root, builder.start, builder.positions)


def _build(events: Iterator[yaml.Event], file: str) -> _Builder:
    builder = _Builder(file)
    for event in events:
        builder.add(event)
    return builder


_Positions = dict[str, int] | list[int]


def is_plain_text(text: str) -> bool:
    """Return whether the plain scalar ``text`` is read as that text, not as a number or a word."""
    return not (text in _WORDS or _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text))


class YamlPositions:
    """Lines and columns of all values, by the identity of their container."""

    def __init__(self, root: Any, start: LineColumn, positions: Mapping[int, _Positions]) -> None:
        # The root keeps all containers alive, so that their ids stay theirs.
        self._root, self._start, self._positions = root, start, positions

    def __call__(self, keys: KeyPath) -> LineColumn:
        """Locate the value under ``keys``, or the nearest value around it."""
        value, position = self._root, self._start
        for key in keys:
            try:
                packed = self._positions[id(value)][key]  # type: ignore[index]
            except LookupError:
                break
            value, position = value[key], divmod(packed, _COLUMNS)
        return position


def _events(text: str) -> Iterator[yaml.Event]:
    # The parser in C is several times as fast, and some builds of PyYAML lack it. It refuses the
    # escapes of JSON for characters beyond U+FFFF, which are two halves, and for a half alone.
    if len(text) <= _HALVES_LIMIT and _HALF.search(text):
        return map(_joined, yaml.parse(text, Loader=yaml.SafeLoader))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.parse(text, Loader=loader)


def _joined(event: yaml.Event) -> yaml.Event:
    """Join the halves of each character in a scalar; a half alone stays."""
    if isinstance(event, yaml.ScalarEvent):
        event.value = event.value.encode("utf-16-le", "surrogatepass").decode(
            "utf-16-le", "surrogatepass"
        )
    return event


def _line_column(event: yaml.Event) -> LineColumn:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _fail_marked(error: yaml.MarkedYAMLError, text: str, file: str) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = error.problem or error.context or ""
    at = text[mark.index : mark.index + 1] if mark else ""
    if at == "\t":
        problem = "a tab stands here; indent with spaces"
    elif at in ("@", "`", "%") and "cannot start any token" in problem:
        problem = f"a text cannot begin with '{at}'; quote it"
    elif mark and problem.startswith("mapping values are not allowed"):
        *above, with_colon = text.split("\n")[:line]
        problem = _colon_problem(above, with_colon) or problem
    raise LoadError(f"not YAML: {problem}", file=file, line=line, column=column) from None


def _colon_problem(above: Sequence[str], line: str) -> str:
    """Word a ': ' within the text of a key, mostly in JavaScript that is not quoted."""
    # A line of the text itself, such as `status: 1`, looks as if it had a key.
    if (match := _KEY_WITH_TEXT.match(line)) and ": " in line[match.end() :]:
        return f"': ' within the text of '{match[1]}'; write it below '{match[1]}: |', or quote it"
    for number in range(len(above), 0, -1):
        if match := _KEY_WITH_TEXT.match(above[number - 1]):
            return (
                f"': ' within the text of '{match[1]}', which begins in line {number}; "
                f"write it below '{match[1]}: |', or correct the indentation of this line"
            )
    return ""


def _fail_unprintable(error: yaml.YAMLError, text: str, file: str) -> NoReturn:
    match = _UNPRINTABLE.search(text)
    if match is None:
        raise LoadError(f"not YAML: {str(error).splitlines()[0]}", file=file) from None
    line = text.count("\n", 0, match.start()) + 1
    column = match.start() - text.rfind("\n", 0, match.start())
    message = f"not YAML: the character U+{ord(match[0]):04X} may not stand in it"
    raise LoadError(message, file=file, line=line, column=column) from None


class _Collection(Struct):
    """Collection under construction; a mapping expects a key or that key's value.

    ``nodes_before`` counts the document's values before it, ``height`` its levels so far, ``lines``
    has the line of each key and ``positions`` those of the values. ``merges`` are the mappings of
    ``<<``, merged after all its own keys.
    """

    value: dict[str, Any] | list[Any]
    positions: _Positions
    anchor: str | None
    nodes_before: int
    height: int = 1
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)
    merges: list[dict[str, Any]] = field(default_factory=list)

    @property
    def expects_key(self) -> bool:
        return self.key is None and isinstance(self.value, dict)


class _Anchor(Struct):
    """Value that an alias refers to, with its number of values and of levels."""

    value: Any
    size: int
    height: int


class _Builder:
    """Builds data from YAML events, on a stack of its own instead of by recursion."""

    def __init__(self, file: str) -> None:
        self.root: Any = None
        self.start: LineColumn = (0, 0)
        self.positions: dict[int, _Positions] = {}
        self._file = file
        self._stack: list[_Collection] = []
        self._anchors: dict[str, _Anchor] = {}
        self._documents = self._nodes = 0

    def add(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent():
                self._open(event, {}, "map")
            case yaml.SequenceStartEvent():
                self._open(event, [], "seq")
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "more than one YAML document in the file")
            case _:
                pass

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._count(event, 1)
        if event.tag not in _TEXT_TAGS:
            self._fail(event, f"the tag {shorten(event.tag or '')} is not allowed")
        # A key is always text: null, true or 1 as a key would not be found by its name.
        is_key = self._stack and self._stack[-1].expects_key
        value = event.value if is_key else self._typed_value(event)
        if event.anchor:
            self._anchors[event.anchor] = _Anchor(value, 1, 0)
        if is_key:
            self._key(event, value)
        else:
            self._add_position(event)
            self._add_value(value)

    def _open(
        self, event: yaml.CollectionStartEvent, value: dict[str, Any] | list[Any], kind: str
    ) -> None:
        self._count(event, 1)
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{kind}"):
            self._fail(event, f"the tag {shorten(event.tag)} is not allowed")
        self._check_nesting(event, 1)
        if self._stack and self._stack[-1].expects_key:
            self._fail(event, "a key must be a word, found a mapping or a list")
        # Before the push: the position belongs to the collection around this one.
        self._add_position(event)
        positions: _Positions = [] if isinstance(value, list) else {}
        self._stack.append(_Collection(value, positions, event.anchor, self._nodes - 1))

    def _close(self) -> None:
        done = self._stack.pop()
        self.positions[id(done.value)] = done.positions
        # A key of its own comes before a merged one, wherever << stands among them.
        for merged in done.merges:
            assert isinstance(done.value, dict)
            done.value.update({k: v for k, v in merged.items() if k not in done.value})
        if done.anchor:
            size = self._nodes - done.nodes_before
            self._anchors[done.anchor] = _Anchor(done.value, size, done.height)
        self._add_value(done.value, done.height)

    def _alias(self, event: yaml.AliasEvent) -> None:
        # Counted as if it were written out: nested aliases can stand for billions of values.
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            self._fail(event, f"the alias *{shorten(event.anchor or '')} names no anchor before it")
        self._count(event, anchored.size)
        self._check_nesting(event, anchored.height)
        if not (self._stack and self._stack[-1].expects_key):
            self._add_position(event)
            self._add_value(anchored.value, anchored.height)
        elif isinstance(anchored.value, str):
            self._key(event, anchored.value)
        else:
            self._fail(event, "a key must be a word, and this alias stands for something else")

    def _key(self, event: yaml.Event, key: str) -> None:
        top = self._stack[-1]
        if key in top.lines:
            self._fail(event, f"the key {shorten(key)!r} stands here and on line {top.lines[key]}")
        top.key, top.lines[key] = key, _line_column(event)[0]

    def _add_position(self, event: yaml.Event) -> None:
        """Record the position of the value that starts with this event."""
        line, column = _line_column(event)
        if not self._stack:
            self.start = line, column
            return
        top = self._stack[-1]
        if isinstance(top.positions, list):
            top.positions.append(line * _COLUMNS + column)
        elif top.key is not None:
            top.positions[top.key] = line * _COLUMNS + column

    def _add_value(self, value: Any, height: int = 0) -> None:
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        top.height = max(top.height, height + 1)
        if isinstance(top.value, list):
            top.value.append(value)
            return
        assert top.key is not None
        merged = _mergeable(value) if top.key == "<<" else []
        if merged:
            top.merges = merged
        else:
            top.value[top.key] = value
        top.key = None

    def _typed_value(self, event: yaml.ScalarEvent) -> Any:
        """Convert a plain scalar by YAML 1.2's core schema."""
        text: str = event.value
        if event.tag is not None or event.style not in (None, ""):
            return text
        if text in _WORDS:
            return _WORDS[text]
        # Most scalars are words: this spares them two regular expressions.
        if text[0] not in "+-.0123456789":
            return text
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if not _FLOAT.fullmatch(text):
            return text
        number = float(text)
        return number if math.isfinite(number) else self._fail(event, "the number is out of range")

    def _count(self, event: yaml.Event, number: int) -> None:
        self._nodes += number
        if self._nodes > NODE_LIMIT:
            self._fail(event, f"more than {NODE_LIMIT:,} values, aliases written out")

    def _check_nesting(self, event: yaml.Event, height: int) -> None:
        if len(self._stack) + height > NESTING_LIMIT:
            self._fail(event, f"nested more than {NESTING_LIMIT} levels deep")

    def _fail(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = _line_column(event)
        keys = (
            len(collection.value) if isinstance(collection.value, list) else collection.key
            for collection in self._stack
        )
        path = format_path(tuple(key for key in keys if key is not None))
        raise LoadError(message, file=self._file, path=path, line=line, column=column)


def _mergeable(value: Any) -> list[dict[str, Any]]:
    """Return the mappings that ``<<`` merges; none if its value makes it an ordinary key."""
    mappings = value if isinstance(value, list) else [value]
    return mappings if all(isinstance(mapping, dict) for mapping in mappings) else []


_TEXT_TAGS = {None, "!", "tag:yaml.org,2002:str"}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
