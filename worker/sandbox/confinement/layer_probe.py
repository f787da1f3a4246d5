"""Probe of the layers of confinement: applies each to itself, and prints which it could not."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from worker.errors import UsageError, reason_of
from worker.sandbox.confinement import system
from worker.sandbox.confinement.bpf import program
from worker.sandbox.confinement.call_rules import Profile
from worker.sandbox.runner_user import VARIABLE, become, runner_user


def main() -> None:
    """Print a JSON object of the layers, each with the reason why it is missing, or ``""``."""
    # The last one leaves this process hardly a system call, so all are applied in this order.
    print(json.dumps({name: _reason(apply) for name, apply in _LAYERS.items()}))


def _reason(apply: Callable[[], None]) -> str:
    try:
        apply()
    except OSError as error:
        return reason_of(error)
    return ""


def _environment() -> None:
    if os.environ.keys() - {"LC_CTYPE", "LD_LIBRARY_PATH", VARIABLE}:
        raise OSError(0, "the process was started with an environment")


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        raise OSError(0, "this system does not limit the memory of a process")


def _on_linux() -> None:
    if sys.platform != "linux":
        raise OSError(0, f"Linux has it, and this is {sys.platform}")


def _privileges() -> None:
    _on_linux()
    system.forbid_privileges()
    system.set_dumpable(False)


def _user() -> None:
    try:
        user = runner_user()
    except UsageError as error:
        raise OSError(0, str(error)) from error
    if user is None:
        raise OSError(0, f"{VARIABLE} is not set")
    become(*user)


def _namespaces() -> None:
    _on_linux()
    system.leave_namespaces()


def _landlock() -> None:
    _on_linux()
    system.restriction(system.make_ruleset(()))()
    _expect_denied(lambda: list(Path("/").iterdir()))


def _seccomp() -> None:
    _on_linux()
    system.check_seccomp()
    system.Filter(program(Profile.JAVASCRIPT, system.machine())).apply()
    _expect_denied(os.uname)


def _expect_denied(call: Callable[[], object]) -> None:
    try:
        call()
    except PermissionError:
        return
    raise OSError(0, "it has no effect")


_LAYERS = {
    "environment": _environment,
    "limits": _limits,
    "privileges": _privileges,
    "user": _user,
    "namespaces": _namespaces,
    "landlock": _landlock,
    "seccomp": _seccomp,
}

if __name__ == "__main__":
    main()
