"""Defects: one message, call or tick that nobody expected does not end the control plane."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, plan, rows
from worker.fleet.control import run_content, views
from worker.fleet.control.policy import Policy
from worker.fleet.control.store import deployments, tables
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.triggers import dead_letters, message_input
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.topic_orders import order_for
from worker.fleet.control.triggers.webhook_orders import accepted
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging.topic_source import TopicMessage

TOPIC = {"type": "mqtt", "name": "messages", "start": "a", "topic": "clinic/+"}
EVERY_MINUTE = {"type": "cron", "start": "a", "expression": "* * * * *"}


@pytest.fixture
def operator(store: Store) -> ControlPlaneHarness:
    return ControlPlaneHarness(store, policy=Policy(allows_everything=True))


def deploy(harness: ControlPlaneHarness, name: str, *triggers: dict[str, Any]) -> None:
    harness.call("deploy", workflows=[{"plan": plan(name), "triggers": list(triggers)}])


def live(harness: ControlPlaneHarness) -> LiveTrigger:
    (trigger,) = harness.processor.read(
        lambda connection: deployments.live_triggers(connection, ("mqtt",))
    )
    return trigger


def messages(harness: ControlPlaneHarness, *contents: bytes) -> list[Firing | DeadLetter]:
    trigger = live(harness)
    items = [order_for(trigger, TopicMessage(topic="clinic/a", payload=each)) for each in contents]
    return [item for item in items if item is not None]


def break_orders(
    harness: ControlPlaneHarness, of: str, error: Callable[[str], Exception] = ZeroDivisionError
) -> None:
    """Let the orders fail whose input or workflow contains a text."""
    requests: Any = harness.processor._requests
    create = requests.create

    def create_or_fail(uow: Any, request: Any, workflow: Any) -> Any:
        if of in f"{bytes(request.input)!r}{request.workflow}":
            raise error("a text that no stranger may see")
        return create(uow, request, workflow)

    requests.create = create_or_fail


def letters(harness: ControlPlaneHarness) -> list[tuple[str, str]]:
    stored = harness.call("dead_letters")
    return sorted((letter["workflow"], letter["reason"]) for letter in stored)


def test_a_message_with_a_defect_becomes_a_dead_letter_and_the_others_become_orders(
    operator: ControlPlaneHarness,
) -> None:
    deploy(operator, "intake", TOPIC)
    break_orders(operator, "bad")
    items = messages(operator, b'"good"', b'"bad"', b"no json", b'"fine"')
    fired, outgoing = operator.processor.fire(items, operator.now)
    assert [result.failure for result in fired] == ["", "defect", "not_json", ""]
    assert len(operator.call("orders", workflow="intake")) == 2
    assert letters(operator) == [("intake", "defect"), ("intake", "not_json")]
    assert outgoing.triggered == {"fired": 2, "dead_letter": 2}
    assert [refusal.kind for refusal in outgoing.refusals] == ["defect"], "for the log"
    response = accepted(fired[1])
    assert response.code == 500 and b"stranger" not in response.body


def test_a_dead_letter_that_cannot_be_stored_is_dropped(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(operator, "intake", TOPIC)
    items = messages(operator, b"no json")

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.fleet.control.triggers.firing.store_dead_letter", fail)
    fired, outgoing = operator.processor.fire(items, operator.now)
    assert [result.failure for result in fired] == ["defect"]
    assert [refusal.kind for refusal in outgoing.refusals] == ["defect"]


def test_a_database_that_is_away_is_no_defect(operator: ControlPlaneHarness) -> None:
    deploy(operator, "intake", TOPIC, {**EVERY_MINUTE, "name": "t"})
    break_orders(operator, "", StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        operator.processor.fire(messages(operator, b"1"), operator.now)
    operator.pass_time(60)
    with pytest.raises(StoreUnavailable):
        operator.tick()
    operator.restart()
    operator.tick()
    assert letters(operator) == [] and len(operator.call("orders", workflow="intake")) == 1


def test_a_message_that_cannot_be_read_for_a_defect_becomes_a_dead_letter(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    deploy(operator, "intake", TOPIC)
    monkeypatch.setattr(message_input, "nests_deeper", fail)
    (letter,) = messages(operator, b"{}")
    assert isinstance(letter, DeadLetter) and letter.reason == "defect"


def ticks(harness: ControlPlaneHarness) -> dict[str, list[str]]:
    """Return the outcomes of the ticks of each workflow."""
    with harness.store.read() as connection:
        workflows = {row["id"]: row["workflow"] for row in rows(connection, tables.TRIGGERS)}
        by_time = select(tables.TRIGGER_TICKS).order_by(tables.TRIGGER_TICKS.c.tick)
        outcomes: dict[str, list[str]] = {}
        for row in connection.execute(by_time):
            outcomes.setdefault(workflows[row.trigger_id], []).append(row.outcome)
    return outcomes


def test_a_tick_with_a_defect_fails_and_the_others_fire(operator: ControlPlaneHarness) -> None:
    for name in ("first", "broken", "last"):
        deploy(operator, name, {**EVERY_MINUTE, "name": "t"})
    break_orders(operator, "broken")
    operator.pass_time(60)
    operator.tick()
    operator.tick()
    assert ticks(operator) == {"first": ["fired"], "broken": ["failed"], "last": ["fired"]}
    assert letters(operator) == [("broken", "defect")]
    operator.start()
    operator.pass_time(60)
    operator.tick()
    assert ticks(operator)["broken"] == ["failed", "fired"]


def test_a_queued_tick_with_a_defect_fails(operator: ControlPlaneHarness) -> None:
    deploy(operator, "flow-q", {**EVERY_MINUTE, "name": "t", "overlap": "queue"})
    for _ in range(2):
        operator.pass_time(60)
        operator.tick()
    assert ticks(operator) == {"flow-q": ["fired", "queued"]}
    break_orders(operator, "flow-q")
    (order,) = operator.call("orders", workflow="flow-q")
    operator.call("cancel", id=order["last_run"])
    operator.tick()
    assert ticks(operator) == {"flow-q": ["fired", "failed"]}


def fail(*_: Any) -> Any:
    raise ZeroDivisionError


def test_a_defect_in_a_part_of_a_tick_stops_no_other_part(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.started("o")
    deploy(operator, "intake", {**EVERY_MINUTE, "name": "t"})
    operator.pass_time(60)
    with monkeypatch.context() as broken:
        broken.setattr("worker.fleet.control.message_processor.late_runs", fail)
        assert "lost" in operator.tick().statuses
    assert ticks(operator) == {"intake": ["fired"]}


def test_a_defect_in_all_parts_of_a_tick_ends_the_control_plane(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator.processor, "_unit_of_work", fail)
    with pytest.raises(ZeroDivisionError):
        operator.processor.tick(operator.now)


def test_a_run_with_a_defect_keeps_no_other_lease_from_ending(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order in ("bad", "good", "fine"):
        operator.submit(order)
    worker = FakeWorker(operator)
    worker.request_start(*(run.lease for run in worker.claim(3)))
    apply = UnitOfWork.apply

    def apply_or_fail(uow: UnitOfWork, run: Any, event: Any) -> Any:
        return fail() if run.order_id == "bad" else apply(uow, run, event)

    with monkeypatch.context() as broken:
        broken.setattr(UnitOfWork, "apply", apply_or_fail)
        assert operator.wait(11).statuses == ["lost", "lost"]
        # Left out for a minute, and not tried with each tick.
        broken.setattr(UnitOfWork, "apply", fail)
        assert operator.processor.tick(operator.now).defects == {}
    assert [operator.status(f"{name}-1") for name in ("good", "fine", "bad")] == [
        "lost", "lost", "running"
    ]  # fmt: skip
    assert operator.wait(61).statuses == ["lost"]


def test_the_data_of_one_project_keeps_no_other_from_its_runs(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.submit("bad", project="north")
    assigned_bytes = run_content.assigned_bytes

    def bytes_or_fail(uow: Any, run: Any) -> int:
        return fail() if run.order_id == "bad" else assigned_bytes(uow, run)

    worker = FakeWorker(operator)
    with monkeypatch.context() as broken:
        broken.setattr(run_content, "assigned_bytes", bytes_or_fail)
        broken.setattr(run_content, "assign", lambda uow, *rest: bytes_or_fail(uow, rest[-1][0]))
        # The first message that meets it is handled, and so are all others.
        assert operator.send(worker.message("claim", claim_id="c", demand=1, incarnation="i1")
                             ).kinds == []  # fmt: skip
        operator.submit("good", project="south")
        assert operator.run("good-1")["status"] == "pending"
    assert operator.run("good-1")["worker"] == worker.name
    assert operator.run("bad-1")["worker"] is None


def test_a_state_that_cannot_be_published_keeps_no_control_plane_away(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.wait(4)
    operator.submit("bad")
    operator.submit("good")
    run_state = views.run_state

    def state_or_fail(run: Any) -> Any:
        return fail() if run.order_id == "bad" else run_state(run)

    monkeypatch.setattr(views, "run_state", state_or_fail)
    outgoing = operator.processor.on_connected(operator.now)
    assert list(outgoing.defects) == ["state bad-1"]
    assert any(message.topic.endswith("runs/good-1/state") for message in outgoing.messages)


def receive(harness: ControlPlaneHarness, number: int, content: bytes, *, again: bool) -> None:
    """Handle a message as the first one of a control plane."""
    trigger = live(harness)
    message = TopicMessage(
        topic="clinic/a", payload=content, qos=1, packet=(1, number), repeated=again
    )
    item = order_for(trigger, message)
    assert item is not None
    harness.processor.fire([item], harness.now)


@pytest.mark.parametrize("content", [b"{garbage", b'{"bad": 1}'], ids=["garbage", "refused"])
def test_a_message_that_is_sent_again_after_a_restart_is_one_dead_letter(
    operator: ControlPlaneHarness, content: bytes
) -> None:
    deploy(operator, "messages", TOPIC)
    for number in (7, 8):
        # It is killed before it acknowledges the message.
        for again in (False, True):
            operator.restart()
            break_orders(operator, "bad", lambda text: RequestError("invalid", text))
            receive(operator, number, content, again=again)
    assert len(letters(operator)) == 2


def test_each_of_equal_messages_with_the_same_number_is_a_dead_letter(
    operator: ControlPlaneHarness,
) -> None:
    """A broker takes the lowest free number, so a sensor's next message may have it at once."""
    deploy(operator, "messages", TOPIC)
    for content in (b"{garbage", b"{other", b"{garbage", b"{garbage"):
        receive(operator, 7, content, again=False)
        operator.pass_time(60)
    receive(operator, 7, b"{garbage", again=True)
    letters = operator.call("dead_letters")
    contents = [base64.b64decode(letter["content"]) for letter in letters]
    assert contents == [b"{garbage", b"{garbage", b"{other", b"{garbage"]
    assert len({letter["at"] for letter in letters}) == 4


def test_a_flood_of_one_project_deletes_no_dead_letters_of_another(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_DEAD_LETTERS", 3)
    deploy(operator, "messages", TOPIC)
    trigger = live(operator)
    for project, number in (("south", 2), ("default", 7)):
        for content in range(number):
            letter = DeadLetter(
                trigger=replace(trigger, project=project),
                reason="not_json",
                message="no",
                topic="clinic/a",
                payload=b"%d" % content,
            )
            operator.processor.fire([letter], operator.now + content)
    with operator.store.transaction() as transaction:
        dead_letters.delete_old_dead_letters(transaction)
    left = [
        (letter["project"], base64.b64decode(letter["content"]).decode())
        for letter in operator.call("dead_letters")
    ]
    assert sorted(left) == [*(("default", n) for n in "456"), *(("south", n) for n in "01")]
