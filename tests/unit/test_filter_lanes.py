"""Filters of topic triggers: those of one trigger keep back no message of another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.dashboard_fleet import DiscardingLog
from tests.support.topic_lanes import SLOW, Filters, Host, Source, serving, topic_trigger, until
from worker.fleet.control.triggers import filter_lanes, filters
from worker.fleet.control.triggers.filters import FilterEvaluators, FilterResult
from worker.fleet.messaging.topic_source import (
    identifier_of,
)

FAST, PLAIN = topic_trigger("fast", "fast/#", filter="fast"), topic_trigger("plain", "plain/#")


async def test_a_slow_filter_keeps_back_no_other_message(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Filters(monkeypatch)
    host, source = Host(SLOW, FAST, PLAIN), Source()
    async with serving(host, source):
        for _ in range(3):
            source.put("slow/a")
        await asyncio.to_thread(slow.began.wait, 60)
        source.put("plain/a")
        await host.until_made(("plain", "order"))
        source.put("fast/a")
        await host.until_made(("plain", "order"), ("fast", "order"))
        await until(lambda: source.acknowledged == ["plain/a", "fast/a"])
        slow.may_go_on.set()
        await until(lambda: source.acknowledged[2:] == ["slow/a"] * 3)
    assert host.made[2:] == [("slow", "order")] * 3


async def test_a_message_is_acknowledged_when_all_its_orders_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Filters(monkeypatch)
    host, source = Host(SLOW, topic_trigger("both", "#")), Source()
    async with serving(host, source):
        source.put("slow/a")
        source.put("elsewhere")
        await host.until_made(("both", "order"), ("both", "order"))
        await until(lambda: source.acknowledged == ["elsewhere"])
        slow.may_go_on.set()
        await until(lambda: source.acknowledged == ["elsewhere", "slow/a"])
    assert host.made[2:] == [("slow", "order")]


async def test_a_message_is_for_the_subscription_that_it_was_sent_for() -> None:
    host, source = Host(*(topic_trigger(topic, topic) for topic in ("a/#", "a/+"))), Source()
    once = [(("a/#", "order"))], [(("a/+", "order"))], [("a/#", "order"), ("a/+", "order")]
    cases = [
        (["a/#"], once[0]),
        (["a/+"], once[1]),
        (["a/#", "a/+"], once[2]),
        # A broker without identifiers, and one of a subscription that has ended since.
        ([], once[2]),
        (["b"], once[2]),
    ]
    async with serving(host, source):
        for filters, orders in cases:
            host.made.clear()
            source.put("a/b", subscriptions=frozenset(map(identifier_of, filters)))
            await host.until_made(*orders)


async def test_messages_in_a_lane_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[tuple[str, dict[str, Any]]] = []

    class Log(DiscardingLog):
        def warning(self, event: str, **values: Any) -> None:
            warnings.append((event, values))

    slow = Filters(monkeypatch)
    monkeypatch.setattr(filter_lanes, "MAX_UNRELIABLE", 2)
    monkeypatch.setattr(filter_lanes, "MAX_WAITING_BYTES", 10_000)
    host, source = Host(SLOW, PLAIN), Source()
    async with serving(host, source, Log()):
        source.put("slow/a", qos=0)
        await asyncio.to_thread(slow.began.wait, 60)
        for _ in range(5):
            source.put("slow/a", qos=0)
        source.put("plain/a")
        await host.until_made(("plain", "order"))
        assert warnings == [("topics.filter_too_slow", {"topic": "slow/a"})]
        # Above the bytes nothing is received, until there is room again.
        source.put("slow/b", size=20_000)
        await until(lambda: source.inbox.is_empty)
        source.put("plain/b")
        assert not await filter_lane_of_room(source)
        slow.may_go_on.set()
        await until(lambda: {"slow/b", "plain/b"} <= set(source.acknowledged))
    assert len(host.made) == 1 + 2 + 1 + 1 + 1, "three of six with QoS 0 were dropped"


async def filter_lane_of_room(source: Source) -> bool:
    """Return True where the service receives a message although its lanes are full."""
    for _ in range(20):
        await asyncio.sleep(0)
    return source.inbox.is_empty


async def test_who_loses_the_lock_leaves_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Filters(monkeypatch)
    host, source = Host(SLOW), Source()
    async with serving(host, source):
        for _ in range(3):
            source.put("slow/a")
        await asyncio.to_thread(slow.began.wait, 60)
        host.holds_lock = False
        lanes_stop = asyncio.Event()
        monkeypatch.setattr(filter_lanes.FilterLanes, "close", _closed(lanes_stop))
        host.triggers_changed.send()
        slow.may_go_on.set()
        async with asyncio.timeout(60):
            await lanes_stop.wait()
    assert slow.evaluated == len(source.acknowledged) == len(host.made) < 4


def _closed(event: asyncio.Event) -> Any:
    close = filter_lanes.FilterLanes.close

    async def closing(lanes: filter_lanes.FilterLanes) -> None:
        await close(lanes)
        event.set()

    return closing


async def test_a_message_that_a_filter_fails_for_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> FilterResult:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(FilterEvaluators, "evaluate", fail)
    host, source = Host(FAST), Source()
    async with serving(host, source):
        source.put("fast/a")
        await host.until_made(("fast", "defect"))
        await until(lambda: source.acknowledged == ["fast/a"])


async def test_a_defect_in_a_lane_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    Filters(monkeypatch)
    host, source = Host(FAST), Source()
    host.error = ZeroDivisionError("a defect")
    async with serving(host, source) as task:
        source.put("fast/a")
        async with asyncio.timeout(60):
            with pytest.raises(ZeroDivisionError):
                await task
    assert not source.acknowledged


def test_no_filter_loses_its_process_while_it_is_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []

    class Evaluator:
        def __init__(self, workflow: Any, options: Any) -> None:
            self.expression = workflow.steps[0].edges[0].expression

        def close(self) -> None:
            closed.append(self.expression)

    monkeypatch.setattr(filters, "RestartingEvaluator", Evaluator)
    monkeypatch.setattr(filters, "MAX_PROCESSES", 1)
    evaluators = FilterEvaluators()
    nested: list[str] = []

    def evaluate(evaluator: Evaluator, state: str) -> FilterResult:
        if evaluator.expression == "first":
            evaluators.evaluate("b", "second", state)
            nested.extend(closed)
        return FilterResult()

    monkeypatch.setattr(filters, "_evaluate", evaluate)
    evaluators.evaluate("a", "first", "{}")
    assert nested == []
    evaluators.evaluate("c", "third", "{}")
    assert closed == ["first", "second"]
    evaluators.close()
    assert closed == ["first", "second", "third"]
