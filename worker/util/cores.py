"""Number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def usable_cores(root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Count the cores that the affinity of this process and the quota of its container allow."""
    # macOS has no affinity.
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # Rounded up: with a quota of 1.5 cores, two processes are faster than one.
    quotas = (max(1, math.ceil(quota)) for quota in _quotas(root, membership))
    return min([allowed, *quotas])


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """Yield the quota, in cores, of each control group that this process is in."""
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        version_1 = "cpu" in controllers.split(",")
        if controllers and not version_1:
            continue
        group = (root / "cpu" if version_1 else root) / path.strip("/")
        # The quota of every group above holds too. In a container, whose view of the tree begins
        # at its own group, the path may be missing, while the folder of the root exists.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    fields = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    # "max", or -1 in version 1, stands for no quota.
    if len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]):
        yield int(fields[0]) / int(fields[1])


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError:
        return ""
