"""Summary of a campaign: how many replays were the same, and the kinds of change by count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.campaigns.replay_versions import ReplayRow

EXAMPLES = 3
MOST_NAMES = 10


@dataclass(slots=True)
class ChangeGroup:
    """Replays that differ in the same way: their number, and the first of them as examples."""

    count: int = 0
    examples: list[ReplayRow] = field(default_factory=list)

    def add(self, row: ReplayRow) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(row)


Change = tuple[str, str, str]
"""Kind, step and field."""


@dataclass(slots=True)
class VersionSummary:
    """Replays with one version."""

    kinds: Counter[str] = field(default_factory=Counter)
    changes: dict[Change, ChangeGroup] = field(default_factory=dict)
    against: dict[str, ChangeGroup] = field(default_factory=dict)
    flows: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    @property
    def same(self) -> int:
        return self.kinds["same"]

    def sorted_changes(self) -> list[tuple[Change, ChangeGroup]]:
        """List the changes, the most frequent first, and those alike by their names."""
        return sorted(self.changes.items(), key=lambda item: (-item[1].count, item[0]))

    def add(self, row: ReplayRow) -> None:
        self.kinds[row.kind] += 1
        if row.kind != "same":
            change = row.kind, row.step, row.field
            self.changes.setdefault(change, ChangeGroup()).add(row)
        for question in row.against:
            self.against.setdefault(question, ChangeGroup()).add(row)


@dataclass(slots=True)
class CampaignSummary:
    """Summary of all versions; ``recorded_flows`` counts the edges of the recorded runs.

    ``unrecorded`` are the ids of the runs that a database names and that have no recording.
    """

    versions: dict[str, VersionSummary]
    questions: tuple[str, ...] = ()
    unrecorded: Sequence[str] = ()
    recorded_flows: Counter[str] = field(default_factory=Counter)

    @property
    def differs(self) -> bool:
        return any(v.same < v.total or v.against for v in self.versions.values())

    @property
    def nothing_readable(self) -> bool:
        return all(v.kinds["unreadable"] == v.total for v in self.versions.values())

    def add_flows(self, flows: Mapping[str, Mapping[str, int]], recorded: str) -> None:
        """Add the edges that runs followed, by version."""
        for version, edges in flows.items():
            if version == recorded:
                self.recorded_flows.update(edges)
            else:
                self.versions[version].flows.update(edges)


def summary_lines(summary: CampaignSummary) -> Iterator[str]:
    """Format lines for a terminal; texts are not escaped yet."""
    for name, version in summary.versions.items():
        yield f"{name}: {version.same:,} of {version.total:,} recorded runs are the same"
        for change, group in version.sorted_changes():
            yield f"    {group.count:>6,}  {describe_change(change)}"
            for row in group.examples:
                yield f"            {row.recording}: {row.message}"
        for question in summary.questions:
            contradicted = version.against.get(question, ChangeGroup())
            mark = "✗" if contradicted.count else "✓"
            yield f"    {mark} {question}: {contradicted.count:,} runs against it"
            for row in contradicted.examples:
                yield f"            {row.recording}"
    if summary.unrecorded:
        yield describe_unrecorded(summary.unrecorded)


def describe_unrecorded(run_ids: Sequence[str]) -> str:
    """Describe the runs that have no recording."""
    names = ", ".join(run_ids[:MOST_NAMES])
    more = f" and {len(run_ids) - MOST_NAMES:,} more" if len(run_ids) > MOST_NAMES else ""
    return f"    {len(run_ids):>6,}  have no recording: {names}{more}"


def describe_change(change: Change) -> str:
    """Describe a way to differ in a few words."""
    kind, step, place = change
    at = f" at '{step}'" if step else ""
    return f"{kind}{at}{f' ({place})' if place else ''}"


# --- two campaigns --------------------------------------------------------------------------------


@dataclass(slots=True)
class CampaignComparison:
    """Replays of two campaigns, by recording and version: how many are alike, and the others."""

    alike: int = 0
    changes: dict[tuple[str, str, str], ChangeGroup] = field(default_factory=dict)
    only_first: int = 0
    only_second: int = 0

    @property
    def differs(self) -> bool:
        return bool(self.changes or self.only_first or self.only_second)


def compare_campaigns(
    first: Iterable[ReplayRow], second: Iterable[ReplayRow]
) -> CampaignComparison:
    """Compare the rows of two campaigns."""
    comparison = CampaignComparison()
    before = {(row.recording, row.version): _difference(row) for row in first}
    for row in second:
        old = before.pop((row.recording, row.version), None)
        if old is None:
            comparison.only_second += 1
        elif old == _difference(row):
            comparison.alike += 1
        else:
            now = describe_change((row.kind, row.step, row.field))
            change = row.version, describe_change(old[:3]), now
            comparison.changes.setdefault(change, ChangeGroup()).add(row)
    comparison.only_first = len(before)
    return comparison


def _difference(row: ReplayRow) -> tuple[str, str, str, tuple[str, ...]]:
    return row.kind, row.step, row.field, row.against


def comparison_lines(comparison: CampaignComparison) -> Iterator[str]:
    """Format lines for a terminal."""
    yield f"{comparison.alike:,} replays are alike"
    groups = sorted(comparison.changes.items(), key=lambda item: (-item[1].count, item[0]))
    for (version, old, new), group in groups:
        yield f"    {group.count:>6,}  {version}: {old} → {new}"
        for row in group.examples:
            yield f"            {row.recording}: {row.message}"
    if comparison.only_first:
        yield f"    {comparison.only_first:>6,}  are only in the first campaign"
    if comparison.only_second:
        yield f"    {comparison.only_second:>6,}  are only in the second campaign"
