"""Comparison of what a run does where a step ends in one way, and in another one instead."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from worker.comparison.lockstep import PAIRS_LIMIT, Scenario, default_end, describe_end
from worker.core.machine import StartStep
from worker.explore.explorer import Choice, Ending, ExploredState, Explorer, situation


def endings_scenario(
    explorer: Explorer, step: str, before: Ending, after: Ending
) -> Scenario | None:
    """Return the shortest scenario in which a step ends as ``before`` (old), or ``after`` (new).

    Return ``None`` where no run comes to the step.
    """
    run = _shortest_way_to(step, explorer)
    if run is None:
        return None
    first, second = (
        explorer.follow(run, Choice(step=step, ending=ending)) for ending in (before, after)
    )
    old, new = default_end(explorer, first), default_end(explorer, second)
    return Scenario(
        choices=first.choices,
        shared=len(run.path) + 1,
        old=describe_end(old),
        new=describe_end(new),
        old_run=old,
        new_run=new,
    )


def _shortest_way_to(step: str, explorer: Explorer) -> ExploredState | None:
    waiting, seen = deque([explorer.start()]), set[Hashable]()
    while waiting and len(seen) < PAIRS_LIMIT:
        run = waiting.popleft()
        if isinstance(run.effect, StartStep) and run.effect.step.id == step:
            return run
        if (key := situation(run)) not in seen:
            seen.add(key)
            waiting += [explorer.follow(run, choice) for choice in explorer.choices(run)]
    return None
