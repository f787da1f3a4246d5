"""Virtual time: an event loop whose selector never waits but moves the clock."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from worker.util.machine_clock import Machine

# 2026-01-01T00:00:00Z, so that times look like times.
_EPOCH_NS = 1_767_225_600_000_000_000


# What a turn of the loop takes. Without it, a time that is due in less than the clock resolves
# would never come: the loop would take it for due, and who waits for it would not.
_TURN_S = 1e-6


class VirtualClock:
    """Seconds since the start of the simulation, and the jumps of the wall clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.jump_s = 0.0

    def machine(self, seed: int) -> Machine:
        """Build the machine whose time this is; its chance follows from the seed."""
        return Machine(
            wall_ns=lambda: _EPOCH_NS + int((self.now_s + self.jump_s) * 1e9),
            monotonic_ns=lambda: int(self.now_s * 1e9),
            chance=random.Random(seed),  # noqa: S311 -- the same every time
        )


class _VirtualSelector(selectors.DefaultSelector):
    """Selector that moves the clock instead of waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is due: everything waits for something else")
        self._clock.now_s += max(_TURN_S, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop on virtual time. Work for threads is done at once, in the loop's own."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_VirtualSelector(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:
            future.set_exception(error)
        return future
