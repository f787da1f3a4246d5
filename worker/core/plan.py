"""A workflow that was checked and can be walked. Free of networkx: the run's process loads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.workflow.model import Step


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A valid graph: no cycles, every target known, ids unique, ``start`` a known step.

    ``end`` may name a step that does not exist: such a run simply never stops early.
    ``index`` gives a step's place in ``steps``, which is the plan order of the leaf rule.
    """

    name: str
    steps: tuple[Step, ...]
    start: str
    end: str = ""
    index: Mapping[str, int] = field(default_factory=dict)

    def step(self, step_id: str) -> Step:
        return self.steps[self.index[step_id]]
