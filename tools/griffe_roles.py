"""Extension of mkdocstrings: shows ``:class:`Name``` in docstrings as a link to that name."""

from __future__ import annotations

import re
from typing import Any

import griffe

import worker
import worker.testing

_ROLE = re.compile(r":(?:class|exc|func|meth|data|attr):`~?([^`]+)`")


class Roles(griffe.Extension):
    """Rewrites the roles of Sphinx, which Markdown does not have."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda match: _link(match[1]), obj.docstring.value)


def _link(name: str) -> str:
    package = next((p for p in (worker, worker.testing) if name in p.__all__), None)
    return f"`{name}`" if package is None else f"[`{name}`][{package.__name__}.{name}]"
