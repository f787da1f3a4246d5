"""Our own worker and control plane pass all conformance cases, and broken ones do not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import call_worker
from tests.support.fleets import fleet, needs_mosquitto
from worker.fleet.control import message_batch
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Heartbeat
from worker.sinks.log import stderr_logger
from worker.testing.conformance.case_file import Part, read_cases
from worker.testing.conformance.conversation import run_case
from worker.testing.conformance.patterns import match_value
from worker.testing.simulation.virtual_time import VirtualClock, VirtualLoop
from worker.util.machine_clock import replaced


def failures_of_a_plane(*names: str) -> dict[str, str]:
    """Run cases with a control plane in this process, on virtual time; return those that fail."""
    clock = VirtualClock()
    loop = VirtualLoop(clock)
    try:
        with replaced(clock.machine(1)):
            return loop.run_until_complete(_failures_of_a_plane(names))
    finally:
        loop.close()


async def _failures_of_a_plane(names: tuple[str, ...]) -> dict[str, str]:
    broker, topics, store = LocalBroker(), Topics(), Store("sqlite://")
    store.migrate()
    processor = MessageProcessor(
        store,
        topics=topics,
        policy=Policy(allows_everything=True),
        settings=Settings(lease_s=2.0, disconnect_grace_s=1.0),
    )
    bus = broker.bus(*topics.for_control())
    plane = ControlPlane(bus, processor, topics=topics, log=stderr_logger(logging.CRITICAL))
    task = asyncio.create_task(plane.run())
    await plane.connected.wait()
    file, failures = read_cases("control-plane"), {}
    for case in file.cases:
        if not names or case.case in names:
            failures[case.case] = await run_case(
                file, case, broker.bus, topics=topics, timeout_s=10.0, variables={}
            )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.close()
    return {name: failure for name, failure in failures.items() if failure}


@pytest.mark.slow
def test_our_control_plane_passes_all_cases_on_frozen_time() -> None:
    assert failures_of_a_plane() == {}


@pytest.mark.slow
def test_a_control_plane_with_a_defect_fails_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(uow: Any, worker: str, heartbeat: Heartbeat) -> None:
        """Renew nothing."""

    monkeypatch.setitem(message_batch._WORKER_HANDLERS, "beat", forgetful)
    failures = failures_of_a_plane("lease-renewed", "beat-without-lease", "order-accepted")
    assert failures.keys() == {"lease-renewed", "beat-without-lease"}


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
@needs_mosquitto
def test_our_worker_and_control_plane_pass_all_cases_over_a_broker(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        made.control("--lease", "2", "--disconnect-grace", "1", "--topic-prefix", "planes")
        made.worker("north", "--capacity", "2", "--topic-prefix", "workers")
        for part, prefix, name in (
            ("control-plane", "planes", "none"),
            ("worker", "workers", "north"),
        ):
            done = call_worker(
                "conformance", part, "--worker", name, "--mqtt", made.url,
                "--topic-prefix", prefix, "--reply-timeout", "60",
            )  # fmt: skip
            assert done.returncode == 0, done.stdout
            assert " 0 failed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", ["worker", "control-plane"])
def test_each_case_can_be_read_and_has_a_name_of_its_own(part: Part) -> None:
    file = read_cases(part)
    names = [case.case for case in file.cases]
    assert len(names) == len(set(names)) >= 30
    for case in file.cases:
        assert file.read_steps(case.steps)


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": 1}, {"a": True}, None),
        ({"a": 1}, {"b": 1}, None),
        ({"a": "${x}", "b": "${x}"}, {"a": 1, "b": 1}, {"x": 1}),
        ({"a": "${x}", "b": "${x}"}, {"a": 1, "b": 2}, None),
        ({"a": "${*}"}, {}, None),
        ({"a": {"$absent": True}}, {"a": None}, {}),
        ({"a": {"$absent": True}}, {"a": 0}, None),
        ([1, "${x}"], [1, 2], {"x": 2}),
        ([1], [1, 2], None),
        ({"$has": {"a": "${x}"}}, [{"b": 1}, {"a": 2}], {"x": 2}),
        ({"$contains": "b"}, "abc", {}),
        ({"$above": 1}, 1, None),
        ({"$above": 1}, 2, {}),
        ({"$not": 1, "$bind": "x"}, 2, {"x": 2}),
        ({"$not": 2, "$bind": "x"}, 2, None),
    ],
)
def test_patterns(pattern: Any, value: Any, expected: dict[str, Any] | None) -> None:
    assert match_value(pattern, value, {}) == expected
