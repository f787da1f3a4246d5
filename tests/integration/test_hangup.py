"""SIGHUP, which a terminal sends to its processes when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.command import ROOT, TIMEOUT_S, WORKER
from tests.support.fleets import at, fleet, needs_mosquitto
from tests.support.scripted_worker import HostileExecutor
from worker.cli.services import interrupt_on_signals, on_signals
from worker.fleet.messaging import broker
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.broker import Broker, free_port
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Presence
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.lightning.lightning_worker import LightningWorker, WorkerSettings
from worker.sinks.log import stderr_logger


@pytest.fixture
def hangup() -> Iterator[None]:
    """Restore the handlers of the signals afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    # A test whose SIGHUP is not handled must fail, and not end the process of the tests.
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@needs_mosquitto
def test_a_terminal_that_is_closed_ends_worker_dev_and_its_broker(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*WORKER, "dev", "--port", "0", "--no-dashboard"],
        cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with process, process.stdout:
        lines: list[str] = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, lines
            lines.append(line)
        # To the group, as a terminal does; the broker has a group of its own.
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(60) == 0
    broker = urlsplit(next(line.split()[-1] for line in lines if line.startswith("broker ")))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((broker.hostname, broker.port)).close()


@pytest.mark.usefixtures("hangup")
async def test_a_second_hangup_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    stops: list[None] = []
    on_signals(lambda: stops.append(None))
    handled = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handled.set)
    for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1):
        signal.raise_signal(number)
    await asyncio.wait_for(handled.wait(), 30)
    assert (len(stops), exits) == (1, [])


@pytest.mark.usefixtures("hangup")
async def test_nohup_keeps_its_process() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on_signals()
    on_signals(lambda: None)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@needs_mosquitto
@pytest.mark.slow
async def test_a_control_plane_reads_its_policy_again_instead(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        plane = made.control()
        async with at(made):
            plane.send(signal.SIGHUP)
            async with asyncio.timeout(60):
                while "control.reloaded" not in plane.log.read_text():
                    assert plane.process.poll() is None
                    await asyncio.sleep(0.02)
        assert await asyncio.to_thread(plane.stop) == 0


@needs_mosquitto
@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_while_the_broker_starts_ends_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(port: int) -> bool:
        pids.append(made.pid)
        # As often as for a terminal that is closed: once by the shell and once by the system.
        signal.raise_signal(number)
        raise AssertionError("the signal is not handled")

    def kill() -> None:
        signal.raise_signal(number)
        Broker.kill(made)

    signal.signal(number, signal.SIG_DFL)
    interrupt_on_signals()
    made, pids = Broker(), list[int]()
    monkeypatch.setattr(broker, "_listens", interrupted)
    monkeypatch.setattr(made, "kill", kill)
    with pytest.raises(KeyboardInterrupt), made:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@needs_mosquitto
@pytest.mark.usefixtures("hangup")
def test_a_signal_before_the_process_of_the_broker_is_known_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            pids.append(self.pid)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    interrupt_on_signals()
    pids: list[int] = []
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), Broker():
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


# The default of either signal, or one more KeyboardInterrupt, would leave the broker.
STARTING = "dev.Store.migrate = lambda store: signal.raise_signal(signal.SIGTERM)"
ENDING = """
async def run(*_):
    services.on_signals(lambda: None)
dev._run = run
dev.Store.close = lambda store: [signal.raise_signal(signal.SIGHUP) for _ in range(2)]
"""


@needs_mosquitto
@pytest.mark.parametrize("patch", [STARTING, ENDING], ids=["start", "end"])
def test_a_signal_at_the_start_and_the_end_of_worker_dev(patch: str, tmp_path: Path) -> None:
    port = free_port()
    program = "import signal, worker.cli.dev as dev, worker.cli.services as services"
    main = "from worker.cli.entry import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((program, patch, main)),
         "dev", "--port", str(port), "--no-dashboard"],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()


# --- a terminal that is gone: each write to it fails ----------------------------------------------


def test_a_worker_whose_terminal_is_closed_ends(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    nowhere = f"ws://127.0.0.1:{free_port()}/worker"
    process = subprocess.Popen(
        [*WORKER, "start", "--lightning", nowhere, "--outbox", str(tmp_path / "outbox")],
        env={**os.environ, "WORKER_SECRET": "secret"},
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    with process:
        output = b""
        while b"lightning.disconnected" not in output:
            output += os.read(leader, 65536)
        os.close(leader)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0


class Terminal:
    """A terminal whose every use fails."""

    def __init__(self, number: int) -> None:
        self.error = OSError(number, os.strerror(number))

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_a_log_without_a_reader_is_dropped(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal(number))
    full = number == errno.ENOSPC
    with pytest.raises(OSError, match="space") if full else contextlib.nullcontext():
        stderr_logger().info("worker.draining")


async def test_a_worker_whose_log_fails_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal(errno.ENOSPC))
    topics, log = Topics(), stderr_logger()
    context: Any = SimpleNamespace(log=log)
    of_lightning = LightningWorker(WorkerSettings(name="w", workloops=()), context)
    bus = LocalBroker().bus(*topics.for_worker("w"))
    outbox = Outbox(tmp_path / "outbox")
    of_fleet = FleetWorker(
        bus, HostileExecutor({}), outbox, name="w", capacity=1, topics=topics, log=log
    )
    published: list[Message] = []
    monkeypatch.setattr(bus, "publish", published.append)
    for worker in (of_lightning, of_fleet):
        with pytest.raises(OSError, match="space"):
            worker.drain()
    outbox.close()
    assert of_lightning._draining.is_set()
    assert [wire.decode(Presence, each.payload).draining for each in published] == [True]


def test_signals_are_handled_in_one_place() -> None:
    files = [path for path in (ROOT / "worker").rglob("*.py") if path.name != "services.py"]
    assert len(files) > 100
    assert not [path for path in files if "add_signal_handler" in path.read_text("utf-8")]
