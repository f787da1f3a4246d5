"""View model of reports: outcomes of edges, executions, errors, and states."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.helpers import job, workflow
from tests.support.report_pages import (
    DEEP,
    GRAPHS,
    EventScript,
    page_of,
    ran,
    sample,
)
from worker.core.outcome import Position, StepError
from worker.sinks.run_summary import edge_of, summarize
from worker.view.report.build_run_view import build_run_view
from worker.view.report.dataclips import (
    LIMITS,
    MAX_DEPTH,
    MAX_TOTAL,
    EmbeddedDataclips,
    choose_limit,
    embed_dataclip,
)
from worker.view.report.edges import evaluate_edges
from worker.view.report.error_view import error_view
from worker.view.report.executions import executions_of
from worker.view.report.report_source import ReportSource
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

REFERRAL = ("referral.yaml", "referral.unknown-patient.input.json")
JOIN = ("join.json", "join.input.json")


def outcomes(source: ReportSource) -> dict[str, str]:
    """Return the last outcome of each edge, with its reason."""
    evaluated = evaluate_edges(source.workflow, executions_of(source.events), source.start)
    return {one.edge.id: f"{one.outcome}: {one.reason}" for one in evaluated}


# --- edges ----------------------------------------------------------------------------------------


def test_edges_are_followed_or_not_taken_with_the_reason() -> None:
    assert outcomes(sample(*REFERRAL)) == {
        "webhook->validate-referral": "followed: it is always followed",
        "validate-referral->fetch-patient": "followed: the step left no error",
        "fetch-patient->upsert-record": "not taken: only on success, and the step left an error",
        "fetch-patient->alert-nurse": "followed: the step left an error",
    }


def test_conditions_that_did_not_hold_and_edges_that_are_disabled() -> None:
    always = {"b": "state.yes", "c": "!state.yes", "d": {"disabled": True, "condition": True}}
    steps = [job("fn(s => ({ yes: true }))", next={**always, "e": False})]
    source = ran(workflow(*steps, *(job("fn(s => s)", id=id) for id in "bcde")))
    assert outcomes(source) == {
        "a->b": "followed: its condition was true",
        "a->c": "not taken: its condition was false",
        "a->d": "not taken: it is disabled",
        "a->e": "not taken: it is never followed",
    }


def test_edges_of_a_step_that_ends_the_run_are_not_asked_and_others_keep_waiting() -> None:
    both = {"b": True, "c": True}
    steps = [job("fn(s => s)", next=both), job("missing()", id="b", next={"c": True})]
    source = ran(workflow(*steps, job("fn(s => s)", id="c")))
    assert outcomes(source) == {
        "a->b": "followed: it is always followed",
        "a->c": "waiting: the run ended before this step ran",
        "b->c": "not evaluated: no edge is followed when a step is crashed",
    }


def test_edges_behind_steps_without_code_are_told_by_what_ran() -> None:
    def step(id: str, *targets: str, source: str = "//", kind: StepKind = StepKind.JOB) -> Step:
        edges = [Edge(source=id, target=one, kind=EdgeKind.EXPRESSION) for one in targets]
        return Step(id=id, source=source, edges=tuple(edges), kind=kind)

    trigger = step("t", "a", "z", source="", kind=StepKind.TRIGGER)
    steps = (trigger, step("a", "p"), step("p", "b", "c", source=""), step("b"), step("c"))
    script = EventScript()
    first = script.start("a")
    script.complete(first, "a", next=("p",))
    script.complete(script.start("b", input=f"out-{first}"), "b")
    script.end()
    known = Workflow(name="w", steps=(*steps, step("z")))
    assert {id: text.split(":")[0] for id, text in outcomes(script.source(known)).items()} == {
        "t->a": "followed",
        "t->z": "not taken",
        "a->p": "followed",
        "p->b": "followed",
        "p->c": "not taken",
    }


# --- executions -----------------------------------------------------------------------------------


def test_the_executions_of_a_join_know_what_each_came_from() -> None:
    view, marks = build_run_view(sample(*JOIN))
    orders = [one for one in view.executions if one.step == "order"]
    assert [(one.turn, one.turns) for one in orders] == [(1, 2), (2, 2)]
    came = [view.executions[one.upstream].step for one in orders if one.upstream is not None]
    assert came == ["plan-tests", "plan-treatments"]
    assert marks.steps["order"].badge.startswith("×2 · ")
    assert marks.edges["plan-tests->order"].style == "followed"


def test_each_step_begins_with_what_the_one_before_gave() -> None:
    view, _ = build_run_view(sample(*JOIN))
    first, second, *_ = view.executions
    assert second.input == first.output and first.input is not None
    assert json.loads(view.clips[first.input].text) == json.loads(
        (GRAPHS / "join.input.json").read_text()
    )


def test_a_step_that_returned_nothing_still_leads_to_the_next() -> None:
    steps = [job("fn(() => undefined)", next={"b": True}), job("fn(s => s)", id="b")]
    view, _ = build_run_view(ran(workflow(*steps)))
    assert [one.upstream for one in view.executions] == [None, 0]
    assert view.executions[0].output is None and view.executions[0].no_output


def test_a_clock_that_stands_still_is_read_at_the_next_step() -> None:
    script = EventScript()
    first = script.start("a")
    script.complete(first, "a", next=("b",))
    script.now += 4000
    script.complete(script.start("b", input=f"out-{first}"), "b")
    script.end()
    assert [one.took for one in executions_of(script.events)] == ["1.0 ms", "1.0 ms"]
    still = executions_of(script.events, has_frozen_clock=True)
    assert [one.took for one in still] == ["5.0 ms", "≥ 1.0 ms"]


def test_the_summary_has_the_words_of_the_terminal() -> None:
    source = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    view, _ = build_run_view(source)
    assert [view.headline, *view.summary] == summarize(source.workflow, source.events)
    text = page_of(source)
    for line in view.summary:
        assert line.strip().replace("&", "&amp;").replace(">", "&gt;") in text


# --- errors in their source -----------------------------------------------------------------------


def test_an_error_stands_in_its_source_with_the_lines_around_it() -> None:
    source = sample("aborts.yaml", "aborts.input.json", "failed-job-error")
    view, _ = build_run_view(source)
    error = view.executions[0].error
    assert error is not None and error.place == "reserve:4:11"
    (hit,) = (line for line in error.lines if line.caret)
    assert hit.number == 4 and hit.text[hit.caret - 1 :].startswith("new Error(")
    assert [line.number for line in error.lines] == [1, 2, 3, 4, 5, 6]


def test_what_is_spelled_out_before_the_caret_moves_it() -> None:
    line = "a\u202e; throw"
    error = StepError(
        type="JobError", message="", position=Position(line=1, column=5, source_line=line)
    )
    (shown,) = error_view(error, None).lines
    assert shown.text == r"a\x202e; throw" and shown.text[shown.caret - 1 :] == "throw"


def test_an_error_without_its_source_stands_at_the_id_of_its_step() -> None:
    place = Position(line=4, column=56, source_line="")
    error = StepError(type="JobError", message="", job_id="a", step_id="5f", position=place)
    assert error_view(error, None).place == "a:4:56"


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
    clip = embed_dataclip(text, limit)
    if len(text) <= limit:
        assert clip.text == text and not clip.cut
    else:
        json.loads(clip.text)
        assert clip.cut and clip.size == len(text)
        assert len(clip.text) <= limit * 3 + 400


def test_a_long_list_does_not_hide_what_stands_beside_it() -> None:
    text = json.dumps({"list": list(range(100_000)), "name": "Amina"})
    clip = embed_dataclip(text, 4000)
    kept = json.loads(clip.text)
    assert kept["name"] == "Amina" and kept["list"][:3] == [0, 1, 2]
    assert re.fullmatch(rf"{clip.cut}[\d,]+ more", kept["list"][-1])


def test_a_state_cannot_pretend_to_have_been_cut() -> None:
    signs = {embed_dataclip(json.dumps(text * 3000), 400).cut for text in ("a", "b", "cut-")}
    assert len(signs) == 3


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_a_deep_state_is_cut_at_its_depth(text: str) -> None:
    clip = embed_dataclip(text, 256_000)
    value, depth = json.loads(clip.text), 0
    while isinstance(value, list | dict):
        value, depth = (value[0] if isinstance(value, list) else value["a"]), depth + 1
    assert depth == MAX_DEPTH - 1 and value == f"{clip.cut}nested more than {MAX_DEPTH} levels deep"


@pytest.mark.slow
def test_states_share_what_a_page_can_hold() -> None:
    assert choose_limit([1000]) == LIMITS[0]
    assert choose_limit([200_000] * 10_000) == LIMITS[-1]
    assert sum(min(50_000, choose_limit([50_000] * 1000)) for _ in range(1000)) <= MAX_TOTAL
    clips = EmbeddedDataclips({"a": "{}", "b": "{}", "c": "1"})
    assert [clips.index_of(name) for name in ("a", "b", "c", "d", None)] == [0, 0, 1, None, None]


@pytest.mark.parametrize("target", ["b", "b c", "b c d"])
def test_the_edge_of_an_error_is_not_one_whose_id_begins_alike(target: str) -> None:
    edges = tuple(Edge(source="a", target=name) for name in ("b", "b c", "b c d"))
    message = f"the condition of a->{target} threw TypeError: no"
    edge = edge_of(StepError(type="EdgeConditionError", message=message), Step(id="a", edges=edges))
    assert edge is not None and edge.target == target
