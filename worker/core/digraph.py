"""Directed graph of networkx, imported without the rest of the package.

``networkx`` imports 285 modules and scans the installed distributions for backends: 0.1 s, which
is most of a short command. The few modules behind a graph and its order take a tenth of that.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from networkx import DiGraph, is_directed_acyclic_graph

__all__ = ["DiGraph", "is_directed_acyclic_graph"]

# In this order: each uses the names of those before it.
_PARTS = ("exception", "utils", "classes.digraph", "algorithms.dag")
_BACKENDS = "networkx.utils.backends"


def import_networkx() -> tuple[Any, Any]:
    """Return ``DiGraph`` and ``is_directed_acyclic_graph``."""
    if "networkx" not in sys.modules:
        try:
            return _import_parts()
        # A release with another structure is slower to import, and nothing else.
        except Exception:  # noqa: S110
            pass
    networkx = importlib.import_module("networkx")
    return networkx.DiGraph, networkx.is_directed_acyclic_graph


def _import_parts() -> tuple[Any, Any]:
    """Import the two without the ``__init__`` of the package and of most packages in it."""
    try:
        package = _add_empty("networkx")
        for name in ("networkx.classes", "networkx.algorithms"):
            _add_empty(name)
        backends = sys.modules[_BACKENDS] = ModuleType(_BACKENDS)
        vars(backends).update(__all__=["_dispatchable"], _dispatchable=_call_directly)
        vars(package).update(_dispatchable=_call_directly)
        for name in _PARTS:
            vars(package).update(_public(importlib.import_module(f"networkx.{name}")))
        return _checked(package)
    finally:
        # Whoever imports networkx after this must get all of it.
        for name in [name for name in sys.modules if name.partition(".")[0] == "networkx"]:
            del sys.modules[name]


def _add_empty(name: str) -> ModuleType:
    """Register a package without running its ``__init__``."""
    spec = find_spec(name)
    assert isinstance(spec, ModuleSpec)
    package = sys.modules[name] = module_from_spec(spec)
    return package


def _checked(package: Any) -> tuple[Any, Any]:
    """Return the two if they work. Raises :class:`ImportError` and what they raise."""
    # Functions look names up in the package when they run: what it lacks is not known before.
    graph = package.DiGraph()
    graph.add_nodes_from([("a", {"step": 0})])
    graph.add_edges_from([("a", "b", {"edge": 0})])
    before = package.is_directed_acyclic_graph(graph)
    graph.add_edges_from([("b", "a", {"edge": 1})])
    if not before or package.is_directed_acyclic_graph(graph):
        raise ImportError("networkx has changed")
    return package.DiGraph, package.is_directed_acyclic_graph


def _call_directly(function: Any = None, **_options: Any) -> Any:
    """Stand in for the decorator that passes calls to other backends of networkx."""
    return _call_directly if function is None else function


def _public(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


if not TYPE_CHECKING:
    DiGraph, is_directed_acyclic_graph = import_networkx()
