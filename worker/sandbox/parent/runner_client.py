"""Client of runners: processes that live on, and execute runs of JavaScript one after the other."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from worker.core.events import AnyEvent
from worker.sandbox.limits import timed_out
from worker.sandbox.parent.frames import Notice, ProgramsDropped, RunStopped
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.run_process import RunProcess
from worker.sandbox.parent.zygote_client import (
    ForkedProcess,
    ProcessExit,
    ZygoteClient,
    ignore_exit,
)
from worker.sandbox.protocol import (
    OWN_FIELDS,
    PROGRAM_FIELDS,
    RUNNER_IDLE,
    ProtocolError,
    RunRequest,
    encode_frame,
)

MAX_ENCODED_PROGRAMS = 256
MAX_ENCODED_BYTES = 128 * 1024 * 1024
IDLE_TIMEOUT_S = 0.9
"""Time within which a runner must be idle after a run."""
_IDLE = encode_frame({"type": RUNNER_IDLE})
# Required fields are sent always: nothing that they hold equals this.
_NOTHING: Any = None
# msgspec's own list of fields would take 10 ms at each start of a command.
_USUAL = RunRequest(
    run_id=_NOTHING,
    seed=_NOTHING,
    plan=_NOTHING,
    input=_NOTHING,
    limits=_NOTHING,
    jobs=_NOTHING,
    conditions=_NOTHING,
    configurations=_NOTHING,
    secrets=_NOTHING,
    modules=_NOTHING,
    versions=_NOTHING,
)
_OPTION_DEFAULTS = tuple(
    (name, getattr(_USUAL, name))
    for name in RunRequest.__struct_fields__
    if name not in (*PROGRAM_FIELDS, *OWN_FIELDS)
)
"""The other fields of a request, and their defaults."""


class ProgramEncoder:
    """Encodes what the runs of a workflow share, once for all that share the same objects."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[Any, tuple[tuple[Any, ...], str, bytes]] = OrderedDict()
        self._held_bytes = 0
        self._options: dict[str, Any] = {}
        self._identity: list[tuple[str, int]] | None = None
        self._encoded_options = ""

    def encode(self, request: RunRequest) -> tuple[str, bytes]:
        """Return the key of a request's program, and the frame that sends it to a runner."""
        shared = (request.plan, request.jobs, request.conditions)
        identity = (*map(id, shared), tuple(request.adaptors.items()))
        if identity not in self._encoded:
            body = pickle.dumps({name: getattr(request, name) for name in PROGRAM_FIELDS})
            key = hashlib.sha256(body).hexdigest()
            frame = encode_frame({"program": key}, base64.b64encode(body).decode())
            # With the objects, so that no other one gets the identity of one of them.
            self._encoded[identity] = shared, key, frame
            self._held_bytes += len(frame)
            self._evict()
        _, key, frame = self._encoded[identity]
        return key, frame

    def encode_options(self, request: RunRequest) -> str:
        """Encode the fields of a request that are neither its own nor its program's.

        What most runs leave as it is would take two thirds of the time, so it is left out.
        """
        options = {
            name: value
            for name, default in _OPTION_DEFAULTS
            if (value := getattr(request, name)) is not default and value != default
        }
        # By identity, as values may be equal that differ as JSON: 1 and true.
        identity = [(name, id(value)) for name, value in options.items()]
        if identity != self._identity:
            self._encoded_options = base64.b64encode(pickle.dumps(options)).decode()
            # With the values, so that no other ones get their identities.
            self._identity, self._options = identity, options
        return self._encoded_options

    def _evict(self) -> None:
        """Drop the oldest frames while there are too many, or too large ones; keep the newest."""
        while len(self._encoded) > 1 and (
            len(self._encoded) > MAX_ENCODED_PROGRAMS or self._held_bytes > MAX_ENCODED_BYTES
        ):
            _, (_, _, frame) = self._encoded.popitem(last=False)
            self._held_bytes -= len(frame)


class RunnerClient:
    """One runner, which executes one run at a time.

    Its channel is read by the run that it executes, and between two runs here.
    """

    def __init__(self, zygote: ZygoteClient, encoder: ProgramEncoder) -> None:
        """Start a runner. Raises :class:`ZygoteError` where the zygote is gone."""
        self._zygote = zygote
        self._encoder = encoder
        self._forked = zygote.fork_runner()
        self._forked.exited.add_done_callback(ignore_exit)
        self._programs: set[str] = set()
        self._is_spent = False
        self._is_idle = True
        self._unread = b""
        self._idle_before_s: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._forked.channel.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._descriptor = self._forked.channel.fileno()
        self._read = self._poll
        # Once for all runs: each time would take a system call, and as long as an event.
        self._loop.add_reader(self._descriptor, self._on_readable)

    def _on_readable(self) -> None:
        self._read()

    def read_with(self, read: Callable[[], None] | None) -> None:
        """Have a function read the channel; ``None`` between two runs."""
        self._read = read or self._poll

    @property
    def is_usable(self) -> bool:
        """True while the process lives, and nothing is left of a run that was broken off."""
        return not (self._is_spent or self._forked.exited.done())

    @property
    def is_idle(self) -> bool:
        """True from the end of a run, when the runner waits for the next one, to its start."""
        return self._is_idle

    def keep_unread(self, data: bytes) -> None:
        """Take the bytes of a frame that came after a run, and that is not complete."""
        self._unread = data

    def _poll(self) -> None:
        # The zygote reports an exit late, or never where it has died as well.
        try:
            data = self._forked.channel.recv(len(_IDLE) + 1)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self._unread += data
        # Between two runs the runner sends this one frame, and nothing else.
        if self._unread == _IDLE and not self._is_idle:
            self._is_idle, self._unread = True, b""
        elif not data or self._is_idle or not _IDLE.startswith(self._unread):
            self.abandon()

    def become_idle(self) -> None:
        """Take note that the runner waits for a run. Raises :class:`ProtocolError` if it did."""
        if self._is_idle:
            raise ProtocolError("a runner that becomes idle twice")
        self._is_idle = True

    def begin(self) -> None:
        """Take note that a run has started. Raises :class:`ProtocolError` if another one runs."""
        if not self._is_idle:
            raise ProtocolError("a run that starts on a runner that is not idle")
        self._is_idle = False

    def take(self) -> bool:
        """Return whether the runner can execute the next run, and stop to watch it."""
        self._idle_before_s = None
        self._poll()
        # The next run would take the rest of a frame for one of its own.
        return self.is_usable and not self._unread

    def give_back(self) -> None:
        """Kill the runner if it does not become idle at once."""
        self._idle_before_s = self._loop.time() + IDLE_TIMEOUT_S
        # The timer of an earlier run looks again, as one for each run would cost more than a look.
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_at(self._idle_before_s, self._kill_if_busy)

    def _kill_if_busy(self) -> None:
        self._idle_timer = None
        if self._idle_before_s is None or (self._is_idle and self.is_usable):
            return
        if self._loop.time() < self._idle_before_s:
            self._idle_timer = self._loop.call_at(self._idle_before_s, self._kill_if_busy)
        else:
            self.kill(self._forked.name)

    def fork(self) -> ForkedProcess:
        """Return the process, for the next run."""
        return self._forked

    def kill(self, name: str) -> None:
        self._is_spent = True
        self._zygote.kill(name)

    def encode(self, request: RunRequest) -> bytes:
        """Return the bytes that start a run, with its program where the runner lacks it."""
        key, program = self._encoder.encode(request)
        header = {
            "program": key,
            "run_id": request.run_id,
            "seed": request.seed,
            "options": self._encoder.encode_options(request),
        }
        frame = encode_frame(header, request.input)
        if key in self._programs:
            return frame
        self._programs.add(key)
        return program + frame

    def forget(self, programs: tuple[str, ...]) -> None:
        """Take note that the runner has dropped programs."""
        self._programs.difference_update(programs)

    def abandon(self) -> None:
        """Use the process for no other run."""
        self._is_spent = True
        self._loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """End the process."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._loop.remove_reader(self._descriptor)
        self._zygote.kill(self._forked.name)
        self._forked.channel.close()


class RunOnRunner(RunProcess):
    """One run on a runner."""

    grace_s = 0.1

    def __init__(
        self,
        runner: RunnerClient,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        host: Host | None,
    ) -> None:
        super().__init__(runner, request, receive, host)
        self._runner = runner
        self._idle_timer: asyncio.TimerHandle | None = None

    def _encode_request(self) -> bytes:
        return self._runner.encode(self._request)

    def _start_reading(self) -> None:
        self._runner.read_with(self._read)

    def _end_reading(self) -> None:
        self._runner.read_with(None)

    def _start_watch(self, cancel: asyncio.Event | None) -> None:
        super()._start_watch(cancel)
        if not self._runner.is_idle and not self._stream.started:
            self._idle_timer = self._loop.call_later(IDLE_TIMEOUT_S, self._give_up)

    def _release_channel(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._runner.keep_unread(self._frames.unread)
        # A reply that was sent in part leaves the channel in the middle of a frame.
        if self._host_calls is not None and self._host_calls.is_replying:
            self._runner.abandon()

    def _leave_process(self, exited: asyncio.Future[ProcessExit]) -> None:
        # The runner lives on; the pool watches that it becomes idle.
        pass

    def _give_up(self) -> None:
        # The runner is still busy with the run before, and has read nothing of this one.
        if not self._runner.is_idle and not self._stream.started:
            self._runner.kill(self._forked.name)
            self._is_unread = True
            self._stop_reading()

    def _begin(self) -> None:
        self._runner.begin()

    def _handle_notice(self, notice: Notice) -> None:
        if isinstance(notice, RunStopped):
            self._cause = self._cause or timed_out(self._request.limits)
            self._stopped = ProcessExit(code=0, peak_bytes=notice.mem)
            self._stop_reading()
        elif isinstance(notice, ProgramsDropped):
            self._runner.forget(notice.programs)
        else:
            self._runner.become_idle()
