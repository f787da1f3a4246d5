"""Clock of the machine, and its source of chance. A simulation puts its own in their place."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator

from msgspec import Struct, field


class Machine(Struct, frozen=True, kw_only=True):
    """Sources of time, in nanoseconds, and of random bits."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    chance: random.Random = field(default_factory=random.SystemRandom)


_machine = Machine()


@contextlib.contextmanager
def replaced(machine: Machine) -> Iterator[None]:
    """Take time and chance from ``machine``, in the whole process."""
    global _machine
    before, _machine = _machine, machine
    try:
        yield
    finally:
        _machine = before


def now_us() -> int:
    """Return the time in microseconds since the epoch."""
    return _machine.wall_ns() // 1000


def monotonic_ns() -> int:
    """Return nanoseconds of a clock that is never set."""
    return _machine.monotonic_ns()


def monotonic_s() -> float:
    """Return seconds of a clock that is never set."""
    return _machine.monotonic_ns() / 1e9


def random_hex(byte_count: int) -> str:
    """Return random bytes that nobody can guess, as hexadecimal digits."""
    return _machine.chance.getrandbits(8 * byte_count).to_bytes(byte_count, "big").hex()


def random_between(low: float, high: float) -> float:
    return _machine.chance.uniform(low, high)
