"""Report pages, comparisons of two runs, and the report command."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.command import WORKER
from tests.support.report_pages import (
    ATTACKS,
    DEEP,
    GRAPHS,
    EventScript,
    hostile,
    page_of,
    page_of_two,
    sample,
)
from worker.cli.report import report
from worker.core.events import Dataclip, to_json
from worker.errors import UsageError, WorkerError
from worker.replay.recording import read_recording
from worker.sinks.journal import Journal
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import comparison_report, find_divergence, single_run_report
from worker.view.report.edges import evaluate_edges
from worker.view.report.embedded_graph import MAX_NODES
from worker.view.report.executions import executions_of
from worker.view.report.page import embedded_json
from worker.view.report.report_source import ReportSource, read_source
from worker.view.report.view_model import RunView
from worker.workflow.model import Step, Workflow

REFERRAL = ("referral.yaml", "referral.unknown-patient.input.json")
JOIN = ("join.json", "join.input.json")


def outcomes(source: ReportSource) -> dict[str, str]:
    """Return the last outcome of each edge, with its reason."""
    evaluated = evaluate_edges(source.workflow, executions_of(source.events), source.start)
    return {one.edge.id: f"{one.outcome}: {one.reason}" for one in evaluated}


def write_journal(file: Path, source: ReportSource) -> Path:
    file.write_text("".join(f"{to_json(event)}\n" for event in source.events))
    return file


# --- two runs -------------------------------------------------------------------------------------


def compared(
    before: ReportSource, now: ReportSource
) -> tuple[list[tuple[str | None, ...]], int | None]:
    views = build_run_view(before)[0], build_run_view(now)[0]
    view = comparison_report(*views, find_divergence(before, now))

    def name(run: RunView, place: int | None) -> str | None:
        return None if place is None else f"{run.executions[place].step}"

    rows = [
        tuple(name(run, place) for run, place in zip(views, row.executions, strict=True))
        for row in view.rows
    ]
    return rows, view.first.row if view.first else None


def test_two_runs_stand_beside_each_other_with_the_first_difference() -> None:
    rows, first = compared(sample("referral.yaml", "referral.input.json"), sample(*REFERRAL))
    assert rows == [
        ("validate-referral", "validate-referral"),
        ("fetch-patient", "fetch-patient"),
        (None, "alert-nurse"),
        ("upsert-record", None),
        ("notify-facility", None),
    ]
    assert first == 0


def test_a_run_does_not_differ_from_itself_and_may_end_early() -> None:
    whole = sample(*JOIN)
    assert compared(whole, whole)[1] is None
    cut = ReportSource(
        name="cut", workflow=whole.workflow, workflow_known=True, events=whole.events[:7]
    )
    assert find_divergence(cut, whole) is None
    found = find_divergence(whole, cut)
    assert found is not None and found.kind == "path"
    assert "None: the two runs are equal" in page_of_two(whole, whole)


def test_states_that_are_too_deep_to_compare_are_said_to_be() -> None:
    def deep(text: str) -> ReportSource:
        script = EventScript()
        script.complete(script.start("a"), "a", output_dataclip=Dataclip(text))
        script.end()
        return script.source(Workflow(name="w", steps=(Step(id="a", source="//"),)))

    found = find_divergence(deep("[" * DEEP + "]" * DEEP), deep("[" * DEEP + "1" + "]" * DEEP))
    assert found is not None and "nested too deeply" in found.message


# --- the page -------------------------------------------------------------------------------------


class Seen(HTMLParser):
    """The elements of a page, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self._now = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._now = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._now = ""

    def handle_data(self, data: str) -> None:
        if self._now in self.inside:
            self.inside[self._now][-1] += data


@pytest.mark.slow
def test_no_text_becomes_markup() -> None:
    calm = {tag for tag, _ in Seen(page_of(sample(*REFERRAL))).tags}
    found = Seen(page_of(hostile()))
    assert {tag for tag, _ in found.tags} <= calm | {"pre", "p"}
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src")}
    assert [attributes["href"] for tag, attributes in found.tags if tag == "a"] == ["#steps-title"]
    assert len(found.inside["script"]) == 2 and len(found.inside["style"]) == 2


@pytest.mark.slow
def test_the_policy_allows_what_is_in_the_page_and_nothing_else() -> None:
    found = Seen(page_of(hostile()))
    (policy,) = (
        attributes["content"]
        for tag, attributes in found.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = dict(one.split(" ", 1) for one in (policy or "").split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == digest(found.inside["script"][1])
    assert rules["style-src"] == " ".join(map(digest, found.inside["style"]))


def test_the_data_of_a_page_cannot_end_its_element() -> None:
    view, _ = build_run_view(hostile())
    text = embedded_json(single_run_report(view))
    assert "<" not in text
    assert json.loads(text)["runs"][0]["logs"][1]["message"] == next(iter(ATTACKS.values()))
    text.encode()


@pytest.mark.slow
def test_the_same_run_gives_the_same_page() -> None:
    assert page_of(hostile()) == page_of(hostile())


def test_a_graph_that_is_too_large_leaves_the_rest() -> None:
    crowd = tuple(Step(id=f"s{number}", source="//") for number in range(MAX_NODES + 1))
    script = EventScript()
    script.complete(script.start("s0"), "s0")
    script.end()
    text = page_of(script.source(Workflow(name="crowd", steps=crowd)))
    assert "<svg" not in text and "The graph is too large to draw: 3,001 steps" in text


# --- the command ----------------------------------------------------------------------------------


def run_report(source: Path, output: Path, *options: str | Path) -> int:
    """Run ``worker report`` in this process and return its exit code; its errors are raised."""
    arguments = [str(one) for one in (source, "--output", output, *options)]
    code: int = report.main(arguments, standalone_mode=False)
    return code


def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.jsonl"
    journal = Journal(file)
    for event in sample(*JOIN).events:
        journal.receive(event)
    journal.close()
    output = tmp_path / "x.html"
    assert run_report(file, output, "--workflow-file", GRAPHS / "join.json") == 0
    assert output.read_text().startswith("<!doctype html>")
    assert run_report(file, output, "--against", file) == 0
    assert capsys.readouterr().err == "no difference\n"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recorded") / "run"
    names = [str(GRAPHS / name) for name in REFERRAL]
    line = [*WORKER, "run", names[0], "--input", names[1], "--record", str(file), "-q"]
    assert subprocess.run(line, timeout=60).returncode == 0
    return file


@pytest.mark.slow
def test_a_recording_is_replayed_beside_itself(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.html"
    assert run_report(recording, output, "--replay") == 0
    assert capsys.readouterr().err == "no difference\n"
    assert "None: the two runs are equal" in output.read_text()
    changed = tmp_path / "changed.json"
    plan = json.dumps(read_recording(recording).plan)
    changed.write_text(plan.replace("No patient", "Nobody called"))
    assert run_report(recording, output, "--replay", "--workflow-file", changed) == 0
    script = "first difference: outcome at 'fetch-patient': expected fail (JobError: No patient"
    assert capsys.readouterr().err.startswith(script)
    data = json.loads(Seen(output.read_text()).inside["script"][0])
    assert data["first"]["row"] == 1
    assert [run["name"] for run in data["runs"]] == [str(recording), f"replay of {recording}"]


@pytest.mark.slow
def test_a_recording_knows_its_input_its_workflow_and_its_clock(
    recording: Path, tmp_path: Path
) -> None:
    view, _ = build_run_view(read_source(recording))
    assert view.executions[0].input is not None
    assert outcomes(read_source(recording)) == outcomes(sample(*REFERRAL))
    assert view.executions[-1].took.startswith("≥ ") and len(view.notes) == 1
    with pytest.raises(UsageError, match="holds its own workflow"):
        run_report(recording, tmp_path / "x.html", "--workflow-file", GRAPHS / "referral.yaml")


@pytest.mark.slow
def test_a_damaged_recording_is_shown_as_far_as_it_goes(recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "damaged"
    file.write_text(re.sub(r'"content":.*\}', '"content":{}}', recording.read_text()))
    view, _ = build_run_view(read_source(file))
    assert view.status == "success" and len(view.notes) > 1
    assert {one.no_output for one in view.executions} == {"unknown: it could not be read"}
    assert all(one.output is None for one in view.executions)


def test_the_command_line_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    line = [*WORKER, "report", str(tmp_path / "missing"), "-o", str(tmp_path / "x.html")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: .*there is no such file\n", done.stderr)
    assert not (tmp_path / "x.html").exists()


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    wrong: list[tuple[str | Path, ...]] = [
        ("--against", file, "--replay"),
        ("--replay",),
        ("--against", tmp_path / "missing"),
        ("--workflow-file", tmp_path / "missing.yaml"),
    ]
    for options in wrong:
        with pytest.raises(WorkerError):
            run_report(file, tmp_path / "x.html", *options)
    # Folders are made, but not where a file is.
    with pytest.raises(WorkerError):
        run_report(file, file / "x.html")
