"""Change of costs between two runs: of the whole run, and of each step that both executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.core.events import AnyEvent, RunComplete, StepComplete, cost_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChange:
    """Instructions before and after; ``step`` is empty for the whole run."""

    step: str
    before: int
    after: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else float("inf")


def cost_changes(before: Sequence[AnyEvent], after: Sequence[AnyEvent]) -> tuple[CostChange, ...]:
    """Return the change of the run, and those of its steps, the largest first.

    Empty where the costs of one of the runs are not known.
    """
    run_before, run_after = cost_of_run(before), cost_of_run(after)
    if run_before is None or run_after is None:
        return ()
    run = CostChange(step="", before=run_before, after=run_after)
    return run, *sorted(_of_steps(before, after), key=lambda change: change.before - change.after)


def cost_of_run(events: Sequence[AnyEvent]) -> int | None:
    """Return the instructions of a run; ``None`` where they were not counted."""
    last = events[-1] if events else None
    return cost_of(last) if isinstance(last, RunComplete) else None


def _of_steps(before: Sequence[AnyEvent], after: Sequence[AnyEvent]) -> Iterator[CostChange]:
    old, new = _by_step(before), _by_step(after)
    for step, cost in old.items():
        if step in new:
            yield CostChange(step=step, before=cost, after=new[step])


def _by_step(events: Sequence[AnyEvent]) -> Counter[str]:
    costs: Counter[str] = Counter()
    for event in events:
        if isinstance(event, StepComplete) and (cost := cost_of(event)) is not None:
            costs[event.job_id] += cost
    return costs


def describe_ratio(ratio: float) -> str:
    """Describe a ratio of costs as ``3.1 times dearer``, ``4 % cheaper`` or ``as dear``."""
    if ratio >= 1.995:
        return f"{ratio:.1f} times dearer"
    if 0 < ratio <= 1 / 1.995:
        return f"{1 / ratio:.1f} times cheaper"
    percent = round((ratio - 1) * 100)
    if not percent:
        return "as dear"
    return f"{abs(percent)} % {'dearer' if percent > 0 else 'cheaper'}"
