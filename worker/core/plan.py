"""Compiled form of a workflow: checked, and ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import field

from worker.util.packed import Packed
from worker.workflow.model import Edge, Step


# Loaded by every run's process: it must not import networkx.
class Plan(Packed, frozen=True, kw_only=True, dict=True):
    """Valid graph: no cycles, every target known, ids unique, ``start`` a known step.

    ``end`` may name a step that does not exist: such a run never stops early. ``index`` maps a
    step's id to its index in ``steps``, whose order is the plan order of the machine's rule 7.
    """

    name: str
    steps: tuple[Step, ...]
    start: str
    end: str = ""
    index: Mapping[str, int] = field(default_factory=dict)

    def step(self, step_id: str) -> Step:
        return self.steps[self.index[step_id]]

    @cached_property
    def open_edges(self) -> tuple[tuple[Edge, ...], ...]:
        """The edges of each step, by its index, that can be taken."""
        return tuple([step.open_edges for step in self.steps])

    @cached_property
    def name_characters(self) -> int:
        """Characters of its name, and of the ids and names of its steps."""
        return len(self.name) + sum(len(step.id) + len(step.name) for step in self.steps)
