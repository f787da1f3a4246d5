"""Confinement of the processes that execute code of others: made once, applied in each."""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from functools import partial
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
        if _has(system.landlock_version):
            self._rulesets = {
                Profile.JAVASCRIPT: system.make_ruleset(()),
                Profile.PYTHON: system.make_ruleset(modules_and_zones()),
            }
        # Made here with their arguments: in a forked process, each object that is made or touched
        # copies a page, and that takes longer than the calls themselves.
        self._about_files = {profile: tuple(self._file_calls(profile)) for profile in Profile}
        self._about_calls = {profile: tuple(_limiting_calls(profile)) for profile in Profile}

    def _file_calls(self, profile: Profile) -> Iterator[Callable[[], object]]:
        if self._rulesets:
            yield system.restriction(self._rulesets[profile])
        for ruleset in self._rulesets.values():
            yield partial(os.close, ruleset)

    def restrict_files(self, profile: Profile) -> None:
        """Forbid this thread and those that it starts to open other files than the profile's."""
        for call in self._about_files[profile]:
            call()

    def restrict_calls(self, profile: Profile) -> None:
        """Forbid all system calls but the profile's to this process, new threads among them."""
        for call in self._about_calls[profile]:
            call()

    def confine(self, profile: Profile) -> None:
        """Apply both to a process without threads."""
        self.restrict_files(profile)
        self.restrict_calls(profile)

    def descriptors(self) -> Iterable[int]:
        """Return the descriptors that :meth:`restrict_files` needs, and closes."""
        return self._rulesets.values()


def _limiting_calls(profile: Profile) -> Iterator[Callable[[], object]]:
    # The hard limits too, so that a step cannot raise them again. That of processes counts threads,
    # so it comes after a runner has started its own.
    yield partial(resource.setrlimit, resource.RLIMIT_NPROC, (0, 0))
    # Below the hard limit that the system has set, which no process may raise.
    maximum = within_hard_limit(MAX_DESCRIPTORS[profile])
    yield partial(resource.setrlimit, resource.RLIMIT_NOFILE, (maximum, maximum))
    if sys.platform == "linux":
        yield partial(system.set_dumpable, False)
    if _has(system.check_seccomp):
        yield system.Filter(program(profile, system.machine())).apply


def within_hard_limit(maximum: int) -> int:
    """Return ``maximum``, or this process's hard limit of open files where that is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)


def _has(check: Callable[[], object]) -> bool:
    if sys.platform != "linux":
        return False
    try:
        check()
    except OSError:
        return False
    return True


def keep_memory_private() -> None:
    """Let no other process of this user read this one, which holds secrets; and dump no core."""
    if sys.platform == "linux":
        system.set_dumpable(False)


def close_all_but(descriptors: Iterable[int]) -> None:
    """Close the descriptors of a process that the zygote forked, and its standard error.

    Its standard input and output, which stay, are connected to nothing.
    """
    os.dup2(0, 2)
    start = 3
    for descriptor in sorted(descriptors):
        os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    os.closerange(start, _MAX_DESCRIPTOR)


_MAX_DESCRIPTOR = 1 << 20
