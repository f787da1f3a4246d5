"""Layers of confinement that this system has, as a process that applies each of them reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Final, NamedTuple

from worker.errors import UsageError
from worker.sandbox.runner_user import VARIABLE

_TIMEOUT_S = 30


class Layer(NamedTuple):
    """One layer. ``missing`` is the reason why this system lacks it, empty where it is on."""

    name: str
    purpose: str
    missing: str

    @property
    def is_on(self) -> bool:
        """True where the layer is applied."""
        return not self.missing


PURPOSES: Final = {
    "environment": "processes of runs have no environment variables",
    "limits": "no files written, no core dumps, few descriptors, memory",
    "privileges": "no new privileges, not readable by other processes",
    "user": "no rights of the user that started the worker",
    "namespaces": "no network, and no privileges outside",
    "landlock": "no files but modules, for Python steps",
    "seccomp": "no system calls but those that runs need",
}

OPTIONAL: Final = frozenset(("user", "namespaces"))
"""Layers that need root, or that containers often forbid. Others forbid the same as well."""


@cache
def layers() -> tuple[Layer, ...]:
    """Return all layers of this system."""
    command = [sys.executable, "-I", "-m", "worker.sandbox.confinement.layer_probe"]
    environment = {name: os.environ[name] for name in (VARIABLE,) if name in os.environ}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    try:
        missing: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        missing = dict.fromkeys(PURPOSES, f"the check ended with {done.returncode}")
    return tuple(Layer(name, purpose, missing[name]) for name, purpose in PURPOSES.items())


def missing_layers() -> tuple[Layer, ...]:
    """Return the layers that this system lacks, but for the optional ones."""
    return tuple(each for each in layers() if not each.is_on and each.name not in OPTIONAL)


def require_layers(wanted_by: str) -> None:
    """Raise :class:`UsageError` where a layer is missing that is not optional."""
    if missing := missing_layers():
        reasons = ", ".join(f"{each.name} ({each.missing})" for each in missing)
        raise UsageError(f"{wanted_by} needs what this system lacks: {reasons}")
