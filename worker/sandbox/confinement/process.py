"""Confinement of the processes that execute code of others: made once, applied in each."""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from worker.sandbox.confinement import system
from worker.sandbox.confinement.bpf import program
from worker.sandbox.confinement.call_rules import MAX_DESCRIPTORS, Profile

_PACKAGE = Path(__file__).parents[2]


def modules_and_zones() -> Iterator[Path]:
    """Yield the files and folders that a Python step may read: modules and time zones."""
    yield from map(Path, {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
    yield from (path for path in map(Path, sys.path) if path.name.endswith("-packages"))
    yield _PACKAGE
    yield from (Path(folder) for folder in zoneinfo.TZPATH)
    yield Path("/etc/localtime")


class Confinement:
    """Layers of confinement that this system has, for the processes that this one forks.

    A layer that the system has is applied, or the process ends; one that it lacks is left out.
    """

    def __init__(self) -> None:
        self._rulesets: dict[Profile, int] = {}
        self._filters: dict[Profile, system.Filter] = {}
        if _has(system.landlock_version):
            self._rulesets = {
                Profile.JAVASCRIPT: system.make_ruleset(()),
                Profile.PYTHON: system.make_ruleset(modules_and_zones()),
            }
        self._restrictions = {
            profile: system.restriction(ruleset) for profile, ruleset in self._rulesets.items()
        }
        if _has(system.check_seccomp):
            machine = system.machine()
            self._filters = {each: system.Filter(program(each, machine)) for each in Profile}

    def restrict_files(self, profile: Profile) -> None:
        """Forbid this thread and those that it starts to open other files than the profile's."""
        if self._restrictions:
            self._restrictions[profile]()
        for ruleset in self._rulesets.values():
            os.close(ruleset)

    def restrict_calls(self, profile: Profile) -> None:
        """Forbid all system calls but the profile's to this process, new threads among them."""
        # The hard limits too, so that a step cannot raise them again. Not of processes before the
        # threads are there, which count as such.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        maximum = MAX_DESCRIPTORS[profile]
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
        if sys.platform == "linux":
            system.set_dumpable(False)
        if self._filters:
            self._filters[profile].apply()

    def confine(self, profile: Profile) -> None:
        """Apply both to a process without threads."""
        self.restrict_files(profile)
        self.restrict_calls(profile)

    def descriptors(self) -> Iterable[int]:
        """Return the descriptors that :meth:`restrict_files` needs, and closes."""
        return self._rulesets.values()


def _has(check: Callable[[], object]) -> bool:
    if sys.platform != "linux":
        return False
    try:
        check()
    except OSError:
        return False
    return True


def close_all_but(kept: Iterable[int]) -> None:
    """Close the descriptors of a process that the zygote forked, and its standard error.

    Its standard input and output, which stay, are connected to nothing.
    """
    os.dup2(0, 2)
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    os.closerange(start, _MAX_DESCRIPTOR)


_MAX_DESCRIPTOR = 1 << 20
