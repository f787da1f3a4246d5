"""Policies for objects in the log lines of jobs, which may hold data of persons.

The sandbox has printed the objects already, as JSON or as Node's console does, so they are what
stands in brackets. A bracket that is not closed hides the rest of the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_OPENING = re.compile(r"[\[{]")
# Within an object, brackets and commas of its texts do not count. Outside of one, an apostrophe is
# part of a word. A text that is not closed ends with its line: to search for its end from each of
# its quotes would hold the worker up for hours in a line of a megabyte.
_SYMBOL = re.compile(
    r"""[\[\]{},]|"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?|`(?:[^`\\]|\\.)*+`?""", re.DOTALL
)


def sanitize(text: str, policy: str) -> str:
    """Replace the objects and arrays in a line after OpenFn's policy for the run.

    ``remove`` drops them, ``obfuscate`` leaves their kind and ``summarize`` their keys. ``none``
    changes nothing, and an unknown policy drops them.
    """
    if policy == "none":
        return text
    replacement = _POLICIES.get(policy, _remove)
    parts, end = [], 0
    while match := _OPENING.search(text, end):
        commas, after = _group(text, match.start())
        parts += [text[end : match.start()], replacement(text[match.start() : after], commas)]
        end = after
    return "".join((*parts, text[end:]))


# Where the commas of an object stand that are its own, from its opening bracket.
_Commas = list[int]


def _group(text: str, start: int) -> tuple[_Commas, int]:
    """Return the commas of a group in brackets, and its end."""
    depth, commas = 0, []
    for match in _SYMBOL.finditer(text, start):
        symbol = match[0]
        if symbol == "," and depth == 1:
            commas.append(match.start() - start)
        depth += (symbol in "[{") - (symbol in "]}")
        if depth == 0:
            return commas, match.end()
    return commas, len(text)


def _items(group: str, commas: _Commas) -> Iterator[str]:
    for begin, end in zip((0, *commas), (*commas, len(group) - 1), strict=True):
        if item := group[begin + 1 : end].strip():
            yield item


def _remove(group: str, commas: _Commas) -> str:
    return ""


def _obfuscate(group: str, commas: _Commas) -> str:
    return "[array]" if group.startswith("[") else "[object]"


def _summarize(group: str, commas: _Commas) -> str:
    items = list(_items(group, commas))
    if group.startswith("["):
        return f"(array of length {len(items)})"
    keys = sorted(item.partition(":")[0].strip("\"' ") for item in items)
    return f"(object with keys {', '.join(keys)})" if keys else "(empty object)"


_POLICIES: dict[str, Callable[[str, _Commas], str]] = {
    "remove": _remove,
    "obfuscate": _obfuscate,
    "summarize": _summarize,
}
