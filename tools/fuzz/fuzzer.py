"""The loop of the fuzzer: it changes inputs, judges what they do, and keeps what reaches more."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tools.fuzz.bounds import Exceeded, bounded
from tools.fuzz.branches import PACKAGE, Branches
from tools.fuzz.changes import Changer, Parts
from worker.errors import WorkerError

TRACED_BYTES = 256 * 1024
"""Larger inputs are not traced, as each line would take ten times as long."""
DAMAGED = 0.15
"""Share of the inputs that are damaged as bytes too."""
TURN_S = 1.0


class Fault(Exception):
    """Something that must hold does not."""


class Target(Protocol):
    """Reader of one kind of input."""

    name: str
    large: bool
    """True where an input of the size of the largest file is worth a try."""

    def seeds(self) -> Sequence[Parts]:
        """Return valid inputs."""

    def encode(self, parts: Parts) -> bytes: ...

    def execute(self, data: bytes) -> None:
        """Read an input.

        Raises :class:`WorkerError` where the input is refused. Any other exception is a fault.
        """

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, with the input that shows it."""

    target: str
    number: int
    place: str
    text: str
    data: bytes


@dataclass(slots=True)
class Session:
    """The inputs of one target so far: those worth changing, and the faults."""

    target: Target
    chance: random.Random
    branches: Branches = field(default_factory=Branches)
    corpus: list[Parts] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    inputs: int = 0
    seconds: float = 0.0

    def begin(self) -> None:
        """Execute the valid inputs, which must be accepted."""
        began = time.monotonic()
        for parts in self.target.seeds():
            self.execute(self.target.encode(parts))
            self.corpus.append(parts)
        self.seconds += time.monotonic() - began

    def fuzz(self, until: float) -> None:
        """Execute changed inputs until a time of ``time.monotonic``."""
        changer, began = Changer(self.chance, large=self.target.large), time.monotonic()
        while time.monotonic() < until:
            # What was kept last reaches what few inputs reach.
            recent = self.chance.random() < 0.5
            parts = self.chance.choice(self.corpus[-20:] if recent else self.corpus)
            parts = changer.change(parts, self.chance.choice(self.corpus))
            data = self.target.encode(parts)
            if self.chance.random() < DAMAGED:
                self.execute(changer.damage(data))
            elif self.execute(data) and len(data) < TRACED_BYTES:
                self.corpus.append(parts)
        self.seconds += time.monotonic() - began

    def execute(self, data: bytes) -> bool:
        """Execute an input, and return whether it has reached a new branch."""
        self.inputs += 1
        before = len(self.branches.reached)
        try:
            with bounded(len(data)):
                self._execute(data)
        except WorkerError:
            pass
        except (Exception, Exceeded) as error:
            self._add(error, data)
        return len(self.branches.reached) > before

    def _execute(self, data: bytes) -> None:
        if len(data) > TRACED_BYTES:
            return self.target.execute(data)
        with self.branches.recorded():
            return self.target.execute(data)

    def _add(self, error: BaseException, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
        where = f"{own[-1].filename.removeprefix(PACKAGE)}:{own[-1].lineno}" if own else ""
        # A hang is met at any line. A fault that a target reports has its own text.
        text = str(error)[:60] if isinstance(error, Fault) else where
        place = f"{type(error).__name__} {'' if isinstance(error, Exceeded) else text}".strip()
        lines = traceback.format_exception(error, limit=-8)
        finding = Finding(self.target.name, self.inputs, place, "".join(lines)[-4000:], data)
        self.findings.setdefault(place, finding)


def fuzz(
    targets: Sequence[Target], seconds: float, seed: int, *, first: bool = False
) -> list[Session]:
    """Fuzz targets in turn for so many seconds; with ``first``, until there is a finding."""
    end = time.monotonic() + seconds
    sessions = [Session(target, random.Random(f"{seed} {target.name}")) for target in targets]
    for session in sessions:
        session.begin()
    while time.monotonic() < end:
        for session in sessions:
            session.fuzz(min(end, time.monotonic() + TURN_S))
        if first and any(session.findings for session in sessions):
            break
    return sessions
