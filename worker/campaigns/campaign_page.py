"""Report of a campaign: one HTML page without scripts, which opens offline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from worker.campaigns.campaign_spec import CampaignSpec
from worker.campaigns.campaign_summary import (
    CampaignSummary,
    ChangeGroup,
    VersionSummary,
    describe_change,
)
from worker.campaigns.result_folder import RESULTS, UNRECORDED
from worker.view.graph.drawing import MAX_WEIGHT, Annotation, Annotations, Drawing, draw
from worker.view.graph.html import add_graphs, open_page, page_text
from worker.view.graph.text import clean, clean_lines
from worker.workflow.model import Workflow

_MESSAGE_LENGTH = 300
_MOST_RUNS = 100


def render_campaign(spec: CampaignSpec, summary: CampaignSummary, recorded: Workflow) -> str:
    """Render the report; ``recorded`` is the workflow of the recorded runs."""
    before = draw(recorded, flow_annotations(recorded, summary.recorded_flows))
    after = {
        name: draw(workflow, flow_annotations(workflow, summary.versions[name].flows))
        for name, workflow in spec.versions.items()
        if workflow is not None
    }
    title = f"{clean(spec.name)}: campaign"
    page, main = open_page(title, [before, *after.values()])
    ET.SubElement(main, "h1").text = title
    _overview(_section(main, "Versions"), summary)
    if summary.unrecorded:
        _unrecorded(_section(main, "Runs without a recording"), summary.unrecorded)
    for name, version in summary.versions.items():
        section = _section(main, f"Version {name}")
        _changes(section, name, version)
        if summary.questions:
            _questions(section, name, summary.questions, version)
        if name in after:
            _graphs(main, name, before, after[name])
    return page_text(page)


def flow_annotations(workflow: Workflow, flows: Mapping[str, int]) -> Annotations:
    """Annotate edges with how often they were followed; the most frequent are the thickest."""
    most = max(flows.values(), default=0)
    edges = {
        edge.id: _flow(flows.get(edge.id, 0), most)
        for step in workflow.steps
        for edge in step.edges
    }
    return Annotations(edges=edges)


def _flow(count: int, most: int) -> Annotation:
    if not count:
        return Annotation(style="not-reached", note="not followed")
    weight = math.ceil(MAX_WEIGHT * count / most)
    times = "once" if count == 1 else f"{count:,} times"
    return Annotation(style="followed", badge=f"{count:,}", note=f"followed {times}", weight=weight)


def _section(main: ET.Element, title: str) -> ET.Element:
    section = ET.SubElement(main, "section")
    ET.SubElement(section, "h2").text = title
    return section


def _graphs(main: ET.Element, name: str, before: Drawing, after: Drawing) -> None:
    ET.SubElement(main, "h3").text = f"Recorded runs, and the same with version {name}"
    # Regions of a page need different names.
    add_graphs(
        main,
        [
            replace(before, title=f"{before.title}, recorded, beside {name}"),
            replace(after, title=f"{after.title}, version {name}"),
        ],
    )


def _overview(section: ET.Element, summary: CampaignSummary) -> None:
    rows = [
        (name, f"{version.total:,}", f"{version.same:,}", f"{version.total - version.same:,}")
        for name, version in summary.versions.items()
    ]
    _table(section, "Versions", ("Version", "Replays", "The same", "Different"), rows)


def _unrecorded(section: ET.Element, run_ids: Sequence[str]) -> None:
    text = f"{len(run_ids):,} runs of the database were not replayed, as they have no recording:"
    ET.SubElement(section, "p").text = text
    _table(section, "Runs without a recording", ("Run",), [(id,) for id in run_ids[:_MOST_RUNS]])
    if len(run_ids) > _MOST_RUNS:
        ET.SubElement(section, "p").text = f"All of them are in {UNRECORDED}."


def _changes(section: ET.Element, name: str, version: VersionSummary) -> None:
    changes = version.sorted_changes()
    if not changes:
        ET.SubElement(section, "p").text = f"All {version.total:,} replays are the same."
        return
    rows = [
        (f"{group.count:,}", describe_change(change), _examples(group)) for change, group in changes
    ]
    _table(section, f"Kinds of change, {name}", ("Count", "Change", "Examples"), rows)
    different = version.total - version.same
    ET.SubElement(section, "p").text = f"All {different:,} that differ are lines of {RESULTS}."


def _questions(
    section: ET.Element, name: str, questions: Sequence[str], version: VersionSummary
) -> None:
    rows = []
    for question in questions:
        group = version.against.get(question)
        against = (f"{group.count:,}", _examples(group)) if group else ("0", "")
        rows.append((question, *against))
    _table(section, f"Questions, {name}", ("Question", "Runs against it", "Examples"), rows)


def _examples(group: ChangeGroup) -> str:
    return "\n".join(
        f"{row.recording}: {row.message[:_MESSAGE_LENGTH]}" if row.message else row.recording
        for row in group.examples
    )


def _table(
    parent: ET.Element, name: str, headings: Iterable[str], rows: Iterable[Iterable[str]]
) -> None:
    # A scrollable region needs a name and a tab stop to be scrolled by keyboard.
    region = {"class": "scroll", "role": "region", "aria-label": name, "tabindex": "0"}
    table = ET.SubElement(ET.SubElement(parent, "div", region), "table")
    _row(ET.SubElement(table, "thead"), "th", headings)
    body = ET.SubElement(table, "tbody")
    for row in rows:
        _row(body, "td", row)


def _row(parent: ET.Element, tag: str, cells: Iterable[str]) -> None:
    row = ET.SubElement(parent, "tr")
    for text in cells:
        cell = ET.SubElement(row, tag)
        first, *others = clean_lines(text).split("\n")
        cell.text = first
        for line in others:
            ET.SubElement(cell, "br").tail = line
