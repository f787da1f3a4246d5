"""Policies for objects in the log lines of jobs, which may hold data of persons."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_START = re.compile(r"[\[{]")
_decode = json.JSONDecoder().raw_decode
# Each start that is not JSON is parsed in vain: a text of brackets alone would take minutes.
_MAX_FAILURES = 100
_ALL = "[sanitized]"


def sanitize(text: str, policy: str) -> str:
    """Replace the JSON objects and arrays in a line after OpenFn's policy for the run.

    ``remove`` drops them, ``obfuscate`` leaves their kind and ``summarize`` their keys. ``none``
    changes nothing, and an unknown policy drops them.
    """
    if policy == "none":
        return text
    replacement = _POLICIES.get(policy, _remove)
    parts: list[str] = []
    end = failures = 0
    while match := _START.search(text, end):
        try:
            value, after = _decode(text, match.start())
        except (ValueError, RecursionError):
            failures += 1
            if failures > _MAX_FAILURES:
                return "".join((*parts, _ALL))
            value, after = None, match.end()
            parts.append(text[end:after])
        else:
            parts += [text[end : match.start()], replacement(value)]
        end = after
    return "".join((*parts, text[end:]))


def _remove(value: Any) -> str:
    return ""


def _obfuscate(value: Any) -> str:
    return "[array]" if isinstance(value, list) else "[object]"


def _summarize(value: Any) -> str:
    if isinstance(value, list):
        return f"(array of length {len(value)})"
    return f"(object with keys {', '.join(sorted(value))})" if value else "(empty object)"


_POLICIES: dict[str, Callable[[Any], str]] = {
    "remove": _remove,
    "obfuscate": _obfuscate,
    "summarize": _summarize,
}
