"""Compiled job, as a run's process loads it: without tree-sitter."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from msgspec import field

from worker.util.packed import Packed


class CompiledJob(Packed, frozen=True, kw_only=True):
    """Body of an async function of ``$worker`` that returns the job's operations.

    ``body`` keeps every line of the author's source on its own line, so only columns move.
    ``positions`` maps them back: sorted (line, generated column, original column), each the start
    of a stretch that was copied as it stands; lines and columns count from 1, in code points.
    ``free`` are the names that the source uses and never declares, ``free_calls`` those of them
    that it calls, or whose members it calls. ``sites`` maps the ``line:column`` at which the engine
    reports an error in ``body`` to what was called, iterated or destructured there.
    ``operations`` are the lines and the callees' names of the top-level operations, a name empty
    where the callee is no plain name. ``exports`` are the names that the source exports; the body
    leaves their values in ``$worker.exported``. ``inferred`` are the places in the author's source
    at which anonymous functions that V8 shows with a name begin and end, by turns.
    """

    body: str
    positions: tuple[tuple[int, int, int], ...] = ()
    free: tuple[str, ...] = ()
    free_calls: tuple[str, ...] = ()
    sites: Mapping[str, Mapping[str, str | int | bool]] = field(default_factory=dict)
    operations: tuple[tuple[int, str], ...] = ()
    exports: tuple[str, ...] = ()
    inferred: tuple[tuple[int, int], ...] = ()

    def has_inferred_name(self, line: int, column: int) -> bool:
        """Return whether V8 shows the function at a place of the author's source with a name."""
        return bisect_right(self.inferred, (line, column)) % 2 == 1

    def origin(self, line: int, column: int) -> tuple[int, int]:
        """Map a (line, column) in ``body`` to that in the author's source."""
        # The last stretch that starts at or before the position: no column reaches 1 << 62.
        index = bisect_right(self.positions, (line, column, 1 << 62)) - 1
        if index < 0 or self.positions[index][0] != line:
            return line, column
        _, generated, original = self.positions[index]
        return line, original + column - generated
