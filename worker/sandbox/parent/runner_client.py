"""Client of runners: processes that live on, and execute runs of JavaScript one after the other."""

from __future__ import annotations

import base64
import hashlib
import pickle
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from worker.core.events import AnyEvent
from worker.sandbox.limits import timed_out
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.run_process import RunProcess, ignore_exit
from worker.sandbox.parent.zygote_client import (
    ForkedProcess,
    ProcessExit,
    ZygoteClient,
)
from worker.sandbox.protocol import (
    PROGRAM_FIELDS,
    RUN_STOPPED,
    ProtocolError,
    RunnerRequest,
    RunRequest,
    encode_frame,
    encode_request,
)

MAX_ENCODED_PROGRAMS = 256
MAX_ENCODED_BYTES = 128 * 1024 * 1024
_RUN_FIELDS = tuple(
    name for name in RunRequest.__struct_fields__ if name not in (*PROGRAM_FIELDS, "input")
)


class ProgramEncoder:
    """Encodes what the runs of a workflow share, once for all that share the same objects."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[Any, tuple[tuple[Any, ...], str, bytes]] = OrderedDict()
        self._held_bytes = 0

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

    def _evict(self) -> None:
        """Drop the oldest frames while there are too many, or too large ones; keep the newest."""
        while len(self._encoded) > 1 and (
            len(self._encoded) > MAX_ENCODED_PROGRAMS or self._held_bytes > MAX_ENCODED_BYTES
        ):
            _, (_, _, frame) = self._encoded.popitem(last=False)
            self._held_bytes -= len(frame)


class RunnerClient:
    """One runner, which executes one run at a time."""

    def __init__(self, zygote: ZygoteClient, encoder: ProgramEncoder) -> None:
        """Start a runner. Raises :class:`ZygoteError` where the zygote is gone."""
        self._zygote = zygote
        self._encoder = encoder
        self._forked = zygote.fork()
        self._forked.exited.add_done_callback(ignore_exit)
        self._programs: set[str] = set()
        self._is_spent = False
        # A new socket takes so few bytes at once.
        self._forked.channel.send(encode_request(RunnerRequest()))
        self._forked.channel.setblocking(False)

    @property
    def is_usable(self) -> bool:
        """True while the process lives, and nothing is left of a run that was broken off."""
        return not (self._is_spent or self._forked.exited.done() or self._is_closed())

    def _is_closed(self) -> bool:
        # The zygote reports an exit late, or never where it has died as well.
        try:
            self._forked.channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionError:
            pass
        # The runner sends nothing between two runs.
        return True

    def fork(self) -> ForkedProcess:
        """Return the process, for the next run."""
        return self._forked

    def kill(self, name: str) -> None:
        self._is_spent = True
        self._zygote.kill(name)

    def encode(self, request: RunRequest) -> bytes:
        """Return the bytes that start a run, with its program where the runner lacks it."""
        key, program = self._encoder.encode(request)
        run = pickle.dumps({name: getattr(request, name) for name in _RUN_FIELDS})
        header = {"program": key, "run": base64.b64encode(run).decode()}
        frame = encode_frame(header, request.input)
        if key in self._programs:
            return frame
        self._programs.add(key)
        return program + frame

    def forget(self, programs: list[str]) -> None:
        """Take note that the runner has dropped programs."""
        self._programs.difference_update(programs)

    def abandon(self) -> None:
        """Use the process for no other run."""
        self._is_spent = True

    def close(self) -> None:
        """End the process."""
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

    def _encode_request(self) -> bytes:
        return self._runner.encode(self._request)

    def _release_channel(self) -> None:
        # A reply that was sent in part leaves the channel in the middle of a frame.
        if self._replying.locked():
            self._runner.abandon()

    def _handle_notice(self, header: dict[str, Any]) -> None:
        if header["type"] == RUN_STOPPED:
            self._handle_stop(header.get("mem"))
        else:
            self._runner.forget(header["programs"])

    def _handle_stop(self, memory_bytes: object) -> None:
        if not isinstance(memory_bytes, int):
            raise ProtocolError(f"memory of {memory_bytes!r} bytes")
        self._cause = self._cause or timed_out(self._request.limits)
        self._stopped = ProcessExit(code=0, peak_bytes=memory_bytes)
        self._stop_reading()
