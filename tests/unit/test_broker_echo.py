"""A lease ends where the control plane has read all that came before its end."""

from __future__ import annotations

from tests.support.control_plane_harness import SECOND, ControlPlaneHarness
from worker.fleet.control.broker_echo import SLOW_ECHO_S, BrokerEcho
from worker.fleet.control.unit_of_work import Settings


def test_an_echo_tells_until_when_all_was_read() -> None:
    echo = BrokerEcho("echo", "mine")
    assert echo.echoed_us == 0
    assert echo.receive(echo.request(5 * SECOND, 0.0, is_awaited=True).payload)
    assert echo.echoed_us == 5 * SECOND


def test_a_clock_that_was_set_back_takes_the_proof_back() -> None:
    echo = BrokerEcho("echo", "mine")
    for time_us in (5 * SECOND, 2 * SECOND):
        echo.receive(echo.request(time_us, 0.0, is_awaited=True).payload)
    assert echo.echoed_us == 2 * SECOND


def test_only_an_echo_that_leases_wait_for_makes_a_tick_due() -> None:
    echo = BrokerEcho("echo", "mine")
    assert not echo.receive(echo.request(SECOND, 0.0, is_awaited=False).payload)
    assert echo.echoed_us == SECOND


def test_a_control_plane_whose_echoes_do_not_return_is_unhealthy() -> None:
    echo = BrokerEcho("echo", "mine")
    late = SLOW_ECHO_S + 1.5
    first = echo.request(SECOND, 1.0, is_awaited=True)
    echo.request(2 * SECOND, late - 1, is_awaited=True)
    assert not echo.problem(late - 1) and "no message returns on echo" in echo.problem(late)
    echo.receive(first.payload)
    assert not echo.problem(late)
    echo.request(3 * SECOND, late, is_awaited=True)
    echo.disconnected()
    assert not echo.problem(late + SLOW_ECHO_S + 1)


def test_messages_of_others_prove_nothing() -> None:
    echo = BrokerEcho("echo", "mine")
    for payload in (
        b"",
        b"{",
        b"[]",
        b'{"token":1}',
        BrokerEcho("echo", "theirs").request(SECOND, 0.0, is_awaited=True).payload,
    ):
        assert not echo.receive(payload)
    assert echo.echoed_us == 0


def test_a_lease_waits_for_the_echo_after_its_end(harness: ControlPlaneHarness) -> None:
    _, lease = harness.started()
    ended = harness.now + int(Settings().lease_s * SECOND)
    outgoing = harness.processor.tick(ended, echoed_us=ended - 2)
    assert (outgoing.expired, outgoing.echo_us) == ([], ended)
    outgoing = harness.processor.tick(ended + 1, echoed_us=ended)
    assert [run.id for run in outgoing.expired] == [lease.run_id]
    assert outgoing.echo_us == 0


def test_an_echo_from_before_a_clock_was_set_back_proves_nothing(
    harness: ControlPlaneHarness,
) -> None:
    harness.started()
    ended = harness.now + int(Settings().lease_s * SECOND)
    assert harness.processor.tick(ended, echoed_us=ended + 3600 * SECOND).expired == []
