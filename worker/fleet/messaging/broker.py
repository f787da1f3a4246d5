"""A local broker on loopback: mosquitto where it is installed, else one from a wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

from worker.errors import MachineError

START_TIMEOUT_S = 10.0
MAX_START_ATTEMPTS = 5
_DEFERRED = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# max_queued_messages: 0 (no limit) would do, but mosquitto 2.0.11 then disconnects clients whose
# publish the access list denies. set_tcp_nodelay: else small messages wait up to 40 ms.
MOSQUITTO = """\
listener {port} 127.0.0.1
{access}
{user}
{persistence}
set_tcp_nodelay true
max_queued_messages 1000000
max_inflight_messages 0
log_type error
log_type warning
"""

# rumqttd, the broker in iotcore, speaks MQTT 5 on the listeners of its section v5.
IOTCORE = """\
id = 0
[router]
id = 0
max_connections = 1010
max_outgoing_packet_count = 10000
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 134217728
max_inflight_count = 1000
dynamic_filters = true
"""


class BrokerError(MachineError):
    """A broker cannot be started."""


class Broker:
    """A broker as a child process, which ends with the ``with`` block.

    ``persistence`` is a folder where mosquitto stores its sessions.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        kind: str = "",
        access: str = "allow_anonymous true",
        persistence: Path | None = None,
    ) -> None:
        self.kind = kind or available()
        self.port = port
        self._fixed_port = port
        self._access = access
        self._persistence = persistence
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="worker-broker-")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # A signal interrupts the wait for its port: the block that would end it has not begun.
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the broker, at the port that it had before.

        A port that was not fixed is replaced if it has been taken meanwhile. Raises
        :class:`BrokerError`.
        """
        if self._fixed_port and _listens(self._fixed_port):
            raise BrokerError(
                f"cannot listen on port {self._fixed_port}: it is in use "
                "(is another broker or worker dev running? try --port 0)"
            )
        for _ in range(MAX_START_ATTEMPTS):
            self.port = self._fixed_port or self.port or free_port()
            if self._start_once():
                return
            if not self._fixed_port:
                self.port = 0
        raise BrokerError(f"cannot start the broker ({self.kind}): {self._output()}")

    def stop(self) -> None:
        """Terminate the broker; with ``persistence`` it stores its sessions."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start_once(self) -> bool:
        config = Path(self._folder.name) / "broker.toml"
        text = MOSQUITTO if self.kind == "mosquitto" else IOTCORE
        # As root, mosquitto would switch to a user who cannot read the folder of the configuration.
        user = "user root" if os.geteuid() == 0 else ""
        config.write_text(
            text.format(
                port=self.port,
                access=self._access,
                user=user,
                persistence="persistence false"
                if self._persistence is None
                else f"persistence true\npersistence_location {self._persistence}/",
            )
        )
        with self._log.open("wb") as log, _signals_deferred():
            self._process = subprocess.Popen(
                self._command(config),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in a terminal reaches the parent alone, which ends its clients first.
                process_group=0,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            if _listens(self.port):
                return True
            time.sleep(0.005)
        self.kill()
        return False

    def _command(self, config: Path) -> list[str]:
        if self.kind == "mosquitto":
            return [_mosquitto() or "mosquitto", "-c", str(config)]
        # The command of the package need not be on the path of a service.
        code = "import sys, iotcore; iotcore.Broker(config_path=sys.argv[1]).run_forever()"
        return [sys.executable, "-c", code, str(config)]

    @property
    def _log(self) -> Path:
        return Path(self._folder.name) / "log"

    def _output(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "no output"


def available() -> str:
    """Find out the installed kind of broker: ``mosquitto`` or ``iotcore``.

    Raises :class:`BrokerError` where there is neither.
    """
    from importlib.util import find_spec

    if _mosquitto():
        return "mosquitto"
    if find_spec("iotcore") is not None:
        return "iotcore"
    raise BrokerError(
        "no broker is installed: install mosquitto, or one from PyPI: "
        "pip install 'workflow-worker[broker]'"
    )


def _mosquitto() -> str | None:
    # Debian installs it into a folder that is not on the path of ordinary users.
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle the signals that Python code handles only after the block."""
    # Else one that comes before Popen returns leaves a process that nothing can end. The broker
    # would inherit a mask of signals. Only the main thread can set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}
    for number in _DEFERRED:
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
    for number in before:
        signal.signal(number, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in arrived:
            # Not raised again: an event loop, which is notified of each, would count it twice.
            before[number](number, None)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return True
    except OSError:
        return False
