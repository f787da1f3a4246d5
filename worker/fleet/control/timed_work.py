"""Work that is due by time, in parts, and the defects that were met in it.

All parts share a transaction. Where that fails for a defect, each part gets one of its own, and so
does each run and each project: what fails then is left out for a while, and all else is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from worker.fleet.control.unit_of_work import UnitOfWork

RETRY_DEFECT_US = 60_000_000
"""How long what had a defect is left out."""


@dataclass(slots=True)
class KnownDefects:
    """What is left out for its defect, by its name, each until a time in microseconds."""

    _until_us: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, now_us: int) -> None:
        self._until_us[name] = now_us + RETRY_DEFECT_US

    def covers(self, name: str) -> bool:
        return name in self._until_us

    def forget_old(self, now_us: int) -> None:
        """Forget those that are to be tried again; a clock that was set back counts as well."""
        # A new dict, as most often there is none.
        if self._until_us:
            self._until_us = {
                name: until
                for name, until in self._until_us.items()
                if now_us < until <= now_us + RETRY_DEFECT_US
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedWork:
    """A part of the work. ``items`` lists what is due, and ``do`` does it for one of these.

    Without ``items`` the part is done as a whole, with an empty text for ``do``. A part that is
    ``by_clock`` becomes due with time alone, whatever the rows of the database are.
    """

    name: str
    do: Callable[[UnitOfWork, str], None]
    items: Callable[[UnitOfWork], Iterable[str]] | None = None
    by_clock: bool = False

    def named(self, item: str) -> str:
        return f"{self.name} {item}" if item else self.name

    def due(self, uow: UnitOfWork, defects: KnownDefects) -> Sequence[str]:
        """List what is due, without what is left out for a defect."""
        if defects.covers(self.name):
            return []
        items = [""] if self.items is None else self.items(uow)
        return [item for item in items if not defects.covers(self.named(item))]


def text_of(error: Exception) -> str:
    """Return the text of a defect, for logs and refusals."""
    return f"{type(error).__name__}: {error}"[:500]
