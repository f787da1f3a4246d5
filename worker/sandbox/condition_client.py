"""The parent's handle on a process that evaluates conditions, for runs without a process."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from worker.core.events import error_from_dict
from worker.core.machine import EdgesEvaluated
from worker.core.outcome import StepError
from worker.sandbox.protocol import Frames, ProtocolError, frame

_READ_BYTES = 1 << 18


class ConditionEvaluator:
    """Evaluates the conditions of one plan, in a sandbox of its own.

    Its methods block, and belong into a thread where there is an event loop. ``died`` tells why
    the process ended, when it has; a condition that is over a limit ends it.
    """

    def __init__(self, channel: socket.socket, died: Callable[[], StepError]) -> None:
        channel.setblocking(True)
        self._channel = channel
        self._died = died
        self._frames = Frames()
        self._ready: tuple[StepError | None] | None = None
        self.gone = False

    def refused(self) -> StepError | None:
        """Why the plan cannot run at all: its code does not compile."""
        if self._ready is None:
            try:
                header, _ = self._receive()
            except (OSError, EOFError, ProtocolError):
                self._ready = (self._end(),)
            else:
                refused = header["refused"]
                self._ready = (error_from_dict(refused) if refused else None,)
        return self._ready[0]

    def ask(self, step: str, state: str | None, *, now: int, seed: str | None) -> EdgesEvaluated:
        """The verdicts on the open edges of a step over a state, JSON text.

        ``now`` is the time in microseconds since the epoch; ``seed`` begins the random numbers of
        a run anew.
        """
        try:
            self._channel.sendall(frame({"step": step, "now": now, "seed": seed}, state))
            header, left = self._receive()
        except (OSError, EOFError, ProtocolError):
            return EdgesEvaluated(taken=(), state=state, error=self._end())
        error = header["error"]
        return EdgesEvaluated(
            taken=tuple(header["verdicts"]),
            state=state if left is None else left,
            error=error_from_dict(error) if error else None,
        )

    def ask_all(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        """The verdicts over many states at once; a process that goes gives all the same end."""
        try:
            self._channel.sendall(
                frame({"step": step, "now": 0, "seed": None, "all": list(states)})
            )
            header, _ = self._receive()
        except (OSError, EOFError, ProtocolError):
            return [EdgesEvaluated(taken=(), state=None, error=self._end())] * len(states)
        return [
            EdgesEvaluated(
                taken=tuple(verdicts),
                state=None,
                error=error_from_dict(error) if error else None,
            )
            for verdicts, error in header["all"]
        ]

    def _receive(self) -> tuple[dict[str, Any], str | None]:
        while True:
            data = self._channel.recv(_READ_BYTES)
            if not data:
                raise EOFError
            # One answer to one question: there is never more than one.
            for found in list(self._frames.feed(data)):
                return found

    def _end(self) -> StepError:
        self.gone = True
        self.close()
        return self._died()

    def close(self) -> None:
        """Let the process go."""
        self._channel.close()
