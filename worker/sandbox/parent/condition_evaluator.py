"""Client of a process that evaluates conditions, for scripted runs and state searches."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from worker.core.events import error_from_dict
from worker.core.machine import EdgesEvaluated
from worker.core.outcome import StepError
from worker.sandbox.protocol import READ_BYTES, FrameDecoder, ProtocolError, encode_frame


class ConditionEvaluator:
    """Evaluates the conditions of one plan, in a sandbox of its own.

    Its methods block: call them from a thread without an event loop. A condition over a limit ends
    the process; ``cause`` returns the error that it ended with.
    """

    def __init__(self, channel: socket.socket, cause: Callable[[], StepError]) -> None:
        channel.setblocking(True)
        self._channel = channel
        self._cause = cause
        self._decoder = FrameDecoder()
        self._startup: tuple[StepError | None] | None = None
        self.closed = False

    def startup_error(self) -> StepError | None:
        """Return the error of a plan that does not compile and so cannot run, else ``None``."""
        if self._startup is None:
            try:
                header, _ = self._receive()
            except (OSError, EOFError, ProtocolError):
                self._startup = (self._end(),)
            else:
                error = header["error"]
                self._startup = (error_from_dict(error) if error else None,)
        return self._startup[0]

    def evaluate(
        self, step: str, state: str | None, *, now_us: int, seed: str | None
    ) -> EdgesEvaluated:
        """Evaluate the open edges of a step over a state, which is JSON text.

        ``now_us`` is the time in microseconds since the epoch; a ``seed`` restarts the sequence of
        random numbers.
        """
        try:
            self._channel.sendall(
                encode_frame({"step": step, "now_us": now_us, "seed": seed}, state)
            )
            header, changed = self._receive()
        except (OSError, EOFError, ProtocolError):
            return EdgesEvaluated(taken=(), state=state, error=self._end())
        error = header["error"]
        return EdgesEvaluated(
            taken=tuple(header["taken"]),
            state=state if changed is None else changed,
            error=error_from_dict(error) if error else None,
        )

    def evaluate_all(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        """Evaluate the open edges of a step over many states in one round trip.

        If the process ends, every state gets the same error.
        """
        try:
            self._channel.sendall(
                encode_frame({"step": step, "now_us": 0, "seed": None, "all": list(states)})
            )
            header, _ = self._receive()
        except (OSError, EOFError, ProtocolError):
            return [EdgesEvaluated(taken=(), state=None, error=self._end())] * len(states)
        return [
            EdgesEvaluated(
                taken=tuple(taken),
                state=None,
                error=error_from_dict(error) if error else None,
            )
            for taken, error in header["all"]
        ]

    def _receive(self) -> tuple[dict[str, Any], str | None]:
        while True:
            data = self._channel.recv(READ_BYTES)
            if not data:
                raise EOFError
            # Requests are sent one at a time, so there is at most one reply to read.
            for reply in list(self._decoder.feed(data)):
                return reply

    def _end(self) -> StepError:
        self.close()
        return self._cause()

    def close(self) -> None:
        """Close the channel, which ends the process."""
        self.closed = True
        self._channel.close()
