"""Events as JSON lines, their executions, and the readers of a journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
    dataclip_of,
    decode_event,
    decode_leniently,
    event_fields,
    from_fields,
    to_json,
)
from worker.core.execution import executions
from worker.core.outcome import Position, StepError
from worker.core.status import ERROR_TYPES, STATUS_OF_REASON, Reason, Status
from worker.sinks.journal import JournalError, read_journal, recover_journal

# --- any event ----------------------------------------------------------------------------------

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**53)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), TEXT
    ).filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CLIPS = st.none() | st.dictionaries(TEXT, JSON, max_size=3).map(Dataclip.of)
ENVELOPE: dict[str, st.SearchStrategy[Any]] = {
    "run_id": TEXT,
    "seq": COUNT,
    "timestamp": COUNT,
}
ERRORS = st.recursive(
    st.none(),
    lambda cause: st.builds(
        StepError,
        type=st.sampled_from([*ERROR_TYPES, "KeyError"]),
        message=TEXT,
        name=TEXT,
        source=st.sampled_from(["runtime", "compiler", "edge"]),
        job_id=st.text(min_size=1, max_size=5),
        step_id=st.none() | st.text(min_size=1, max_size=5),
        position=st.none()
        | st.builds(
            Position, line=st.integers(1, 9999), column=st.integers(1, 9999), source_line=TEXT
        ),
        stack=st.lists(TEXT, max_size=3).map(tuple),
        details=st.dictionaries(TEXT, JSON, max_size=3),
        cause=cause,
    ),
    max_leaves=3,
)
ENDS: dict[str, st.SearchStrategy[Any]] = {
    "reason": st.sampled_from(list(STATUS_OF_REASON)),
    "error": ERRORS,
    "withheld": st.booleans(),
    "mem": COUNT,
    "duration": COUNT,
    "cost": st.just(UNSET) | COUNT,
}
RUN_STARTS = st.builds(
    RunStart, **ENVELOPE, workflow=TEXT, versions=st.dictionaries(TEXT, TEXT, max_size=3)
)
STEP_STARTS = st.builds(
    StepStart,
    **ENVELOPE,
    step_id=TEXT,
    job_id=TEXT,
    job_name=TEXT,
    input_dataclip_id=TEXT,
    execution=COUNT,
)
RUN_LOGS = st.builds(
    RunLog,
    **ENVELOPE,
    source=st.sampled_from(["JOB", "ADA", "R/T", "CMP", "VER"]),
    level=st.sampled_from(["debug", "info", "warn", "error"]),
    message=TEXT,
    step_id=TEXT,
    job_id=TEXT,
)
STEP_COMPLETES = st.builds(
    StepComplete,
    **ENVELOPE,
    **ENDS,
    step_id=TEXT,
    job_id=TEXT,
    output_dataclip_id=st.none() | TEXT,
    output_dataclip=CLIPS,
    next=st.lists(TEXT, max_size=3).map(tuple),
)
RUN_COMPLETES = st.builds(
    RunComplete, **ENVELOPE, **ENDS, final_dataclip_id=st.none() | TEXT, final_state=CLIPS
)
EVENTS = st.one_of(RUN_STARTS, STEP_STARTS, RUN_LOGS, STEP_COMPLETES, RUN_COMPLETES)


@given(EVENTS)
def test_an_event_survives_the_round_trip_through_json(event: AnyEvent) -> None:
    assert decode_event(to_json(event)) == event
    assert decode_event(to_json(event).encode()) == event
    assert decode_leniently(to_json(event)) == event


@given(EVENTS)
def test_an_event_survives_the_round_trip_through_fields_and_a_dataclip(event: AnyEvent) -> None:
    """As it travels from the process of a run."""
    fields, clip = json.loads(to_json(event)), dataclip_of(event)
    for name in ("output_dataclip", "final_state"):
        fields.pop(name, None)
    assert from_fields(fields, None if clip is None else clip.text) == event


@given(event=EVENTS, data=st.data())
def test_a_damaged_event_is_an_error_with_the_path_of_the_field(event: AnyEvent, data: Any) -> None:
    fields = json.loads(to_json(event))
    names = [
        n for n in fields if n not in ("output_dataclip", "final_state") and fields[n] is not None
    ]
    path = data.draw(st.sampled_from(names))
    broken = {"x": 1} if path != "error" else {**fields["error"], "message": 7}
    for decode in (decode_event, decode_leniently):
        with pytest.raises(ValueError, match=rf"not an event of a run: .* - at `\$\.{path}"):
            decode(json.dumps(fields | {path: broken}))


@given(event=EVENTS, data=st.data())
def test_an_event_without_a_field_that_it_needs_is_an_error(event: AnyEvent, data: Any) -> None:
    fields = json.loads(to_json(event))
    optional = {"withheld", "next", "mem", "duration", "cost", "error", "error_type"}
    optional |= {"error_message", "output_dataclip_id", "output_dataclip"}
    optional |= {"final_dataclip_id", "final_state"}
    if isinstance(event, RunLog):
        optional |= {"step_id", "job_id"}
    del fields[name := data.draw(st.sampled_from(sorted(set(fields) - optional)))]
    with pytest.raises(
        ValueError, match="not an event of a run" if name == "type" else f"`{name}`"
    ):
        decode_event(json.dumps(fields))


@given(event=EVENTS, cut=st.integers(1, 400))
def test_a_line_that_was_cut_off_is_a_value_error(event: AnyEvent, cut: int) -> None:
    text = to_json(event)
    for decode in (decode_event, decode_leniently):
        with pytest.raises(ValueError, match="not an event of a run"):
            decode(text[: -min(cut, len(text) - 1)])


@given(EVENTS)
def test_an_event_is_one_line(event: AnyEvent) -> None:
    assert "\n" not in to_json(event)


@given(EVENTS)
def test_every_field_of_an_event_is_written(event: AnyEvent) -> None:
    written = json.loads(to_json(event))
    fields = (name for name in event.__struct_fields__ if getattr(event, name) is not UNSET)
    assert {"type", *fields} == set(written)
    assert written["type"] == event.type


# --- the wire -----------------------------------------------------------------------------------

FAILURE = StepError(
    type="JobError",
    message="unknown patient",
    name="PatientError",
    job_id="fetch-patient",
    step_id="u",
    position=Position(line=3, column=7, source_line="throw new PatientError()"),
)


def step_complete(**changes: Any) -> StepComplete:
    values: dict[str, Any] = {
        "run_id": "r",
        "seq": 2,
        "timestamp": 1_700_000_000_000_000,
        "step_id": "u",
        "job_id": "fetch-patient",
        "reason": "success",
    }
    return StepComplete(**(values | changes))


def test_an_error_is_flattened_as_the_wire_has_it_and_kept_whole() -> None:
    written = event_fields(step_complete(reason="fail", error=FAILURE))
    assert (written["error_type"], written["error_message"]) == ("JobError", "unknown patient")
    assert written["error"]["position"]["line"] == 3


def run_complete(**fields: Any) -> RunComplete:
    return RunComplete(run_id="r", seq=9, timestamp=0, reason="fail", **fields)


def test_the_end_of_a_run_has_the_fields_of_its_error() -> None:
    written = run_complete(error=FAILURE)
    assert (written.error_type, written.error_message) == ("JobError", "unknown patient")


@pytest.mark.parametrize("complete", [step_complete(), run_complete()])
def test_what_an_end_does_not_name_is_nothing(complete: StepComplete | RunComplete) -> None:
    written = event_fields(complete)
    assert (written["error_type"], written["error_message"], written["error"]) == (None,) * 3
    assert (written["withheld"], written["mem"], written["duration"]) == (False, 0, 0)


def test_a_dataclip_stands_in_the_line_as_it_is() -> None:
    """Numbers are not read and printed again on the way out."""
    clip = Dataclip('{"dose":1.50,"big":12345678901234567890}')
    assert f'"output_dataclip":{clip.text}' in to_json(step_complete(output_dataclip=clip))


def test_only_completions_carry_a_dataclip() -> None:
    log = RunLog(run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="m")
    assert dataclip_of(log) is None and "output_dataclip" not in to_json(log)
    assert '"output_dataclip":null' in to_json(step_complete())


@pytest.mark.parametrize(("reason", "status"), STATUS_OF_REASON.items())
def test_a_run_completion_tells_its_status(reason: Reason, status: Status) -> None:
    assert RunComplete(run_id="r", seq=9, timestamp=0, reason=reason).status is status


def test_a_dataclip_is_its_text() -> None:
    assert Dataclip('{"a":1}') == Dataclip.of({"a": 1})
    assert Dataclip('{"a":1}') == Dataclip('{ "a": 1.0 }') != Dataclip('{"a":2}')
    assert Dataclip("{}") != "{}"


def test_a_dataclip_keeps_letters_of_every_script_readable() -> None:
    assert Dataclip.of({"nom": "Aïssatou ሰላም"}).text == '{"nom":"Aïssatou ሰላም"}'


def test_a_dataclip_is_parsed_once() -> None:
    clip = Dataclip('{"data":{}}')
    assert clip.value is clip.value


def test_a_long_dataclip_is_abridged_when_shown() -> None:
    assert len(repr(Dataclip.of("x" * 10_000))) < 120


# --- what is not an event -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="empty"),
        pytest.param({"type": "run:paused"}, id="an unknown type"),
        pytest.param({"type": ["run:start"]}, id="a type that is a list"),
        pytest.param({"type": "run:complete", "run_id": "r"}, id="fields missing"),
        pytest.param([], id="a list"),
        pytest.param(None, id="nothing"),
        pytest.param(
            {"type": "run:complete", "run_id": "r", "seq": 0, "timestamp": 0, "reason": "fail"}
            | {"error": {"type": "JobError"}},
            id="an error without a message",
        ),
        pytest.param(
            {"type": "run:complete", "run_id": "r", "seq": 0, "timestamp": 0, "reason": "fail"}
            | {"error": "boom"},
            id="an error that is a text",
        ),
    ],
)
def test_anything_else_is_a_value_error(fields: Any) -> None:
    with pytest.raises(ValueError, match="not an event of a run"):
        decode_event(json.dumps(fields))


# --- other versions -----------------------------------------------------------------------------


def test_an_unknown_field_is_an_error_and_the_lenient_reader_leaves_it_out() -> None:
    written = json.dumps(json.loads(to_json(step_complete())) | {"novelty": [1]})
    assert decode_leniently(written) == step_complete()
    with pytest.raises(ValueError, match="novelty"):
        decode_event(written)


def test_an_unknown_type_is_an_error_and_the_lenient_reader_skips_it() -> None:
    written = json.dumps(json.loads(to_json(step_complete())) | {"type": "step:paused"})
    assert decode_leniently(written) is None
    with pytest.raises(ValueError, match=r"step:paused.*\$\.type"):
        decode_event(written)


def test_the_step_of_an_old_error_is_read_as_its_job_id() -> None:
    """``step_id`` held the id of the step once, and there was no ``job_id``."""
    fields = json.loads(to_json(step_complete(reason="fail", error=FAILURE)))
    del fields["error"]["job_id"]
    fields["error"] |= {
        "step_id": "fetch-patient",
        "cause": {"type": "JobError", "message": "m", "step_id": "fetch-patient"},
    }
    event = decode_leniently(json.dumps(fields))
    assert isinstance(event, StepComplete) and event.error and event.error.cause
    assert (event.error.job_id, event.error.step_id) == ("fetch-patient", None)
    assert (event.error.cause.job_id, event.error.cause.step_id) == ("fetch-patient", None)


# --- text as JavaScript writes it ---------------------------------------------------------------


def test_a_dataclip_with_a_number_as_javascript_prints_it_survives_the_round_trip() -> None:
    event = step_complete(output_dataclip=Dataclip('{"dose":1e-7}'))
    read = decode_event(to_json(event))
    assert isinstance(read, StepComplete) and read.output_dataclip
    assert read.output_dataclip.text == '{"dose":1e-7}'


def test_half_an_emoji_in_a_log_message_can_be_written_to_a_file() -> None:
    log = RunLog(run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="\ud83d")
    assert json.loads(to_json(log).encode())["message"] == "\ud83d"
    assert decode_event(to_json(log)) == log


# --- executions ---------------------------------------------------------------------------------


def step_start(step_id: str, job_id: str = "a", **changes: Any) -> StepStart:
    values: dict[str, Any] = {
        "run_id": "r",
        "seq": 0,
        "timestamp": 0,
        "job_name": job_id,
        "input_dataclip_id": "in",
        "execution": 0,
    }
    return StepStart(step_id=step_id, job_id=job_id, **(values | changes))


def test_an_execution_pairs_a_start_with_its_end_its_log_and_its_input() -> None:
    log = RunLog(
        run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="m", step_id="x"
    )
    clip = Dataclip("{}")
    end = step_complete(step_id="x", output_dataclip_id="out", output_dataclip=clip)
    following = step_start("y", "b", input_dataclip_id="out")
    first, second = executions([step_start("x"), log, end, following])
    assert (first.complete, first.logs, first.input) == (end, (log,), None)
    assert (second.complete, second.logs, second.input) == (None, (), clip)


def test_an_end_belongs_to_the_latest_start_with_its_id() -> None:
    first, second = executions(
        [step_start("x"), step_start("x", execution=1), step_complete(step_id="x")]
    )
    assert first.complete is None and second.complete is not None and second.number == 1


def test_an_end_without_a_start_is_left_out() -> None:
    assert executions([step_complete()]) == []


# --- the readers of a journal -------------------------------------------------------------------

RUN: tuple[AnyEvent, ...] = (
    RunStart(run_id="r", seq=0, timestamp=0, workflow="w", versions={}),
    step_start("u", "fetch-patient", seq=1),
    step_complete(),
    RunComplete(run_id="r", seq=3, timestamp=0, reason="success"),
)


def journal(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "run.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_both_readers_read_a_whole_journal(tmp_path: Path) -> None:
    file = journal(tmp_path, *map(to_json, RUN))
    assert tuple(read_journal(file)) == RUN
    recovered = recover_journal(file)
    assert (recovered.events, recovered.damage) == (RUN, ())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param([0, 1], "ends before its run does", id="no end"),
        pytest.param([0, 2], "run.jsonl:2: .*expected event 1 of run r", id="a gap"),
        pytest.param(
            [0, 1, 2, 3, 3], "run.jsonl:5: .*after the end of the run", id="after the end"
        ),
        pytest.param([], "ends before its run does", id="empty"),
    ],
)
def test_the_strict_reader_refuses_what_is_not_one_whole_run(
    tmp_path: Path, lines: list[int], message: str
) -> None:
    file = journal(tmp_path, *(to_json(RUN[number]) for number in lines))
    with pytest.raises(JournalError, match=message):
        list(read_journal(file))


def test_the_strict_reader_names_the_line_and_the_field(tmp_path: Path) -> None:
    file = journal(
        tmp_path, to_json(RUN[0]), to_json(RUN[1]).replace('"execution":0', '"execution":-1')
    )
    with pytest.raises(JournalError, match=r"run\.jsonl:2: .*`\$\.execution`"):
        list(read_journal(file))


def test_the_tolerant_reader_stops_at_the_damage_and_skips_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    unknown = '{"type":"run:paused","run_id":"r","seq":9,"timestamp":0}'
    file = journal(tmp_path, to_json(RUN[0]), unknown, to_json(RUN[1]), '{"type":', to_json(RUN[2]))
    recovered = recover_journal(file)
    assert recovered.events == RUN[:2]
    (damage,) = recovered.damage
    assert damage.startswith("run.jsonl:4: cut off or damaged")


@pytest.mark.parametrize(
    ("field", "least", "most"), [("seq", 0, 2**53), ("timestamp", -(2**62), 2**62)]
)
def test_numbers_are_those_that_every_reader_holds_exactly(
    field: str, least: int, most: int
) -> None:
    event = {"type": "run:log", "run_id": "r", "seq": 0, "timestamp": 0, "source": "R/T"}
    event |= {"level": "info", "message": ""}
    for value in (least, most):
        assert getattr(decode_event(json.dumps({**event, field: value})), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValueError, match=field):
            decode_event(json.dumps({**event, field: value}))


# --- errors of the two directions -----------------------------------------------------------------


def test_what_is_no_json_is_no_part_of_an_event() -> None:
    event = RunLog(run_id="r", seq=0, timestamp=0, source="JOB", level="info", message="m")
    with pytest.raises((NotImplementedError, TypeError)):
        to_json(replace(event, message=object()))


@pytest.mark.parametrize(("length", "is_cut"), [(271, False), (272, True)])
def test_a_long_value_is_cut_in_the_error(length: int, is_cut: bool) -> None:
    with pytest.raises(ValueError, match="not an event of a run: unknown type") as caught:
        from_fields({"type": "x" * length})
    text = str(caught.value)
    assert ("…" in text) is is_cut and text.endswith("at `$.type`")


def test_a_deep_dataclip_without_the_other_fields_is_no_event() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(ValueError, match=r"not an event of a run: .* missing required field"):
        decode_event(f'{{"type":"step:complete","output_dataclip":{deep}}}')
