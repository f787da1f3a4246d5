"""Processor time of processes and of those that they have started, from ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path


def processor_s(pid: int) -> float:
    """Return the time that a process has used, in user and system mode; 0 if it has ended."""
    try:
        # The name, in parentheses, may contain spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """List the processes that a process has started, with those that they have started."""
    children: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, file.read_text().split())
    return [each for child in children for each in (child, *descendants(child))]
