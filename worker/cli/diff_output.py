"""Differences of two versions as text, as Markdown for a pull request, and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from worker.comparison.definitions import Change
from worker.comparison.describe import describe_ends, describe_scenario
from worker.comparison.lockstep import Ended
from worker.comparison.versions import VersionDiff
from worker.explore.explorer import Choice
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.util.plural import count_of


def as_text(diff: VersionDiff) -> Iterator[str]:
    """Yield the lines that a terminal shows, the shortest scenario first."""
    for number, scenario in enumerate(diff.comparison.scenarios, start=1):
        yield f"{number}. {describe_scenario(scenario)}"
        old, new = describe_ends(scenario)
        yield from (f"   OLD {old}", f"   NEW {new}", "")
    for change in _all_changes(diff):
        yield f"{change.kind} {change.subject} {_details(change)}"
    yield from [""] if diff.changes or diff.renamed else []
    yield summary(diff)


def as_markdown(diff: VersionDiff, old: str, new: str) -> Iterator[str]:
    """Yield the lines of a comment on a pull request."""
    yield f"### {markdown_text(old)} → {markdown_text(new)}"
    yield ""
    yield markdown_text(summary(diff))
    if diff.comparison.scenarios:
        yield from ("", "| when | old | new |", "|---|---|---|")
    for scenario in diff.comparison.scenarios:
        cells = describe_scenario(scenario), *describe_ends(scenario)
        yield f"| {' | '.join(map(markdown_text, cells))} |"
    if diff.changes or diff.renamed:
        yield ""
    for change in _all_changes(diff):
        yield f"- {change.kind} {change.subject} {markdown_text(_details(change))}"


def as_json(diff: VersionDiff) -> Iterator[str]:
    """Yield one JSON object a line: scenarios, changes, and a summary."""
    for scenario in diff.comparison.scenarios:
        yield dumps(
            {
                "type": "scenario",
                "when": describe_scenario(scenario),
                "choices": [_choice(choice) for choice in scenario.choices],
                "old": _ended(scenario.old),
                "new": _ended(scenario.new),
            }
        )
    for change in _all_changes(diff):
        yield dumps({"type": "change", **_fields(change)})
    yield dumps(
        {
            "type": "summary",
            "differs": diff.differs,
            "scenarios": len(diff.comparison.scenarios),
            "situations": diff.comparison.pairs,
            "complete": diff.comparison.complete,
            "runs": diff.runs,
        }
    )


def summary(diff: VersionDiff) -> str:
    """Describe the extent of the comparison in a sentence."""
    runs = "more runs than were counted" if diff.runs is None else count_of(diff.runs, "run")
    looked = f"{count_of(diff.comparison.pairs, 'situation')} of both versions (NEW has {runs})"
    scenarios = f"{count_of(len(diff.comparison.scenarios), 'different scenario')} in {looked}"
    if not diff.comparison.complete:
        return f"{scenarios}; there are more situations (--limit)"
    if diff.comparison.scenarios:
        return scenarios
    if diff.changes:
        return f"no run goes another way ({looked}), if steps end as before"
    return f"no difference in {looked}"


def _all_changes(diff: VersionDiff) -> Iterator[Change]:
    for old, new in diff.renamed.items():
        yield Change(kind="renamed", subject="step", place=new, old=old, new=new)
    yield from diff.changes


def _details(change: Change) -> str:
    if change.kind == "renamed":
        return printable(f"{change.old} → {change.new}")
    values = f"{change.old} → {change.new}" if change.kind == "changed" else change.old + change.new
    details = "" if change.subject in ("code", "step") else f": {one_line(values, 400)}"
    return f"{printable(change.place)}{details}"


def markdown_text(text: str) -> str:
    """Return foreign text as Markdown that displays it, on one line."""
    # Names and conditions are foreign text: neither markup nor a mention may come of them. Mentions
    # of people and issues are looked for in the text that is displayed, but not within code.
    return "".join(_escaped(char) for char in printable(text))


def _escaped(char: str) -> str:
    if char in "@#":
        return f"`{char}`"
    return f"\\{char}" if char in "\\`*_[]<>|!" else char


def _choice(choice: Choice) -> dict[str, Any]:
    if choice.ending is not None:
        return {"step": choice.step, "ending": choice.ending.value}
    edges = dict(zip((edge.id for edge in choice.edges), choice.taken, strict=False))
    throws = choice.throws.id if choice.throws else None
    state = json.loads(choice.witness) if choice.witness else None
    return {"step": choice.step, "edges": edges, "throws": throws, "state": state}


def _ended(end: Ended) -> Mapping[str, Any]:
    return _fields(end)


def _fields(item: Change | Ended) -> dict[str, Any]:
    return {name: getattr(item, name) for name in type(item).__dataclass_fields__}
