"""Isolation: what the runs of one pool share."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """Sharing of processes by runs of JavaScript.

    ``RUNNER``   each run has a virtual machine of its own; a process executes run after run.
    ``PROCESS``  each run has a new process as well, which takes some milliseconds more.
    """

    RUNNER = "runner"
    PROCESS = "process"
