"""Client of a process that evaluates conditions, for scripted runs and state searches."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from worker.core.machine import EdgesEvaluated
from worker.core.outcome import StepError
from worker.sandbox.parent.frames import OVERHEAD_BYTES, check_json, protocol_error, typed
from worker.sandbox.protocol import (
    READ_BYTES,
    FrameDecoder,
    ProtocolError,
    RunRequest,
    encode_frame,
)


class ConditionReply(Struct, frozen=True, forbid_unknown_fields=True):
    """The reply to any request for conditions. ``all`` has a pair for each of many states."""

    error: StepError | None = None
    taken: tuple[bool, ...] = ()
    all: tuple[tuple[tuple[bool, ...], StepError | None], ...] = ()


_decode = msgspec.json.Decoder(ConditionReply).decode


def _decode_reply(head: bytes) -> ConditionReply:
    reply: ConditionReply = typed(_decode, ConditionReply, head)
    return reply


class ConditionEvaluator:
    """Evaluates the conditions of one plan, in a sandbox of its own.

    Its methods block: call them from a thread without an event loop. A condition over a limit ends
    the process; ``cause`` returns the error that it ended with, and ends it where it has not.
    """

    def __init__(
        self, channel: socket.socket, request: RunRequest, cause: Callable[[], StepError]
    ) -> None:
        channel.setblocking(True)
        self._channel = channel
        self._plan = request.plan
        self._max_state_bytes = 3 * request.limits.state_bytes + OVERHEAD_BYTES
        self._cause = cause
        self._decoder = FrameDecoder(_decode_reply, check_size=self._check_size)
        self._startup: tuple[StepError | None] | None = None
        self.closed = False

    def startup_error(self) -> StepError | None:
        """Return the error of a plan that does not compile and so cannot run, else ``None``."""
        if self._startup is None:
            try:
                self._startup = (self._receive()[0].error,)
            except (OSError, EOFError, ProtocolError) as error:
                self._startup = (self._end(error),)
        return self._startup[0]

    def evaluate(
        self,
        step: str,
        state: str | None,
        *,
        now_us: int,
        seed: str | None,
        cpu_s: float = 0.0,
    ) -> EdgesEvaluated:
        """Evaluate the open edges of a step over a state, which is JSON text.

        ``now_us`` is the time in microseconds since the epoch; a ``seed`` restarts the sequence of
        random numbers; ``cpu_s`` limits the processor time, 0 for no other limit than the usual.
        """
        try:
            self._channel.sendall(
                encode_frame({"step": step, "now_us": now_us, "seed": seed, "cpu_s": cpu_s}, state)
            )
            reply, changed = self._receive()
            self._check_count(step, reply.taken, reply.error)
        except (OSError, EOFError, ProtocolError) as error:
            return EdgesEvaluated(taken=(), state=state, error=self._end(error))
        return EdgesEvaluated(
            taken=reply.taken,
            state=state if changed is None else changed,
            error=reply.error,
        )

    def evaluate_all(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        """Evaluate the open edges of a step over many states in one round trip.

        If the process ends, every state gets the same error.
        """
        try:
            self._channel.sendall(
                encode_frame({"step": step, "now_us": 0, "seed": None, "all": list(states)})
            )
            reply, _ = self._receive()
            if len(reply.all) != len(states):
                raise ProtocolError(f"{len(reply.all)} replies for {len(states)} states")
            for taken, failure in reply.all:
                self._check_count(step, taken, failure)
        except (OSError, EOFError, ProtocolError) as error:
            return [EdgesEvaluated(taken=(), state=None, error=self._end(error))] * len(states)
        return [
            EdgesEvaluated(taken=taken, state=None, error=failure) for taken, failure in reply.all
        ]

    def _check_size(self, reply: ConditionReply, size_bytes: int) -> None:
        if size_bytes > self._max_state_bytes:
            raise ProtocolError(f"a state of {size_bytes:,} bytes is too large")

    def _check_count(self, step: str, taken: tuple[bool, ...], error: StepError | None) -> None:
        edges = len(self._plan.step(step).open_edges)
        if len(taken) != edges and error is None:
            raise ProtocolError(f"{len(taken)} results for {edges} edges")

    def _receive(self) -> tuple[ConditionReply, str | None]:
        while True:
            data = self._channel.recv(READ_BYTES)
            if not data:
                raise EOFError
            replies = list(self._decoder.feed(data))
            # Requests are sent one at a time.
            if len(replies) > 1:
                raise ProtocolError("more replies than requests")
            for reply, state in replies:
                if state is not None:
                    check_json(state)
                return reply, state

    def _end(self, error: Exception) -> StepError:
        self.close()
        cause = self._cause()
        return protocol_error(error) if isinstance(error, ProtocolError) else cause

    def close(self) -> None:
        """Close the channel, which ends the process."""
        self.closed = True
        self._channel.close()
