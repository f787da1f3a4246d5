"""State diagrams of the documentation, generated from the tables that the code runs on.

``python -m tools.diagrams`` prints every diagram; ``python -m tools.diagrams FILE`` updates those
that FILE contains. In a file, a diagram stands between ``<!-- NAME diagram -->`` and
``<!-- end of NAME diagram -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from worker.core.machine import TRANSITIONS, Phase
from worker.fleet.control.entities import RunPhase
from worker.fleet.control.lifecycle import TABLE

Transition = tuple[str, str, str]
"""A state, the event that it accepts, and the state that this leads to."""


def mermaid(transitions: Iterable[Transition], *, initial: str, final: Iterable[str]) -> str:
    """Return a Mermaid state diagram. Names are identifiers: Mermaid allows no spaces in them."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial}"]
    lines += (f"    {source} --> {target}: {event}" for source, event, target in transitions)
    lines += (f"    {state} --> [*]" for state in final)
    return "\n".join(lines)


def machine() -> str:
    """Return the diagram of the phases of :mod:`worker.core.machine`."""
    transitions = (
        (phase.name.lower(), event.__name__, target.name.lower())
        for phase, targets_by_event in TRANSITIONS.items()
        for event, targets in targets_by_event.items()
        for target in targets
    )
    final = (phase.name.lower() for phase, accepted in TRANSITIONS.items() if not accepted)
    return mermaid(transitions, initial=Phase.NOT_STARTED.name.lower(), final=final)


def lifecycle() -> str:
    """Return the diagram of a run in the control plane, from its table of transitions."""
    notes = (f" ({row.note})" if row.note else "" for row in TABLE)
    transitions = (
        (row.source.value, f"{row.event.__name__}{note}", row.target.value)
        for row, note in zip(TABLE, notes, strict=True)
    )
    return mermaid(transitions, initial=RunPhase.AVAILABLE.value, final=[RunPhase.FINAL.value])


DIAGRAMS: dict[str, Callable[[], str]] = {"machine": machine, "lifecycle": lifecycle}


def update(text: str) -> str:
    """Return a document's text with the diagrams that it contains generated anew."""
    for name, diagram in DIAGRAMS.items():
        text = _replace(text, name, f"```mermaid\n{diagram()}\n```")
    return text


def _replace(text: str, name: str, diagram: str) -> str:
    start, end = f"<!-- {name} diagram -->", f"<!-- end of {name} diagram -->"
    between = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    # A function, as backslashes in a replacement text would be interpreted.
    return between.sub(lambda _: f"{start}\n{diagram}\n{end}", text)


def main(arguments: list[str]) -> None:
    for argument in arguments:
        file = Path(argument)
        file.write_text(update(file.read_text()))
    if not arguments:
        print("\n\n".join(diagram() for diagram in DIAGRAMS.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
