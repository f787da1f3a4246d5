"""A lease ends where the control plane has read all that came before its end."""

from __future__ import annotations

import itertools

import msgspec

from tests.support.control_plane_harness import SECOND, ControlPlaneHarness
from worker.fleet.control.broker_echo import MAX_AWAITED, SLOW_ECHO_S, BrokerEcho
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire


def made() -> BrokerEcho:
    numbers = itertools.count()
    return BrokerEcho("echo", lambda: f"token-{next(numbers)}")


def sent(echo: BrokerEcho, now_us: int) -> bytes:
    return echo.request(now_us, 0.0, is_urgent=True).payload


def test_an_echo_tells_until_when_all_was_read() -> None:
    echo = made()
    assert echo.echoed_us == 0
    assert echo.receive(sent(echo, 5 * SECOND))
    assert echo.echoed_us == 5 * SECOND


def test_a_clock_that_was_set_back_takes_the_proof_back() -> None:
    echo = made()
    for time_us in (5 * SECOND, 2 * SECOND):
        echo.receive(sent(echo, time_us))
    assert echo.echoed_us == 2 * SECOND


def test_only_an_echo_that_leases_wait_for_makes_a_tick_due() -> None:
    echo = made()
    assert not echo.receive(echo.request(SECOND, 0.0, is_urgent=False).payload)
    assert echo.echoed_us == SECOND


def test_a_control_plane_whose_echoes_do_not_return_is_unhealthy() -> None:
    echo = made()
    first = echo.request(SECOND, 1.0, is_urgent=True)
    second = echo.request(2 * SECOND, 2.0, is_urgent=True)
    assert not echo.problem(1.0 + SLOW_ECHO_S)
    assert "no message returns on echo" in echo.problem(1.5 + SLOW_ECHO_S)
    echo.receive(first.payload)
    assert not echo.problem(1.5 + SLOW_ECHO_S) and echo.problem(2.5 + SLOW_ECHO_S)
    echo.receive(second.payload)
    assert not echo.problem(3.0 + SLOW_ECHO_S)
    echo.request(3 * SECOND, 3.0, is_urgent=True)
    echo.on_disconnected()
    assert not echo.problem(4.0 + SLOW_ECHO_S)


def test_messages_of_others_prove_nothing() -> None:
    echo = made()
    for payload in (
        b"",
        b"{",
        b"[]",
        b'{"token":1}',
        sent(BrokerEcho("echo", lambda: "x"), SECOND),
    ):
        assert not echo.receive(payload)
    assert echo.echoed_us == 0


def test_whoever_reads_an_echo_can_neither_move_its_time_nor_repeat_it() -> None:
    echo = made()
    lost, seen = sent(echo, 2 * SECOND), sent(echo, 5 * SECOND)
    read = msgspec.json.decode(seen, type=wire.Echo)
    for time_us in (0, 2**53):
        forged = wire.encode(msgspec.structs.replace(read, sent_us=time_us))
        assert not echo.receive(forged)
    assert echo.receive(seen)
    assert not echo.receive(seen)
    # One that was overtaken would take the proof back.
    assert not echo.receive(lost)
    assert echo.echoed_us == 5 * SECOND


def test_an_echo_of_a_connection_that_broke_proves_nothing() -> None:
    echo = made()
    payload = sent(echo, SECOND)
    echo.on_disconnected()
    assert not echo.receive(payload)


def test_echoes_that_never_come_are_forgotten() -> None:
    echo = made()
    first, second, *_ = [sent(echo, time_us) for time_us in range(1, MAX_AWAITED + 2)]
    assert not echo.receive(first)
    assert echo.receive(second)


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
