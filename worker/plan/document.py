"""A file as plain data, read safely, with the place of every value in it.

YAML is read from its event stream, without recursion: nesting and the expansion of aliases are
bounded before anything is built, a key that stands twice is an error (the parser would drop a
rule in silence), and plain words mean what YAML 1.2 says (``on`` and ``no`` are words).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from worker.errors import LoadError

if TYPE_CHECKING:
    import yaml

FILE_LIMIT = 20 * 1024 * 1024
NESTING_LIMIT = 200
NODE_LIMIT = 2_000_000

Path_ = tuple[str | int, ...]
Mark = tuple[int, int]


@dataclass(slots=True, kw_only=True)
class Document:
    """What a file holds. ``marks`` gives (line, column), from 1, by the path of keys and indices;
    it is empty for JSON. ``folder`` is where files beside it are looked for."""

    file: str
    root: Any
    marks: Mapping[Path_, Mark] = field(default_factory=dict)
    folder: Path | None = None

    def fail(self, path: Path_, message: str) -> NoReturn:
        """Raise a :class:`LoadError` that names the place."""
        line, column = self.place(path)
        raise LoadError(
            message, file=self.file, path=path_text(path), line=line, column=column
        ) from None

    def place(self, path: Path_) -> Mark:
        """The mark of a path, or of the nearest one around it; (0, 0) where none is known."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (0, 0))


def path_text(path: Path_) -> str:
    """``("steps", 0, "next")`` as ``steps[0].next``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w>-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text


def read_document(file: Path, *, located: bool = False) -> Document:
    """Read a YAML or JSON file. Raises :class:`LoadError` on anything that is not one.

    ``located`` asks for marks in JSON too, which then takes as long to read as YAML.
    """
    text = read_text(file, FILE_LIMIT)
    name = str(file)
    looks_json = file.suffix == ".json" or text.lstrip()[:1] in ("{", "[")
    if looks_json:
        try:
            root = parse_json(text, name)
            marks = parse_yaml(text.replace("\t", " "), name)[1] if located else {}
            return Document(file=name, root=root, marks=marks, folder=file.parent)
        except LoadError:
            if file.suffix == ".json":
                raise
    root, marks = parse_yaml(text, name)
    return Document(file=name, root=root, marks=marks, folder=file.parent)


def read_text(file: Path, limit: int) -> str:
    """A file as text, within ``limit`` bytes. Raises :class:`LoadError` with the reason."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise LoadError("not a file", file=str(file))
        if size > limit:
            found, allowed = size / 2**20, limit / 2**20
            message = f"the file is {found:.1f} MB, over the limit of {allowed:.0f} MB"
            raise LoadError(message, file=str(file))
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}", file=str(file)) from None
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text: byte 0x{error.object[error.start]:02x} at {error.start}"
        raise LoadError(message, file=str(file)) from None


def parse_json(text: str, file: str) -> Any:
    """JSON as plain data; a key that stands twice is an error."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise LoadError(f"the key {twice!r} stands twice in one object", file=file)
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}"
        raise LoadError(message, file=file, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise LoadError("nested too deeply", file=file) from None
    check_nesting(value, file)
    return value


def check_nesting(value: Any, file: str) -> None:
    """Refuse data nested deeper than NESTING_LIMIT, larger than NODE_LIMIT, or in a cycle."""
    level, count = [value], 0
    for _ in range(NESTING_LIMIT):
        level = [child for item in level for child in _children(item)]
        count += len(level)
        if not level:
            return
        if count > NODE_LIMIT:
            raise LoadError(f"more than {NODE_LIMIT:,} values", file=file)
    raise LoadError(f"nested more than {NESTING_LIMIT} levels deep", file=file)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        return iter(value.values())
    return iter(value) if isinstance(value, list | tuple) else iter(())


# --- YAML ---------------------------------------------------------------------------------------


def parse_yaml(text: str, file: str) -> tuple[Any, dict[Path_, Mark]]:
    """YAML as plain data, and the mark of every value by its path."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        message = f"not YAML: {error.problem or error.context}"
        raise LoadError(message, file=file, line=line, column=column) from None
    except yaml.YAMLError as error:
        raise LoadError(f"not YAML: {str(error).splitlines()[0]}", file=file) from None
    return builder.root, builder.marks


@dataclass(slots=True)
class _Open:
    """A collection under construction; a mapping waits for a key or for that key's value."""

    value: dict[str, Any] | list[Any]
    path: Path_
    anchor: str | None
    key: str | None = None


class _Builder:
    """Builds data from YAML events on a stack of its own."""

    def __init__(self, file: str) -> None:
        self.root: Any = None
        self.marks: dict[Path_, Mark] = {}
        self._file = file
        self._stack: list[_Open] = []
        self._anchors: dict[str, Any] = {}
        self._documents = self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        import yaml

        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._fail(event, "more than one YAML document in the file")
            case yaml.ScalarEvent():
                self._add(event, _scalar(event, self), event.anchor)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    self._fail(event, f"the alias *{event.anchor} names no anchor before it")
                self._add(event, self._copy(event), None)
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.CollectionEndEvent():
                self._close(event)
            case _:
                pass

    def _open(self, event: yaml.CollectionStartEvent, value: dict[str, Any] | list[Any]) -> None:
        if len(self._stack) >= NESTING_LIMIT:
            self._fail(event, f"nested more than {NESTING_LIMIT} levels deep")
        if event.tag not in _COLLECTION_TAGS:
            self._fail(event, f"the tag {event.tag} is not allowed")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._fail(event, "a key must be a word, found a mapping or a list")
        path = self._path()
        self._mark(event, path)
        self._stack.append(_Open(value, path, event.anchor))

    def _close(self, event: yaml.Event) -> None:
        done = self._stack.pop()
        if done.anchor:
            self._anchors[done.anchor] = done.value
        self._place(event, done.value)

    def _add(self, event: yaml.Event, value: Any, anchor: str | None) -> None:
        self._count(event, 1)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            top.key = _key_text(value, event)
            if top.key in top.value:
                line = self.marks.get((*top.path, top.key), (0, 0))[0]
                self._fail(event, f"the key {top.key!r} stands here and on line {line}")
            return
        self._mark(event, self._path())
        if anchor:
            self._anchors[anchor] = value
        self._place(event, value)

    def _place(self, event: yaml.Event, value: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is None:
            self.root = value
        elif isinstance(top.value, list):
            top.value.append(value)
        else:
            self._put(event, top, value)

    def _put(self, event: yaml.Event, top: _Open, value: Any) -> None:
        assert isinstance(top.value, dict) and top.key is not None
        if top.key == "<<" and isinstance(value, dict):
            for key, inherited in value.items():
                top.value.setdefault(key, inherited)
        else:
            top.value[top.key] = value
        top.key = None

    def _copy(self, event: yaml.AliasEvent) -> Any:
        """What an alias stands for, counted as if it were written out."""
        value = self._anchors[event.anchor or ""]
        level = [value]
        while level:
            self._count(event, len(level))
            level = [child for item in level for child in _children(item)]
        return value

    def _count(self, event: yaml.Event, number: int) -> None:
        self._nodes += number
        if self._nodes > NODE_LIMIT:
            self._fail(event, f"more than {NODE_LIMIT:,} values, aliases written out")

    def _path(self) -> Path_:
        if not self._stack:
            return ()
        top = self._stack[-1]
        return (*top.path, len(top.value) if isinstance(top.value, list) else top.key or "")

    def _mark(self, event: yaml.Event, path: Path_) -> None:
        self.marks[path] = _mark_of(event)

    def _fail(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = _mark_of(event)
        path = path_text(self._stack[-1].path) if self._stack else ""
        raise LoadError(message, file=self._file, path=path, line=line, column=column)


def _mark_of(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


_COLLECTION_TAGS = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_CORE_TAGS = {None, "!", "tag:yaml.org,2002:str"}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _scalar(event: yaml.ScalarEvent, builder: _Builder) -> Any:
    """A scalar as YAML 1.2's core schema has it."""
    if event.tag not in _CORE_TAGS:
        builder._fail(event, f"the tag {event.tag} is not allowed")
    text = event.value
    if event.tag is not None or event.style not in (None, ""):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _key_text(value: Any, event: yaml.Event) -> str:
    """Keys are text: a number or ``true`` as a key is the word that was written."""
    return str(getattr(event, "value", value))
