"""The pure parts of a worker of Lightning: frames, claims, plans, words, deliveries, settings."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.lightning import job, plan
from worker.core.outcome import StepError
from worker.errors import UsageError
from worker.lightning import claim_loop
from worker.lightning.claim_loop import Backoff, Workloop, parse_backoff, parse_workloops
from worker.lightning.delivery import (
    Accepted,
    Answer,
    Next,
    OutgoingEvent,
    Refused,
    Unanswered,
    after_answer,
    simplified,
)
from worker.lightning.environment import read_environment
from worker.lightning.error_words import run_reason, step_reason
from worker.lightning.run_plan import RunDefaults, RunPlanError, read_input, read_run_plan
from worker.lightning.sanitize import sanitize
from worker.lightning.serializer import (
    ChannelFrame,
    FrameError,
    decode_frame,
    encode_binary_reply,
    encode_frame,
    encode_json,
)


def test_text_frame() -> None:
    text = encode_frame("1", "2", "run:x", "run:start", b'{"a":"\xc3\xa9"}')
    assert text == '["1","2","run:x","run:start",{"a":"é"}]'
    assert decode_frame(text) == ChannelFrame("1", "2", "run:x", "run:start", {"a": "é"})


def test_binary_frames() -> None:
    reply = encode_binary_reply("10", "12", "run:x", "ok", b'{"data":{}}')
    assert reply == b'\x01\x02\x02\x05\x021012run:xok{"data":{}}'
    payload = {"status": "ok", "response": b'{"data":{}}'}
    assert decode_frame(reply) == ChannelFrame("10", "12", "run:x", "phx_reply", payload)
    push = b"\x00\x01\x01\x03" + b"1tpsh" + b"DATA"
    assert decode_frame(push) == ChannelFrame("1", None, "t", "psh", b"DATA")
    broadcast = b"\x02\x01\x03" + b"tpsh" + b"DATA"
    assert decode_frame(broadcast) == ChannelFrame(None, None, "t", "psh", b"DATA")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x07", b"\x01\x02", b"\x00\xff\x01\x01abc", b"\x02\x01\x01\xff\xff", "", "{}", "[1]",
     '["1","2","t","e"]', '[1,"2","t","e",{}]', "[" * 100_000],
)  # fmt: skip
def test_frames_that_are_none(data: str | bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


def test_half_of_a_surrogate_pair_is_encoded_and_decoded() -> None:
    fields = {"a": "\ud83d", "state": msgspec.Raw(b'{"b":1}')}
    assert encode_json(fields) == b'{"a":"\\ud83d","state":{"b":1}}'
    assert decode_frame('["1","2","t","e","\\ud83d"]').payload == "\ud83d"
    event = OutgoingEvent(event="run:complete", payload=fields)
    assert json.loads(encode_json(event))["payload"]["a"] == "\ud83d"


def test_claims_never_exceed_the_room() -> None:
    loops = parse_workloops("fast_lane:1 manual>*:3")
    assert loops == (Workloop(("fast_lane",), 1), Workloop(("manual", "*"), 3))
    state = claim_loop.initial_state(loops, Backoff(1, 10))
    state, claim = claim_loop.next_claim(state)
    assert claim == claim_loop.ClaimRequest(0, 1)
    state = claim_loop.runs_claimed(state, 0, 1)
    state, claim = claim_loop.next_claim(state)
    assert claim == claim_loop.ClaimRequest(1, 3)
    state = claim_loop.runs_claimed(state, 1, 2)
    state, claim = claim_loop.next_claim(state)
    assert claim is None and state.wait_s == 1
    state, claim = claim_loop.next_claim(state)
    assert claim == claim_loop.ClaimRequest(1, 1)


def test_waits_grow_while_nothing_comes() -> None:
    state = claim_loop.initial_state((Workloop(("*",), 1),), Backoff(1, 10))
    waits = []
    for _ in range(40):
        state, claim = claim_loop.next_claim(state)
        if claim is None:
            waits.append(state.wait_s)
    assert waits[:2] == pytest.approx([1.15, 1.15**2]) and waits[-1] == 10
    assert claim_loop.woken(state).wait_s == 1


@pytest.mark.parametrize("text", ["", "a", "a:0", "a:x", ">:1", "*>a:1", "a>:2"])
def test_workloops_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_workloops(text)


@pytest.mark.parametrize("text", ["", "1", "0/1", "2/1", "a/b", "1/inf", "1/2/3"])
def test_backoffs_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_backoff(text)


LOST, UNSENT, NO = Unanswered(written=True), Unanswered(written=False), Refused("no")
COMPLETE = Refused({"errors": {"state": ["already in completed state"]}})
DELIVERIES: list[tuple[str, Answer, bool, Next]] = [
    ("step:start", Accepted(), False, Next.DONE),
    ("step:start", UNSENT, True, Next.REPEAT),
    ("step:start", LOST, False, Next.REPEAT),
    ("step:start", LOST, True, Next.DROP),
    ("step:start", NO, False, Next.DROP),
    ("step:start", NO, True, Next.DONE),
    ("run:log", UNSENT, False, Next.REPEAT),
    ("run:log", LOST, False, Next.DROP),
    ("run:complete", LOST, True, Next.REPEAT),
    ("run:complete", COMPLETE, False, Next.DONE),
    ("run:complete", NO, True, Next.SIMPLIFY),
]


@pytest.mark.parametrize(("name", "answer", "repeated", "following"), DELIVERIES)
def test_delivery(name: str, answer: Answer, repeated: bool, following: Next) -> None:
    event = OutgoingEvent(event=name, payload={"final_state": {}})
    assert after_answer(event, answer, repeated=repeated) is following


def test_end_of_a_run_is_simplified_until_nothing_is_left() -> None:
    payload: dict[str, Any] = {"reason": "success", "final_state": {}, "final_dataclip_id": "d"}
    event = OutgoingEvent(event="run:complete", payload=payload)
    event = simplified(event)
    assert event.payload.keys() == {"reason", "final_state"}
    event = simplified(event)
    assert event.payload == {"reason": "success"} and simplified(event) is event
    assert after_answer(event, NO, repeated=False) is Next.DROP


def test_words() -> None:
    error = StepError(type="ReferenceError", message="x is not defined")
    assert step_reason("crash", error).error_type == "ReferenceError"
    whole = run_reason("crash", error)
    assert whole.error_type == "RuntimeCrash"
    assert whole.error_message == "ReferenceError: x is not defined"
    assert run_reason("kill", StepError(type="ImportError", message="m")).reason == "crash"
    assert run_reason("success", None).fields == dict.fromkeys(
        ("error_type", "error_message"), None
    ) | {"reason": "success"}


def test_limits_of_a_plan() -> None:
    defaults = RunDefaults()
    options = {"run_timeout_ms": 1500, "run_memory_limit_mb": 64, "payload_limit_mb": 0}
    limits = read_run_plan(plan(job("x"), options=options), defaults).limits
    assert (limits.timeout_s, limits.memory_mb, limits.payload_mb) == (1.5, 64, 10)


def test_workflow_of_a_plan_is_without_what_each_run_has_anew() -> None:
    the_plan = plan(job("x", credential_id="c"), job("y", credential_id="c"))
    one = read_run_plan({**the_plan, "id": "1", "dataclip_id": "d"})
    two = read_run_plan({**the_plan, "id": "2", "options": {"sanitize": "remove"}})
    assert one.document == two.document
    assert (one.dataclip_id, one.credential_ids, two.sanitize) == ("d", ("c",), "remove")
    assert one.versions == {"@openfn/language-common": ["3.3.4"]}


@pytest.mark.parametrize(
    "data", [None, [], {}, {"jobs": {}}, {"jobs": [1]}, {"jobs": [], "options": 3}]
)
def test_plans_that_are_none(data: Any) -> None:
    with pytest.raises(RunPlanError):
        read_run_plan(data)


@pytest.mark.parametrize("content", [b"", b"[1]", b"1", b'"x"', b"\xff", b"[" * 100_000])
def test_dataclips_that_are_none(content: bytes) -> None:
    with pytest.raises(RunPlanError):
        read_input(content)


@pytest.mark.parametrize(
    "text", ['it\'s {"n": {"m": "}"}} [1, 2] .', "it's { n: { m: '}' } } [ 1, [ 2, 3 ] ] ."]
)
def test_sanitize(text: str) -> None:
    assert sanitize(text, "none") == text
    assert sanitize(text, "remove") == "it's   ."
    assert sanitize(text, "obfuscate") == "it's [object] [array] ."
    summary = "it's (object with keys n) (array of length 2) ."
    assert sanitize(text, "summarize") == summary
    assert sanitize("{}", "summarize") == "(empty object)"
    assert sanitize("a { name: 'Ada', b", "obfuscate") == "a [object]"
    assert sanitize('{"p":1}', "nonsense") == ""
    assert sanitize("[" * 1_000_000, "remove") == sanitize("{'" * 100_000, "remove") == ""


def test_environment_of_openfns_worker() -> None:
    settings = read_environment(
        {
            "WORKER_SECRET": "s", "WORKER_WORKLOOPS": "fast_lane:1 manual>*:4",
            "WORKER_BACKOFF": "0.5/2", "WORKER_MAX_RUN_MEMORY_MB": "256",
            "WORKER_MESSAGE_TIMEOUT_SECONDS": "3", "WORKER_BATCH_LOGS": "true",
            "WORKER_PORT": "2222",
        }
    )  # fmt: skip
    assert settings.backoff == Backoff(0.5, 2) and len(settings.workloops) == 2
    assert settings.defaults.limits.memory_mb == 256 and settings.defaults.limits.timeout_s == 300
    assert settings.reply_s == 3 and settings.batch_logs and settings.claim_s == 3600
    assert settings.listen == "0.0.0.0:2222" and read_environment({}).listen == ""
    assert read_environment({}).workloops == (Workloop(("manual", "*"), 5),)
    assert read_environment({"WORKER_CAPACITY": "2"}, 3).workloops[0].capacity == 3


@pytest.mark.parametrize(
    "variables",
    [
        {"WORKER_CAPACITY": "many"},
        {"WORKER_CAPACITY": "2", "WORKER_WORKLOOPS": "a:1"},
        {"WORKER_MAX_RUN_DURATION_SECONDS": "-1"},
        {"WORKER_BACKOFF": "10"},
        {"WORKER_PORT": "http"},
        {"WORKER_PORT": "70000"},
    ],
)
def test_environment_that_has_no_meaning(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        read_environment(variables)
