"""A lease ends where the control plane has read all that came before its end."""

from __future__ import annotations

from tests.support.control_plane_harness import SECOND, ControlPlaneHarness
from worker.fleet.control.broker_echo import BrokerEcho
from worker.fleet.control.unit_of_work import Settings


def test_an_echo_tells_until_when_all_was_read() -> None:
    echo = BrokerEcho("mine")
    assert echo.heard_us == 0
    assert echo.receive(echo.ask(5 * SECOND))
    assert echo.heard_us == 5 * SECOND


def test_a_clock_that_was_set_back_takes_the_proof_back() -> None:
    echo = BrokerEcho("mine")
    for time_us in (5 * SECOND, 2 * SECOND):
        echo.receive(echo.ask(time_us))
    assert echo.heard_us == 2 * SECOND


def test_messages_of_others_prove_nothing() -> None:
    echo = BrokerEcho("mine")
    for payload in (b"", b"{", b"[]", b'{"token":1}', BrokerEcho("theirs").ask(SECOND)):
        assert not echo.receive(payload)
    assert echo.heard_us == 0


def test_a_lease_waits_for_the_echo_after_its_end(harness: ControlPlaneHarness) -> None:
    _, lease = harness.started()
    ended = harness.now + int(Settings().lease_s * SECOND)
    outgoing = harness.processor.tick(ended, heard_us=ended - 2)
    assert (outgoing.expired, outgoing.echo_us) == ([], ended)
    outgoing = harness.processor.tick(ended + 1, heard_us=ended)
    assert [run.id for run in outgoing.expired] == [lease.run_id]
    assert outgoing.echo_us == 0


def test_an_echo_from_before_a_clock_was_set_back_proves_nothing(
    harness: ControlPlaneHarness,
) -> None:
    harness.started()
    ended = harness.now + int(Settings().lease_s * SECOND)
    assert harness.processor.tick(ended, heard_us=ended + 3600 * SECOND).expired == []
