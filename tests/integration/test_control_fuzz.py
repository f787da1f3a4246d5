"""Hostile messages: whatever arrives, nothing breaks and nothing changes.

Every message here is one that has to be refused, or a query, which changes nothing. They are sent to
a plane with runs in each phase; at the end of an example, all tables are as they were.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    dump,
    event,
    plan,
    violations,
)
from tests.support.examples import examples
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import REQUESTS
from worker.fleet.messaging.worker_protocol import FROM_WORKERS

LIMIT = 20_000
# 10,000 in ``make fuzz``.
MESSAGES = int(os.environ.get("MESSAGES", "600"))
WORKER_WORDS = tuple(FROM_WORKERS)
METHODS = tuple(REQUESTS)
CHANGING = ("submit", "chunk", "cancel", "retry")
KINDS = {"malformed", "oversized", "forged", "unknown", "reply_topic", "stale"}

# --- the plane under attack -----------------------------------------------------------------------


class Target:
    """A plane with runs in each phase, and a sample of each message that it would take."""

    def __init__(self, store: Store) -> None:
        self.harness = ControlPlaneHarness(store, settings=Settings(max_payload_bytes=LIMIT))
        harness = self.harness
        harness.ended("done")
        harness.ended("failed", "exception")
        FakeWorker(harness).birth(capacity=3)
        _, self.started = harness.started("started")
        _, self.claimed = harness.claimed("claimed")
        harness.submit("waits", plan=plan("mine"))
        harness.wait(2)
        self.samples = self._samples()
        self.before = harness.dump()
        self.sent = 0
        self.refused: Counter[str] = Counter()

    def _samples(self) -> dict[str, dict[str, Any]]:
        """Well-formed messages, by the last level of their topic."""
        lease = json.loads(wire.encode(self.started))
        leases = {"incarnation": "i1", "leases": [lease]}
        events = [event("started-1", n, "step:start") for n in (1, 2)]
        return {
            "status": {"incarnation": "i1", "online": True, "capacity": 2, "version": "1"},
            "claim": {"claim_id": "c1", "demand": 2, "incarnation": "i1", "protocol": 1},
            "reports": {"number": 3, "runs": [{"lease": lease, "events": events}]},
            "beat": leases,
            "release": {**leases, "leases": [json.loads(wire.encode(self.claimed))]},
            "start": {**leases, "leases": [json.loads(wire.encode(self.claimed))]},
            "fetch": {"lease": lease, "part": "input", "offset": 0},
            "chunk": {"content": {"hash": "a" * 64, "size": 3}, "offset": 0, "data": "YWJj"},
            "submit": {"order_id": "new", "plan": plan(), "input": {"data": {}}, "priority": 1},
            "cancel": {"id": "started"},
            "retry": {"id": "done", "run_id": "again", "from_step": "a"},
            "orders": {"status": "success", "project": "default", "limit": 5, "before": 9},
            "count": {"of": "orders", "project": "default", "at_most": 9},
            "order": {"order_id": "done"},
            "runs": {"status": "success", "project": "default", "limit": 5, "before": 9},
            "run": {"id": "done-1"},
            "input": {"id": "done-1"},
            "events": {"run_id": "done", "after": 0, "limit": 5, "clips": True},
            "dataclip": {"run_id": "done-1", "dataclip_id": "clip-1"},
            "recorded": {"run_id": "done-1", "after": -1},
            "workers": {},
            "alerts": {},
            "summary": {},
            "workflows": {},
        }

    def topic(self, what: str) -> str:
        return TOPICS.worker("north", what) if what in WORKER_WORDS else TOPICS.request(what)

    def attack(self, messages: list[Message]) -> Counter[str]:
        """Send messages, in one batch, that must be refused or change nothing."""
        published = self.harness.send(*messages)
        kinds = Counter(published.kinds)
        self.sent += len(messages)
        self.refused += kinds
        assert set(kinds) <= KINDS, published.refusals
        assert (
            not published.states
            and not published.events
            and not published.alerts
            and not published.ended
        )
        return kinds

    def check(self) -> None:
        with self.harness.store.read() as connection:
            assert dump(connection) == self.before
            assert list(violations(connection)) == []


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    store = Store("sqlite://")
    store.migrate()
    found = Target(store)
    yield found
    found.check()
    store.close()


# --- what is sent ---------------------------------------------------------------------------------

Damage = Callable[[st.DrawFn, Target], Message]
HOSTILE_TEXTS = (
    "", "\0", "a\0", "a\n", "a/b", "+", "#", "../x", "é", "x" * 65, "x" * 3000, "\u202e", "💥",
    "' OR 1=1 --", "%s", "{}", "-1", "null", "NaN",
)  # fmt: skip
HOSTILE_NUMBERS = (
    "-1", "-0.5", "1.5", "1e999", "-1e999", "9" * 400, "-" + "9" * 400, "9" * 5000, str(2**53 + 1),
    str(2**64), "01", "0x10", "NaN", "Infinity", "1e", ".5",
)  # fmt: skip
HOSTILE_JSON = (
    *HOSTILE_NUMBERS, "[]", "{}", "[[]]", '"x"', "true", "nul", '"\\ud800"', '"\\udc00\\ud800"',
    '"\\x"', '"\x01"', "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" * 600 + "]" * 600,
    '{"a":1,"a":2,}', "// x", ",",
)  # fmt: skip


def to(target: Target, what: str, payload: bytes) -> Message:
    return Message(topic=target.topic(what), payload=payload, reply_to=ME)


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


WHATS = st.sampled_from((*WORKER_WORDS, *METHODS))


@st.composite
def noise(draw: st.DrawFn, target: Target) -> Message:
    """Bytes that are no JSON object."""
    payload = draw(st.binary(max_size=60).filter(lambda body: not body.lstrip().startswith(b"{")))
    what = draw(WHATS)
    return to(target, what, payload or b"\xff")


@st.composite
def cut(draw: st.DrawFn, target: Target) -> Message:
    """A message that ends too early."""
    what = draw(WHATS)
    body = dumps(target.samples[what])
    return to(target, what, body[: draw(st.integers(0, len(body) - 1))] or b" ")


@st.composite
def surplus(draw: st.DrawFn, target: Target) -> Message:
    """A message with something after it, or in it, that is not text."""
    what = draw(WHATS)
    body = dumps(target.samples[what])
    place = draw(st.integers(1, len(body)))
    thing = draw(st.sampled_from([b"\0", b"\xff", b"\xed\xa0\x80", b"\x1b", b"\xc0\x80"]))
    if draw(st.booleans()):
        place, thing = len(body), b"}"
    return to(target, what, body[:place] + thing + body[place:])


@st.composite
def wrong_type(draw: st.DrawFn, target: Target) -> Message:
    """A message with a value of a type that does not belong there, at any depth."""
    what = draw(WHATS.filter(lambda what: bool(target.samples[what])))
    sample = json.loads(dumps(target.samples[what]))
    holder, key = draw(st.sampled_from(list(_typed_places(sample))))
    old = holder[key]
    wrong = [one for one in (7.5, [], {"?": 1}, [None], True) if type(one) is not type(old)]
    if isinstance(old, int):
        wrong = [one for one in wrong if one is not True]
    holder[key] = draw(st.sampled_from(wrong))
    return to(target, what, dumps(sample))


# A plan and an input are objects that say more than our shapes do.
FREE = ("plan", "input")


def _typed_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the places in a sample that hold values of fixed types."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if key in FREE:
            continue
        if inner is not None:
            yield value, key
        if isinstance(inner, dict | list):
            yield from _typed_places(inner)


@st.composite
def hostile_value(draw: st.DrawFn, target: Target) -> Message:
    """JSON that is hostile or none, in the place of a value."""
    what = draw(WHATS.filter(lambda what: bool(target.samples[what])))
    sample = json.loads(dumps(target.samples[what]))
    holder, key = draw(st.sampled_from(list(_typed_places(sample))))
    old = holder[key]
    holder[key] = "@@@"
    thing = draw(st.sampled_from(HOSTILE_JSON))
    if isinstance(old, str) or key == "online":
        thing = thing if thing not in ('"x"', "true") else "[]"
    if type(old) is int and thing in ("-1", str(2**53 + 1)):
        thing = "-1.5"  # it would be a priority or a time
    if isinstance(old, bool):
        thing = thing if thing != "true" else "[]"
    if (isinstance(old, dict) and thing == "{}") or (isinstance(old, list) and thing == "[]"):
        thing = "1"
    return to(target, what, dumps(sample).replace(b'"@@@"', thing.encode()))


@st.composite
def hostile_id(draw: st.DrawFn, target: Target) -> Message:
    """A message whose id is no level of a topic."""
    what = draw(st.sampled_from([w for w in target.samples if _ids(target.samples[w])]))
    sample = json.loads(dumps(target.samples[what]))
    key = draw(st.sampled_from(_ids(sample)))
    sample[key] = draw(
        st.sampled_from([one for one in HOSTILE_TEXTS if one not in ("null", "NaN")])
    )
    if sample[key] == "-1":
        sample[key] = ".-1"
    return to(target, what, dumps(sample))


def _ids(sample: dict[str, Any]) -> list[str]:
    names = ("order_id", "run_id", "dataclip_id", "id", "claim_id", "incarnation", "project")
    return [name for name in names if name in sample]


@st.composite
def surprise(draw: st.DrawFn, target: Target) -> Message:
    """A message without a field that it needs."""
    what = draw(WHATS.filter(lambda what: bool(_needed(what, target.samples[what]))))
    sample = dict(target.samples[what])
    del sample[draw(st.sampled_from(_needed(what, sample)))]
    return to(target, what, dumps(sample))


def _needed(what: str, sample: dict[str, Any]) -> list[str]:
    return [
        name
        for name in ("incarnation", "online", "claim_id", "demand", "number", "runs", "leases",
                     "order_id", "id", "run_id", "dataclip_id")
        # An order without an id of its own is accepted: it gets that of its content.
        if name in sample and (what, name) != ("submit", "order_id")
    ]  # fmt: skip


@st.composite
def oversized(draw: st.DrawFn, target: Target) -> Message:
    """A message that is longer than what is read."""
    # Chunks have a limit of their own.
    what = draw(WHATS.filter(lambda what: what != "chunk"))
    body = dumps(target.samples[what])
    return to(target, what, body + b" " * (LIMIT + 1 - len(body) + draw(st.integers(0, 50))))


@st.composite
def lost_way(draw: st.DrawFn, target: Target) -> Message:
    """A message that would be taken elsewhere, on a topic that is none of ours."""
    what = draw(WHATS)
    name = draw(st.sampled_from(["", "+", "#", "no rth", "é", "\0", "x" * 65, "north\n", "\ud800"]))
    topic = draw(
        st.sampled_from(
            [
                "", "/", "#", "$SYS/broker", "worker", "worker/v1", f"worker/v2/requests/{what}",
                f"workers/north/{what}", f"/{target.topic(what)}", f"{target.topic(what)}/x/y",
                f"worker/v1/workers/{name}/{what}", f"worker/v1/workers/north/x/{what}",
                f"worker/v1/requests/{what}/{name}", f"worker/v1/requests/{name}",
                "worker/v1/workers/north/rsp", "worker/v1/workers/north/cmd", "worker/v1/alerts",
                "worker/v1/runs/done-1/state", "worker/v1/control/status", "\ud800", "a\0b",
            ]
        )
    )  # fmt: skip
    return Message(topic=topic, payload=dumps(target.samples[what]), reply_to=ME)


@st.composite
def hostile_reply(draw: st.DrawFn, target: Target) -> Message:
    """A request whose reply topic is one that only the control plane publishes to."""
    what = draw(st.sampled_from(METHODS))
    client = draw(st.sampled_from(["", "+", "#", "a/b", "é", "\0", "me\n", "x" * 65, "\ud800"]))
    reply_to = draw(
        st.sampled_from(
            # An order without a reply topic is accepted.
            ["worker/v1/workers/north/cmd" if what == "submit" else "",
             "worker/v1/workers/north/cmd", "worker/v1/alerts", "worker/v1/runs/done-1/state",
             f"worker/v1/clients/{client}/rsp", "worker/v1/clients/me/cmd", "clients/me/rsp",
             "worker/v1/clients/me/rsp/", "/worker/v1/clients/me/rsp", ME + "\n", ME + "\0"]
        )
    )  # fmt: skip
    return Message(
        topic=TOPICS.request(what), payload=dumps(target.samples[what]), reply_to=reply_to
    )


@st.composite
def forged(draw: st.DrawFn, target: Target) -> Message:
    """A word about a run from who does not have its lease."""
    what = draw(st.sampled_from(["reports", "start", "beat", "release"]))
    name = draw(st.sampled_from(["north", "south"]))
    run_id = draw(st.sampled_from(["done-1", "failed-1", "started-1", "waits-1", "nobody"]))
    token = draw(st.text("abc", min_size=8, max_size=64))
    lease = {"run_id": run_id, "attempt": draw(st.integers(1, 10_000)), "token": token}
    types = ["run:start", "step:start", "step:complete", "run:log", "run:complete"]
    events = [
        event(run_id, seq, draw(st.sampled_from(types)))
        for seq in draw(st.lists(st.integers(0, 2**53), min_size=1, max_size=3))
    ]
    body: dict[str, Any] = {"number": 1, "runs": [{"lease": lease, "events": events}]}
    if what != "reports":
        body = {"incarnation": "i1", "leases": [lease]}
    return Message(topic=TOPICS.worker(name, what), payload=dumps(body))


@st.composite
def question(draw: st.DrawFn, target: Target) -> Message:
    """A question that is well-formed and strange: it is answered, and changes nothing."""
    what = draw(st.sampled_from([method for method in METHODS if method not in CHANGING]))
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    body = dict(target.samples[what])
    if what in ("orders", "runs"):
        body = {"search": draw(text), "workflow": draw(text), "limit": draw(st.integers(1, 1000)),
                "before": draw(st.integers(0, 2**53))}  # fmt: skip
    if what == "events":
        body |= {"after": draw(st.integers(-1, 2**53)), "clips": draw(st.booleans())}
    message = to(target, what, dumps(body))
    return Message(topic=message.topic, payload=message.payload, reply_to=ME,
                   correlation=draw(st.binary(max_size=10)))  # fmt: skip


REFUSED = (
    noise, cut, surplus, wrong_type, hostile_value, hostile_id, surprise, oversized, lost_way,
    hostile_reply, forged,
)  # fmt: skip


def attacks(target: Target) -> st.SearchStrategy[list[Message]]:
    return st.lists(st.one_of(*(damage(target) for damage in REFUSED)), min_size=20, max_size=40)


def attack(target: Target, count: int) -> None:
    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(messages=attacks(target))
    def run(messages: list[Message]) -> None:
        kinds = target.attack(messages)
        assert kinds.total() >= len(messages), "each is refused, and counted"
        target.check()

    run()


# --- the attacks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_a_damaged_message_is_refused_and_changes_nothing(target: Target, damage: Any) -> None:
    @settings(max_examples=examples(25))
    @given(message=damage(target))
    def run(message: Message) -> None:
        assert target.attack([message]).total() >= 1, "it is refused, and counted"

    run()
    target.check()


def test_strange_questions_are_answered_and_change_nothing(target: Target) -> None:
    @settings(max_examples=examples(40))
    @given(message=question(target))
    def run(message: Message) -> None:
        published = target.harness.send(message)
        assert len(published.replies) == 1 and "defect" not in published.kinds

    run()
    target.check()


@pytest.mark.slow
def test_damaged_messages_change_nothing(target: Target) -> None:
    before = target.sent
    while target.sent < before + MESSAGES:
        attack(target, 100)
    assert target.refused.total() >= target.sent
    assert set(target.refused) >= KINDS - {"stale"}
