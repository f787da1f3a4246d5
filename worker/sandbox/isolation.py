"""Isolation: what the runs of one pool share, and what the system must forbid them."""

from __future__ import annotations

from enum import StrEnum


class Isolation(StrEnum):
    """Sharing of processes by runs of JavaScript.

    ``RUNNER``   each run has a virtual machine of its own; a process executes run after run.
    ``PROCESS``  each run has a new process as well, which takes some milliseconds more.
    ``STRICT``   as ``PROCESS``, and the pool does not start where the system lacks a layer of
                 confinement (``worker doctor`` lists them).
    """

    RUNNER = "runner"
    PROCESS = "process"
    STRICT = "strict"
