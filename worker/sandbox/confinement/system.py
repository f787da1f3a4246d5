"""System calls of Linux that Python has no functions for: prctl, landlock, seccomp, unshare."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from worker.sandbox.confinement.bpf import INSTRUCTION_BYTES

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER, _GET_ACTION_AVAILABLE = 1, 2
_ALL_THREADS = 1
_KILL_PROCESS = struct.pack("=I", 1 << 31)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_NEW_USER, _NEW_IPC, _NEW_NET = 0x10000000, 0x08000000, 0x40000000

# Rights over files by the first version of landlock that knows them.
_FILE_RIGHTS = {1: 0x1FFF, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}


@cache
def _libc() -> ctypes.CDLL:
    # Loaded once, by the zygote: it takes each child a tenth of the time of a run.
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, number: int, *arguments: int | bytes | None) -> int:
    return _prepared(name, number, *arguments)()


def _prepared(name: str, number: int, *arguments: int | bytes | None) -> Callable[[], int]:
    call = partial(_libc().syscall, ctypes.c_long(number), *map(_argument, arguments))
    return lambda: _checked(name, call())


def _argument(value: int | bytes | None) -> ctypes.c_long | bytes | None:
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(name: str, result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def _prctl(option: int, value: int) -> None:
    _checked("prctl", _libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def machine() -> str:
    """Return the machine whose system calls this process makes."""
    return os.uname().machine


# --- once per process -----------------------------------------------------------------------------


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def forbid_privileges() -> None:
    """Grant no privileges on exec, here and in all processes that this one starts."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """Let processes of the same user read this one, or not."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def leave_namespaces() -> None:
    """Give this process a network and IPC of its own, and no privileges outside of it."""
    _checked("unshare", _libc().unshare(_NEW_USER | _NEW_NET | _NEW_IPC))


# --- landlock -------------------------------------------------------------------------------------


def landlock_version() -> int:
    """Return the version of landlock's interface. Raises ``OSError`` where there is none."""
    return _call("landlock", _CREATE_RULESET, None, 0, _VERSION)


def make_ruleset(readable: Iterable[Path]) -> int:
    """Return the descriptor of rules that forbid all but reading these files and folders.

    They forbid TCP and signals to other processes as well, where the kernel knows how to.
    """
    version = landlock_version()
    rights = sum(bits for since, bits in _FILE_RIGHTS.items() if version >= since)
    fields = [rights]
    if version >= 4:
        fields.append(3)  # bind and connect
    if version >= 6:
        fields.append(3)  # abstract sockets and signals
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _call("landlock", _CREATE_RULESET, attributes, len(attributes), 0)
    for path in readable:
        _let_read(ruleset, path)
    return ruleset


def _let_read(ruleset: int, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        rule = struct.pack("=Qi", rights, descriptor)
        _call("landlock", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def restriction(ruleset: int) -> Callable[[], int]:
    """Return the call that applies a ruleset to its thread, and to those that it starts."""
    return _prepared("landlock", _RESTRICT_SELF, ruleset, 0)


# --- seccomp --------------------------------------------------------------------------------------


def check_seccomp() -> None:
    """Raise ``OSError`` where the kernel cannot filter the system calls of a process."""
    if sys.platform != "linux" or machine() not in _SECCOMP:
        raise OSError(0, "no filter for this machine")
    _call("seccomp", _SECCOMP[machine()], _GET_ACTION_AVAILABLE, 0, _KILL_PROCESS)


class Filter:
    """A filter program, kept in memory for the kernel to read."""

    def __init__(self, program: bytes) -> None:
        self._program = ctypes.create_string_buffer(program, len(program))
        count = len(program) // INSTRUCTION_BYTES
        # As the kernel's struct sock_fprog, whose pointer is aligned.
        header = struct.pack("@HP", count, ctypes.addressof(self._program))
        self._apply = _prepared("seccomp", _SECCOMP[machine()], _SET_FILTER, _ALL_THREADS, header)

    # A method, so that who holds it holds the program as well.
    def apply(self) -> None:
        """Filter the calls of all threads of this process from now on."""
        self._apply()
