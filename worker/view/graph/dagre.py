"""Adapter for dagre, a JavaScript layout library that runs in QuickJS."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.engine.failures import Interrupted, ScriptError
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.engine.instance import Instance

# Measured on 100 steps with 130 labelled edges: dagre takes 0.1 s, is 50 kB and MIT, and reserves
# room for edge labels. ELK takes 1.2 s and is 1.6 MB. grandalf takes 0.01 s, but it has no labels,
# routes edges through boxes, and had its last release in 2023. Graphviz would have to be installed.

_TIME_LIMIT_S = 30.0
_OPTIONS = {"rankdir": "TB", "nodesep": 26, "edgesep": 14, "ranksep": 60, "acyclicer": "greedy"}

Point = tuple[float, float]
Size = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DagreLayout:
    """Centers of boxes, and for each edge its points and the center of its label."""

    nodes: tuple[Point, ...]
    edges: tuple[tuple[Point, ...], ...]
    labels: tuple[Point | None, ...]

    def mirrored(self) -> DagreLayout:
        """Exchange left and right."""
        return DagreLayout(
            nodes=tuple((-x, y) for x, y in self.nodes),
            edges=tuple(tuple((-x, y) for x, y in points) for points in self.edges),
            labels=tuple(point and (-point[0], point[1]) for point in self.labels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DagreGraph:
    """Input of dagre: sizes of boxes, and edges as (source, target, label width, label height).

    Source and target are indexes of boxes.
    """

    nodes: Sequence[Size]
    edges: Sequence[tuple[int, int, float, float]]


def run_dagre(graphs: Sequence[DagreGraph]) -> list[DagreLayout]:
    """Lay out each graph.

    Raises :class:`UsageError` for graphs that are too large.
    """
    try:
        return [_parse(json.loads(output)) for output in _in_thread(graphs)]
    except (ScriptError, Interrupted) as error:
        nodes = sum(len(graph.nodes) for graph in graphs)
        raise UsageError(
            f"{nodes} steps are too many to lay out ({error}): write mmd or dot"
        ) from error


def _parse(output: dict[str, Any]) -> DagreLayout:
    return DagreLayout(
        nodes=tuple((x, y) for x, y in output["nodes"]),
        edges=tuple(tuple((x, y) for x, y in edge["points"]) for edge in output["edges"]),
        labels=tuple(tuple(edge["label"]) if edge["label"] else None for edge in output["edges"]),
    )


def _in_thread(graphs: Sequence[DagreGraph]) -> list[str]:
    """Run dagre in a thread of its own, which has a larger stack."""
    # dagre recurses along paths: with a thread's usual stack a chain of 1,500 steps overflows.
    from worker.engine.deep import THREAD_STACK_BYTES

    results: list[list[str] | Exception] = []

    def work() -> None:
        try:
            results.append(_evaluate(graphs))
        except Exception as error:
            results.append(error)

    # The stack size is a setting of the process: restore it as soon as the thread has started.
    previous_size = threading.stack_size(THREAD_STACK_BYTES)
    try:
        thread = threading.Thread(target=work, name="layout")
        thread.start()
    finally:
        threading.stack_size(previous_size)
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _evaluate(graphs: Sequence[DagreGraph]) -> list[str]:
    from worker.engine.deep import deep_instance

    # A graph of thousands of steps would block the caller for minutes.
    with deep_instance() as instance, instance.interrupt_after(_TIME_LIMIT_S):
        _read(instance, (Path(__file__).parent / "vendor/dagre.js").read_text("utf-8"))
        return [_layout(instance, graph) for graph in graphs]


def _layout(instance: Instance, graph: DagreGraph) -> str:
    text = json.dumps({"nodes": graph.nodes, "edges": graph.edges, "options": _OPTIONS})
    return _read(instance, f"__layout({json.dumps(text)})")


def _read(instance: Instance, source: str) -> str:
    """Return what a source evaluates to, as text. Raises :class:`ScriptError` where it throws."""
    succeeded = instance.evaluate(source)
    text = str(instance.call("read_register"))
    if not succeeded:
        raise ScriptError(text)
    return text
