"""The pure parts of a worker of Lightning: frames, claims, plans, words, deliveries, settings."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    LogBatches,
    Next,
    OutgoingEvent,
    Refused,
    Unanswered,
    after_answer,
    simplified,
)
from worker.lightning.environment import EnvironmentSettings, read_environment
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
from worker.lightning.worker_tokens import worker_token


def test_text_frame() -> None:
    text = encode_frame("1", "2", "run:x", "run:start", b'{"a":"\xc3\xa9"}')
    assert text.decode() == '["1","2","run:x","run:start",{"a":"é"}]'
    assert decode_frame(text, is_text=True) == ChannelFrame(
        "1", "2", "run:x", "run:start", {"a": "é"}
    )


def test_binary_frames() -> None:
    reply = encode_binary_reply("10", "12", "run:x", "ok", b'{"data":{}}')
    assert reply == b'\x01\x02\x02\x05\x021012run:xok{"data":{}}'
    payload = {"status": "ok", "response": b'{"data":{}}'}
    assert decode_frame(reply, is_text=False) == ChannelFrame(
        "10", "12", "run:x", "phx_reply", payload
    )
    push = b"\x00\x01\x01\x03" + b"1tpsh" + b"DATA"
    assert decode_frame(push, is_text=False) == ChannelFrame("1", None, "t", "psh", b"DATA")
    broadcast = b"\x02\x01\x03" + b"tpsh" + b"DATA"
    assert decode_frame(broadcast, is_text=False) == ChannelFrame(None, None, "t", "psh", b"DATA")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x07", b"\x01\x02", b"\x00\xff\x01\x01abc", b"\x02\x01\x01\xff\xff", "", "{}", "[1]",
     '["1","2","t","e"]', '[1,"2","t","e",{}]', '["1","2","t","e",{},1]', "[" * 100_000],
)  # fmt: skip
def test_frames_that_are_none(data: str | bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(
            data if isinstance(data, bytes) else data.encode(), is_text=isinstance(data, str)
        )


def test_text_frame_that_is_no_utf_8() -> None:
    with pytest.raises(FrameError):
        decode_frame(b'["1","2","t","e","\xff"]', is_text=True)


def test_half_of_a_surrogate_pair_is_encoded_and_decoded() -> None:
    fields = {"a": "\ud83d", "state": msgspec.Raw(b'{"b":1}')}
    assert encode_json(fields) == b'{"a":"\\ud83d","state":{"b":1}}'
    frame = decode_frame(b'["1","2","t","e","\\ud83d"]', is_text=True)
    assert frame.payload == "\ud83d"
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


@pytest.mark.slow
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


Read = Callable[[EnvironmentSettings], object]
VARIABLES: dict[str, tuple[Read, object, dict[str, object]]] = {
    "WORKER_SECRET": (lambda s: s.secret, "", {"a": "a", "b=": "b="}),
    "WORKER_LIGHTNING_PUBLIC_KEY": (lambda s: s.public_key, "", {"a": "a", "b": "b"}),
    "WORKER_CAPACITY": (lambda s: s.workloops[0].capacity, 5, {"1": 1, "40": 40}),
    "WORKER_WORKLOOPS": (
        lambda s: [loop.name for loop in s.workloops], ["manual>*"],
        {"fast_lane:1 manual>*:4": ["fast_lane", "manual>*"], "*:2": ["*"]},
    ),
    "WORKER_BACKOFF": (
        lambda s: (s.backoff.min_s, s.backoff.max_s), (1, 10), {"0.5/2": (0.5, 2), "3/3": (3, 3)}
    ),
    "WORKER_MAX_RUN_DURATION_SECONDS": (
        lambda s: s.defaults.limits.timeout_s, 300, {"60": 60, "7200": 7200}
    ),
    "WORKER_MAX_RUN_MEMORY_MB": (
        lambda s: s.defaults.limits.memory_mb, 500, {"64": 64, "1024": 1024}
    ),
    "WORKER_MAX_PAYLOAD_MB": (lambda s: s.defaults.limits.payload_mb, 10, {"1": 1, "20": 20}),
    "WORKER_MAX_LOG_PAYLOAD_MB": (
        lambda s: s.defaults.limits.log_payload_mb, 1, {"0.5": 0.5, "2": 2}
    ),
    "WORKER_MESSAGE_TIMEOUT_SECONDS": (lambda s: s.reply_s, 30, {"3": 3, "90": 90}),
    "WORKER_SOCKET_TIMEOUT_SECONDS": (lambda s: s.reply_s, 30, {"3": 3, "90": 90}),
    "WORKER_CLAIM_TIMEOUT_SECONDS": (lambda s: s.claim_s, 3600, {"3": 3, "90": 90}),
    "WORKER_BATCH_LOGS": (
        lambda s: s.batches is not None, False, {"true": True, "1": True, "false": False}
    ),
    "WORKER_COLLECTIONS_URL": (
        lambda s: s.defaults.collections_url, "", {"https://a": "https://a", "http://b": "http://b"}
    ),
    "WORKER_PORT": (lambda s: s.listen, "", {"2222": "0.0.0.0:2222", "80": "0.0.0.0:80"}),
    "WORKER_LOG_LEVEL": (lambda s: s.quiet, False, {"debug": False, "warn": True, "none": True}),
    "WORKER_SENTRY_DSN": (lambda s: s.ignored, (), {"x": ("WORKER_SENTRY_DSN",)}),
    "WORKER_REPO_DIR": (lambda s: s.ignored, (), {"/tmp": ("WORKER_REPO_DIR",)}),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_of_openfns_worker(name: str) -> None:
    read, default, values = VARIABLES[name]
    # Compose files set a variable that has no value to an empty text.
    assert read(read_environment({})) == read(read_environment({name: ""})) == default
    assert {text: read(read_environment({name: text})) for text in values} == values


def test_variables_of_batches() -> None:
    variables = {"WORKER_BATCH_LOGS": "true"}
    assert read_environment(variables).batches == LogBatches(lines=50, wait_s=0.01)
    variables |= {"WORKER_BATCH_LIMIT": "20", "WORKER_BATCH_INTERVAL": "500"}
    assert read_environment(variables).batches == LogBatches(lines=20, wait_s=0.5)
    # The server refuses a larger one.
    variables["WORKER_BATCH_LIMIT"] = "1000"
    assert read_environment(variables).batches == LogBatches(lines=50, wait_s=0.5)
    del variables["WORKER_BATCH_LOGS"]
    assert read_environment(variables).batches is None
    assert read_environment(variables, batch_logs=True).batches


def test_option_wins_over_a_variable() -> None:
    assert read_environment({"WORKER_CAPACITY": "2"}, 3).workloops[0].capacity == 3
    both = {"WORKER_MESSAGE_TIMEOUT_SECONDS": "3", "WORKER_SOCKET_TIMEOUT_SECONDS": "4"}
    assert read_environment(both).reply_s == 4


@pytest.mark.parametrize(
    "variables",
    [
        {"WORKER_CAPACITY": "many"},
        {"WORKER_CAPACITY": "2", "WORKER_WORKLOOPS": "a:1"},
        {"WORKER_MAX_RUN_DURATION_SECONDS": "-1"},
        {"WORKER_BACKOFF": "10"},
        {"WORKER_BATCH_LOGS": "1", "WORKER_BATCH_LIMIT": "0"},
        {"WORKER_BATCH_LOGS": "1", "WORKER_BATCH_INTERVAL": "x"},
        {"WORKER_PORT": "http"},
        {"WORKER_PORT": "70000"},
    ],
)
def test_environment_that_has_no_meaning(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        read_environment(variables)


# --- tokens ---------------------------------------------------------------------------------------


def test_a_short_secret_gives_no_warning_of_python() -> None:
    # Every connection signs a token: a warning of a library would be on stderr among the log lines.
    assert worker_token("short", "north").count(".") == 2
