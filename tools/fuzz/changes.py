"""Changes of inputs by their structure: depth, length, type, order, number, encoding, keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tools.fuzz.inputs import Pairs, Verbatim, to_json

Parts = tuple[Any, ...]
Path = tuple[int, ...]
"""Indices of children, from the outermost node."""

TEXTS = (
    "", " ", "\0", "a\0b", "\n", "a\n", "../x", "/dev/null", "é", "\ud800", "\udc00\ud83d", "💥",
    "\u202e", "\ufeff", "x" * 65, "x" * 3000, "%s{}", "__proto__", "constructor", "null", "true",
    "NaN", "-1", "1e999", "http://[", "http://[::1]:99999/", "https://u:p@h:x/", "*.x", "a b", "#",
    "=", "'\"`", "${x}", "<<", "&a", "*a", "!!str", "|", "$[", "$..[?(", "2026-02-30", "0x1", "1_0",
)  # fmt: skip
NUMBERS = (
    "0", "-0.0", "-1", "1", "0.5", "1e300", "-1e300", "1e999", "NaN", "Infinity", "-Infinity",
    str(2**31), str(2**53 + 1), str(2**63), str(2**64), "9" * 400, "9" * 5000, "1e-320", "01",
)  # fmt: skip
SPELLINGS = (
    '"\\ud800"', '"\\udc00\\ud800"', '"\\x"', '"\x01"', '{"a":1,"a":2}', "[,]", "{,}", "nul", "",
    "// x", "&a [*a]", "*missing", "!!python/object:os.system x", "{<<: [1]}", "? x", "'", "@", "%",
)  # fmt: skip
DEPTHS = (1, 2, 60, 195, 199, 200, 201, 206, 210, 211, 400, 900, 1000, 3000, 30_000)
COUNTS = (2, 3, 10, 100, 1000, 5000)
FLOODS = (1000, 20_000)
FILE_BYTES = 20_000_000
"""The size of a large flood, which is that of the largest file."""
BYTES = (b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\x1b", b"\n", b"\r", b"\xef\xbb\xbf", b"}")


class Changer:
    """Maker of inputs from inputs, by one source of chance."""

    def __init__(self, chance: random.Random, *, large: bool = False) -> None:
        """Take the source of chance; ``large`` inputs are refused quickly, or should be."""
        self._chance = chance
        self._large = large

    def change(self, parts: Parts, other: Parts) -> Parts:
        """Return an input with a few changes; ``other`` is one to borrow parts and values from."""
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))):
            parts = self._change_once(parts, other)
        return parts

    def damage(self, data: bytes) -> bytes:
        """Return bytes that were cut, or have something in them that is not text."""
        place = self._chance.randint(0, len(data))
        match self._chance.randrange(5):
            case 0:
                return data[:place]
            case 1:
                return data[:place] + data[self._chance.randint(place, len(data)) :]
            case 2:
                return data.decode("utf-8", "replace").encode("utf-16")
            case 3:
                return data + data[place:]
            case _:
                return data[:place] + self._chance.choice(BYTES) + data[place:]

    def _change_once(self, parts: Parts, other: Parts) -> Parts:
        if len(parts) > 1 and self._chance.random() < 0.3:
            return self._rearrange(parts, other)
        if not parts:
            return other
        index = self._chance.randrange(len(parts))
        changed = _replace(parts[index], self._path(parts[index]), self._change_node(other))
        return *parts[:index], changed, *parts[index + 1 :]

    def _path(self, part: Any) -> Path:
        """Choose a node: first its type, as a few numbers stand among hundreds of texts."""
        by_type: dict[type, list[Path]] = {}
        for path in _paths(part):
            by_type.setdefault(type(_at(part, path)), []).append(path)
        return self._chance.choice(self._chance.choice(list(by_type.values())))

    def _rearrange(self, parts: Parts, other: Parts) -> Parts:
        """Drop, repeat, swap, cut or insert whole parts."""
        at, to = sorted(self._chance.choices(range(len(parts)), k=2))
        match self._chance.randrange(5):
            case 0:
                return parts[:at] + parts[at + 1 :]
            case 1:
                return parts[:at] + parts[at : at + 1] * 2 + parts[at + 1 :]
            case 2:
                swapped = list(parts)
                swapped[at], swapped[to] = swapped[to], swapped[at]
                return tuple(swapped)
            case 3:
                return parts[:at]
            case _:
                inserted = self._chance.choice(other) if other else None
                return *parts[:at], inserted, *parts[at:]

    def _change_node(self, other: Parts) -> Callable[[Any], Any]:
        changes: Sequence[Callable[[Any], Any]] = (
            *(self._hostile,) * 5, *(self._nested,) * 2, *(self._container,) * 6, self._flooded,
            *(lambda node: self._borrowed(other, node),) * 2,
        )  # fmt: skip
        return self._chance.choice(changes)

    def _hostile(self, node: Any) -> Any:
        """Return a value of any type and spelling."""
        if isinstance(node, int | float) and self._chance.random() < 0.3:
            return self._chance.choice((node + 1, node - 1, -node, str(node), node * 1000))
        if isinstance(node, int | float) and self._chance.random() < 0.5:
            return Verbatim(self._chance.choice(NUMBERS))
        if isinstance(node, str) and self._chance.random() < 0.3:
            return self._chance.choice((node + self._chance.choice(TEXTS), node[1:], node * 20))
        match self._chance.randrange(5):
            case 0:
                return self._chance.choice(TEXTS)
            case 1:
                return Verbatim(self._chance.choice(NUMBERS))
            case 2:
                return Verbatim(self._chance.choice(SPELLINGS))
            case _:
                return self._chance.choice((None, True, False, [], Pairs(()), [None], "x", 7.5))

    def _nested(self, node: Any) -> Any:
        depth = self._chance.choice(DEPTHS)
        opened, closed = self._chance.choice((("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")))
        # Most tries are shallow, as a deep input is refused before much is done with it.
        return Verbatim(opened * depth + to_json(node) + closed * depth)

    def _flooded(self, node: Any) -> Any:
        child = self._chance.choice(("{}", "[]", "0", '""', '{"a":0}'))
        count = self._chance.choice(FLOODS)
        if self._large and self._chance.random() < 0.25:
            count = FILE_BYTES // (len(child) + 1)
        return Verbatim("[" + ",".join([child] * count) + "]")

    def _borrowed(self, other: Parts, node: Any) -> Any:
        """Return a value of another input."""
        if not other:
            return node
        part = self._chance.choice(other)
        return _at(part, self._chance.choice(list(_paths(part))))

    def _container(self, node: Any) -> Any:
        """Change what an object or a list holds, or put another value into one."""
        if isinstance(node, Pairs) and node.items:
            return Pairs(tuple(self._changed_pairs(list(node.items))))
        if isinstance(node, list) and node:
            return self._changed_list(list(node))
        return self._hostile(node)

    def _changed_pairs(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        index = self._chance.randrange(len(items))
        key, value = items[index]
        match self._chance.randrange(6):
            case 0:
                del items[index]
            case 1:
                items.append((key, self._hostile(value)))
            case 2:
                items[index] = self._chance.choice(TEXTS), value
            case 3:
                self._chance.shuffle(items)
            case 4:
                items.append((self._chance.choice(("x", "id", "name", "__proto__")), value))
            case _:
                other = self._chance.randrange(len(items))
                items[index], items[other] = (key, items[other][1]), (items[other][0], value)
        return items

    def _changed_list(self, items: list[Any]) -> list[Any]:
        index = self._chance.randrange(len(items))
        match self._chance.randrange(4):
            case 0:
                del items[index]
            case 1:
                self._chance.shuffle(items)
            case 2:
                items.insert(index, self._hostile(items[index]))
            case _:
                text = to_json(items[index])
                count = min(self._chance.choice(COUNTS), 400_000 // (len(text) + 1))
                return [*items[:index], Verbatim(",".join([text] * max(1, count)))]
        return items


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, Pairs):
        return [value for _, value in node.items]
    return node if isinstance(node, list) else ()


def _paths(node: Any) -> Iterator[Path]:
    yield ()
    for index, child in enumerate(_children(node)):
        for path in _paths(child):
            yield index, *path


def _at(node: Any, path: Path) -> Any:
    for index in path:
        node = _children(node)[index]
    return node


def _replace(node: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(node)
    index, *rest = path
    if isinstance(node, Pairs):
        key, value = node.items[index]
        changed = (key, _replace(value, tuple(rest), change))
        return Pairs((*node.items[:index], changed, *node.items[index + 1 :]))
    return [*node[:index], _replace(node[index], tuple(rest), change), *node[index + 1 :]]
