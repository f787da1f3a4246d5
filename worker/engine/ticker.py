"""Deadlines of calls into the engine: one sleeping thread that moves the engine's epoch.

A deadline cannot come from a signal: Python runs signal handlers between its own instructions, and
there are none while the engine works. So a thread sleeps until the earliest deadline. It is started
once, before a process gives up the right to start threads. Arming costs no system call as long
as the thread wakes early enough anyway: it looks at the deadline then, and sleeps on. Runs in a row
with the same time limit therefore wake it once per limit, not once per run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_FAR_S = 1e9


class Ticker:
    """Calls ``expire`` when the armed deadline passes, from a thread of its own."""

    def __init__(self, expire: Callable[[], None]) -> None:
        self._expire = expire
        self._condition = threading.Condition()
        self._deadline_s: float | None = None
        self._wakes_at_s = _FAR_S
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine-ticker", daemon=True)
        self._thread.start()

    def arm(self, deadline_s: float) -> None:
        """Set the deadline, on the clock of ``time.monotonic``; it replaces the one before."""
        self._deadline_s = deadline_s
        if deadline_s < self._wakes_at_s:
            with self._condition:
                self._condition.notify()

    def disarm(self) -> None:
        """Drop the deadline; when this returns, ``expire`` is not being called for it."""
        with self._condition:
            self._deadline_s = None

    def close(self) -> None:
        """End the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._condition:
            while not self._closed:
                # Announced before the deadline is read: who arms after this line sees a time to
                # compare with, and notifies if it is too late.
                self._wakes_at_s = _FAR_S
                deadline_s = self._deadline_s
                now_s = time.monotonic()
                if deadline_s is not None and deadline_s <= now_s:
                    self._deadline_s = None
                    self._expire()
                    continue
                wait_s = None if deadline_s is None else deadline_s - now_s
                self._wakes_at_s = _FAR_S if wait_s is None else now_s + wait_s
                self._condition.wait(wait_s)
