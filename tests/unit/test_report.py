"""Reports without a browser: what is told of a run, what is cut, and that no text gets out."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.acceptance.test_statuses import WORKER
from tests.support.helpers import job, workflow
from tests.support.report_pages import (
    ATTACKS,
    DEEP,
    GRAPHS,
    Told,
    hostile,
    page_of,
    page_of_two,
    ran,
    sample,
)
from worker.cli.report import report
from worker.core.events import Dataclip, to_json
from worker.core.outcome import Position, StepError
from worker.errors import LoadError, UsageError, WorkerError
from worker.sinks.journal import Journal
from worker.sinks.run_summary import summarize
from worker.util.json import dumps
from worker.view.report.build import run_view
from worker.view.report.compare import alone, divergence_of, together
from worker.view.report.dataclips import DEPTH, LIMITS, TOTAL, EmbeddedDataclips, clip_of, limit_for
from worker.view.report.edges import judged_edges
from worker.view.report.embedded_graph import DRAWN
from worker.view.report.error_view import error_view
from worker.view.report.executions import executions_of
from worker.view.report.page import data_of
from worker.view.report.sources import SourceListing, inferred, read_source
from worker.view.report.view_model import RunView
from worker.workflow.load import load
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

REFERRAL = ("referral.yaml", "referral.unknown-patient.input.json")
JOIN = ("join.json", "join.input.json")


def fates(source: SourceListing) -> dict[str, str]:
    """What became of each edge at last, and why."""
    judged = judged_edges(source.workflow, executions_of(source.events), source.start)
    return {one.edge.id: f"{one.fate}: {one.why}" for one in judged}


def write_journal(file: Path, source: SourceListing) -> Path:
    file.write_text("".join(f"{to_json(event)}\n" for event in source.events))
    return file


# --- edges ----------------------------------------------------------------------------------------


def test_edges_are_followed_and_refused_with_the_reason() -> None:
    assert fates(sample(*REFERRAL)) == {
        "webhook->validate-referral": "followed: it is always followed",
        "validate-referral->fetch-patient": "followed: the step left no error",
        "fetch-patient->upsert-record": "refused: only on success, and the step left an error",
        "fetch-patient->alert-nurse": "followed: the step left an error",
    }


def test_conditions_that_did_not_hold_and_edges_that_are_disabled() -> None:
    always = {"b": "state.yes", "c": "!state.yes", "d": {"disabled": True, "condition": True}}
    steps = [job("fn(s => ({ yes: true }))", next={**always, "e": False})]
    source = ran(workflow(*steps, *(job("fn(s => s)", id=id) for id in "bcde")))
    assert fates(source) == {
        "a->b": "followed: its condition held",
        "a->c": "refused: its condition did not hold",
        "a->d": "refused: it is disabled",
        "a->e": "refused: it is never followed",
    }


def test_edges_of_a_step_that_ends_the_run_are_not_asked_and_others_keep_waiting() -> None:
    both = {"b": True, "c": True}
    steps = [job("fn(s => s)", next=both), job("missing()", id="b", next={"c": True})]
    source = ran(workflow(*steps, job("fn(s => s)", id="c")))
    assert fates(source) == {
        "a->b": "followed: it is always followed",
        "a->c": "waiting: the run ended before it was this step's turn",
        "b->c": "unasked: no edge is followed when a step is crashed",
    }


def test_edges_behind_steps_without_code_are_told_by_what_ran() -> None:
    def step(id: str, *targets: str, source: str = "//", **kind: StepKind) -> Step:
        edges = [Edge(source=id, target=one, kind=EdgeKind.EXPRESSION) for one in targets]
        return Step(id=id, source=source, edges=tuple(edges), **kind)

    trigger = step("t", "a", "z", source="", kind=StepKind.TRIGGER)
    steps = (trigger, step("a", "p"), step("p", "b", "c", source=""), step("b"), step("c"))
    told = Told()
    first = told.start("a")
    told.complete(first, "a", next=("p",))
    told.complete(told.start("b", input=f"out-{first}"), "b")
    told.end()
    known = Workflow(name="w", steps=(*steps, step("z")))
    assert {id: text.split(":")[0] for id, text in fates(told.source(known)).items()} == {
        "t->a": "followed",
        "t->z": "refused",
        "a->p": "followed",
        "p->b": "followed",
        "p->c": "refused",
    }


# --- executions -----------------------------------------------------------------------------------


def test_the_executions_of_a_join_know_what_each_came_from() -> None:
    view, marks = run_view(sample(*JOIN))
    orders = [one for one in view.executions if one.step == "order"]
    assert [(one.turn, one.turns) for one in orders] == [(1, 2), (2, 2)]
    came = [view.executions[one.upstream].step for one in orders if one.upstream is not None]
    assert came == ["plan-tests", "plan-treatments"]
    assert marks.steps["order"].badge.startswith("×2 · ")
    assert marks.edges["plan-tests->order"].tone == "followed"


def test_each_step_begins_with_what_the_one_before_gave() -> None:
    view, _ = run_view(sample(*JOIN))
    first, second, *_ = view.executions
    assert second.input == first.output and first.input is not None
    assert json.loads(view.clips[first.input].text) == json.loads(
        (GRAPHS / "join.input.json").read_text()
    )


def test_a_step_that_returned_nothing_still_leads_to_the_next() -> None:
    steps = [job("fn(() => undefined)", next={"b": True}), job("fn(s => s)", id="b")]
    view, _ = run_view(ran(workflow(*steps)))
    assert [one.upstream for one in view.executions] == [None, 0]
    assert view.executions[0].output is None and view.executions[0].no_output


def test_a_clock_that_stands_still_is_read_at_the_next_step() -> None:
    told = Told()
    first = told.start("a")
    told.complete(first, "a", next=("b",))
    told.now += 4000
    told.complete(told.start("b", input=f"out-{first}"), "b")
    told.end()
    assert [one.took for one in executions_of(told.events)] == ["1.0 ms", "1.0 ms"]
    still = executions_of(told.events, stands_still=True)
    assert [one.took for one in still] == ["5.0 ms", "≥ 1.0 ms"]


def test_the_verdict_has_the_words_of_the_terminal() -> None:
    source = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    view, _ = run_view(source)
    assert [view.headline, *view.verdict] == summarize(source.workflow, source.events)
    text = page_of(source)
    for line in view.verdict:
        assert line.strip().replace("&", "&amp;").replace(">", "&gt;") in text


# --- errors in their source -----------------------------------------------------------------------


def test_an_error_stands_in_its_source_with_the_lines_around_it() -> None:
    source = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    view, _ = run_view(source)
    error = view.executions[0].error
    assert error is not None and error.place == "reserve:4:56"
    (hit,) = (line for line in error.lines if line.caret)
    assert hit.number == 4 and hit.text[hit.caret - 1 :].startswith("stock} in stock")
    assert [line.number for line in error.lines] == [1, 2, 3, 4, 5, 6]


def test_what_is_spelled_out_before_the_caret_moves_it() -> None:
    line = "a\u202e; throw"
    error = StepError(
        type="JobError", message="", position=Position(line=1, column=5, source_line=line)
    )
    (shown,) = error_view(error, None).lines
    assert shown.text == r"a\x202e; throw" and shown.text[shown.caret - 1 :] == "throw"


def test_a_source_that_is_another_one_is_not_shown_around_the_error() -> None:
    place = Position(line=1, column=1, source_line="old()")
    error = StepError(type="JobError", message="", position=place)
    (shown,) = error_view(error, Step(id="a", source="one\ntwo")).lines
    assert shown.text == "old()"


# --- states ---------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=9),
    max_leaves=60,
)


@given(JSON, st.integers(min_value=60, max_value=1500))
def test_a_state_is_whole_or_says_where_it_is_cut(value: object, limit: int) -> None:
    text = json.dumps(value)
    clip = clip_of(text, limit)
    if len(text) <= limit:
        assert clip.text == text and not clip.cut
    else:
        json.loads(clip.text)
        assert clip.cut and clip.size == len(text)
        assert len(clip.text) <= limit * 3 + 400


def test_a_long_list_does_not_hide_what_stands_beside_it() -> None:
    text = json.dumps({"list": list(range(100_000)), "name": "Amina"})
    clip = clip_of(text, 4000)
    kept = json.loads(clip.text)
    assert kept["name"] == "Amina" and kept["list"][:3] == [0, 1, 2]
    assert re.fullmatch(rf"{clip.cut}[\d,]+ more", kept["list"][-1])


def test_a_state_cannot_pretend_to_have_been_cut() -> None:
    signs = {clip_of(json.dumps(text * 3000), 400).cut for text in ("a", "b", "cut-")}
    assert len(signs) == 3


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_a_deep_state_is_cut_at_its_depth(text: str) -> None:
    clip = clip_of(text, 256_000)
    value, depth = json.loads(clip.text), 0
    while isinstance(value, list | dict):
        value, depth = (value[0] if isinstance(value, list) else value["a"]), depth + 1
    assert depth == DEPTH - 1 and value == f"{clip.cut}nested more than {DEPTH} levels deep"


def test_states_share_what_a_page_can_hold() -> None:
    assert limit_for([1000]) == LIMITS[0]
    assert limit_for([200_000] * 10_000) == LIMITS[-1]
    assert sum(min(50_000, limit_for([50_000] * 1000)) for _ in range(1000)) <= TOTAL
    clips = EmbeddedDataclips({"a": "{}", "b": "{}", "c": "1"})
    assert [clips.place(name) for name in ("a", "b", "c", "d", None)] == [0, 0, 1, None, None]


# --- journals and recordings ----------------------------------------------------------------------


def test_a_journal_without_its_workflow_draws_what_it_tells(tmp_path: Path) -> None:
    source = read_source(write_journal(tmp_path / "run.jsonl", sample(*JOIN)))
    assert not source.known
    ids = [step.id for step in source.workflow.steps]
    assert ids == ["count-stock", "plan-tests", "plan-treatments", "order"]
    assert [edge.id for edge in source.workflow.steps[0].edges] == [
        "count-stock->plan-tests",
        "count-stock->plan-treatments",
    ]
    view, _ = run_view(source)
    assert any("conditions" in note and "unknown" in note for note in view.notes)


def test_steps_that_were_selected_and_never_ran_are_drawn_too() -> None:
    told = Told()
    told.complete(told.start("a"), "a", next=("b",))
    told.end()
    assert [step.id for step in inferred(tuple(told.events)).steps] == ["a", "b"]


def test_a_journal_that_is_cut_off_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    file.write_text(file.read_text()[:2000])
    view, _ = run_view(read_source(file))
    assert view.status == "running" and view.headline.startswith("▸ not ended")
    assert any("cut off" in note for note in view.notes) and view.executions
    assert "not ended" in page_of(read_source(file))


def test_a_journal_that_stops_between_events_says_so(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]))
    view, marks = run_view(read_source(file))
    assert view.notes[-1] == "run.jsonl ends before its run does"
    assert marks.steps["plan-tests"].tone == "running"


def test_a_deep_state_in_a_journal_can_be_read(tmp_path: Path) -> None:
    told = Told()
    deep = '{"output_dataclip":' * DEEP + '"}"' + "}" * DEEP
    told.complete(told.start("a"), "a", output_dataclip=Dataclip(deep))
    told.end(final_state=Dataclip(deep))
    file = write_journal(tmp_path / "run.jsonl", told.source(Workflow(name="", steps=())))
    view, _ = run_view(read_source(file))
    assert view.status == "success" and view.executions[0].output == view.final == 0
    assert view.clips[0].size == len(deep)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"timestamp":1', '"timestamp":"1'),
        ('"reason":"success"', '"reason":"winner"'),
        ('"duration":', '"duration":-'),
        ('"next":["', '"next":[1,"'),
        ('"job_name":"', '"job_name":7,"x":"'),
        ('"execution":0', '"execution":1e400'),
    ],
)
def test_an_event_that_no_run_reports_ends_what_is_shown(
    old: str, new: str, tmp_path: Path
) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    lines = file.read_text().splitlines()
    changed = [line.replace(old, new) for line in lines[1:]]
    assert changed != lines[1:]
    file.write_text("\n".join([lines[0], *changed]))
    source = read_source(file)
    assert source.damage and source.end is None
    assert page_of(source)


ODD = [None, True, -1, 1e308, float("nan"), "", "x", [], [["a"]], {}, {"type": 1}, 10**20, "\ud800"]


def damaged(fields: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Some of the events, a few of whose fields say something else, or are gone."""
    kept = [copy.deepcopy(chance.choice(fields)) for _ in range(chance.randint(1, 14))]
    for _ in range(chance.randint(1, 3)):
        inside: dict[str, Any] = chance.choice(kept)
        key = chance.choice(list(inside))
        while isinstance(inside[key], dict) and inside[key] and chance.random() < 0.7:
            inside, key = inside[key], chance.choice(list(inside[key]))
        inside[key] = copy.deepcopy(chance.choice(ODD))
        if chance.random() < 0.2:
            del inside[key]
            break
    return kept


def test_a_damaged_journal_is_shown_or_refused_and_never_a_defect(tmp_path: Path) -> None:
    failed = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    sources = (sample(*JOIN), sample(*REFERRAL), failed)
    fields = [json.loads(to_json(event)) for source in sources for event in source.events]
    chance, shown = random.Random(7), 0
    for number in range(400):
        file = tmp_path / f"{number}.jsonl"
        events = [fields[0], *damaged(fields, chance)]
        file.write_text("\n".join(map(dumps, events)))
        with contextlib.suppress(WorkerError):
            view, _ = run_view(read_source(file))
            data_of(alone(view)).encode()
            shown += 1
    assert shown > 100


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b'{"type":"run:start"}', b'{"type":"run:\xff"}', b"PK"]
)
def test_what_is_no_run_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(content)
    with pytest.raises(LoadError):
        read_source(file)
    with pytest.raises(LoadError, match="no such"):
        read_source(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds no recording"):
        read_source(tmp_path)


def test_a_journal_of_another_workflow_is_refused(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    with pytest.raises(UsageError, match="'count-stock' ran, and is no step"):
        read_source(file, load(GRAPHS / "referral.yaml"))


# --- two runs -------------------------------------------------------------------------------------


def compared(
    before: SourceListing, now: SourceListing
) -> tuple[list[tuple[str | None, ...]], int | None]:
    views = run_view(before)[0], run_view(now)[0]
    view = together(*views, divergence_of(before, now))

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
    cut = SourceListing(name="cut", workflow=whole.workflow, known=True, events=whole.events[:7])
    assert divergence_of(cut, whole) is None
    found = divergence_of(whole, cut)
    assert found is not None and found.kind == "path"
    assert "None: the two runs are the same" in page_of_two(whole, whole)


def test_states_that_are_too_deep_to_compare_are_said_to_be() -> None:
    def deep(text: str) -> SourceListing:
        told = Told()
        told.complete(told.start("a"), "a", output_dataclip=Dataclip(text))
        told.end()
        return told.source(Workflow(name="w", steps=(Step(id="a", source="//"),)))

    found = divergence_of(deep("[" * DEEP + "]" * DEEP), deep("[" * DEEP + "1" + "]" * DEEP))
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


def test_no_text_becomes_markup() -> None:
    calm = {tag for tag, _ in Seen(page_of(sample(*REFERRAL))).tags}
    found = Seen(page_of(hostile()))
    assert {tag for tag, _ in found.tags} <= calm | {"pre", "p"}
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src")}
    assert [attributes["href"] for tag, attributes in found.tags if tag == "a"] == ["#steps-title"]
    assert len(found.inside["script"]) == 2 and len(found.inside["style"]) == 2


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
    view, _ = run_view(hostile())
    text = data_of(alone(view))
    assert "<" not in text
    assert json.loads(text)["runs"][0]["logs"][1]["message"] == next(iter(ATTACKS.values()))
    text.encode()


def test_the_same_run_gives_the_same_page() -> None:
    assert page_of(hostile()) == page_of(hostile())


def test_a_graph_that_is_too_large_leaves_the_rest() -> None:
    crowd = tuple(Step(id=f"s{number}", source="//") for number in range(DRAWN + 1))
    told = Told()
    told.complete(told.start("s0"), "s0")
    told.end()
    text = page_of(told.source(Workflow(name="crowd", steps=crowd)))
    assert "<svg" not in text and "No graph is drawn of 3001 steps" in text


# --- the command ----------------------------------------------------------------------------------


def run_report(source: Path, output: Path, **options: object) -> int:
    given = {"workflow_file": None, "workflow": None, **options}
    return report.callback(source=source, output=output, **given)


def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.jsonl"
    journal = Journal(file)
    for event in sample(*JOIN).events:
        journal.receive(event)
    journal.close()
    output = tmp_path / "x.html"
    assert run_report(file, output, workflow_file=GRAPHS / "join.json") == 0
    assert output.read_text().startswith("<!doctype html>")
    assert run_report(file, output, against=file) == 0
    assert capsys.readouterr().err == "no difference\n"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "run"
    names = [str(GRAPHS / name) for name in REFERRAL]
    line = [*WORKER, "run", names[0], "--input", names[1], "--record", str(folder), "-q"]
    assert subprocess.run(line, timeout=60).returncode == 0
    return folder


def test_a_recording_is_replayed_beside_itself(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.html"
    assert run_report(recording, output, replayed=True) == 0
    assert capsys.readouterr().err == "no difference\n"
    assert "None: the two runs are the same" in output.read_text()
    changed = tmp_path / "changed.json"
    plan = (recording / "workflow.json").read_text()
    changed.write_text(plan.replace("No patient", "Nobody called"))
    assert run_report(recording, output, replayed=True, workflow_file=changed) == 0
    told = "first difference: outcome at 'fetch-patient': expected fail (JobError: No patient"
    assert capsys.readouterr().err.startswith(told)
    data = json.loads(Seen(output.read_text()).inside["script"][0])
    assert data["first"]["row"] == 1
    assert [run["name"] for run in data["runs"]] == [str(recording), f"replay of {recording}"]


def test_a_recording_knows_its_input_its_workflow_and_its_clock(
    recording: Path, tmp_path: Path
) -> None:
    view, _ = run_view(read_source(recording))
    assert view.executions[0].input is not None
    assert fates(read_source(recording)) == fates(sample(*REFERRAL))
    assert view.executions[-1].took.startswith("≥ ") and len(view.notes) == 1
    with pytest.raises(UsageError, match="holds its own workflow"):
        run_report(recording, tmp_path / "x.html", workflow_file=GRAPHS / "referral.yaml")


def test_a_damaged_recording_is_shown_as_far_as_it_goes(recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(recording, folder)
    for clip in (folder / "clips").iterdir():
        clip.write_text("{}")
    view, _ = run_view(read_source(folder))
    assert view.status == "success" and len(view.notes) > 1
    assert {one.no_output for one in view.executions} == {"not known: it could not be read"}
    assert all(one.output is None for one in view.executions)


def test_the_command_line_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    line = [*WORKER, "report", str(tmp_path / "missing"), "-o", str(tmp_path / "x.html")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: .*no such journal or recording\n", done.stderr)
    assert not (tmp_path / "x.html").exists()


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = write_journal(tmp_path / "run.jsonl", sample(*JOIN))
    wrong: list[dict[str, object]] = [
        {"against": file, "replayed": True},
        {"replayed": True},
        {"against": tmp_path / "missing"},
        {"workflow_file": tmp_path / "missing.yaml"},
    ]
    for options in wrong:
        with pytest.raises(WorkerError):
            run_report(file, tmp_path / "x.html", **options)
    with pytest.raises(UsageError, match="cannot be written"):
        run_report(file, tmp_path / "no" / "x.html")
