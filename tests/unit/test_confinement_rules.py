"""Filter programs, executed by a small interpreter: the same rules on every machine."""

from __future__ import annotations

import struct

import pytest

from worker.sandbox.confinement.bpf import program
from worker.sandbox.confinement.call_rules import MACHINES, RULES, Action, Profile, numbers

ALLOWED, DENIED, KILLED = 0x7FFF0000, 0x00050001, 0x80000000
ACTIONS = {ALLOWED: Action.ALLOW, DENIED: Action.DENY, KILLED: Action.KILL}


def decide(code: bytes, number: int, machine: int, *arguments: int) -> Action:
    """Execute a filter program over one call."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, machine, 0, *(value % 2**64 for value in values))
    steps = list(struct.iter_unpack("=HBBI", code))
    at, register = 0, 0
    while True:
        operation, if_true, if_false, value = steps[at]
        at += 1
        match operation:
            case 0x20:
                (register,) = struct.unpack_from("=I", data, value)
            case 0x54:
                register &= value
            case 0x15:
                at += if_true if register == value else if_false
            case 0x35:
                at += if_true if register >= value else if_false
            case 0x05:
                at += value
            case 0x06:
                return ACTIONS[value]
            case other:
                raise AssertionError(f"instruction {other:#x}")


CASES = {
    "read": ([], "ALLOW", "ALLOW"),
    "exit_group": ([], "ALLOW", "ALLOW"),
    "mmap": ([0, 4096, 3, 0x22], "ALLOW", "ALLOW"),
    "mmap shared": ([0, 4096, 3, 0x21], "KILL", "KILL"),
    "openat": ([-100, 0, 0], "DENY", "ALLOW"),
    "openat to write": ([-100, 0, 1], "KILL", "KILL"),
    "openat to make": ([-100, 0, 0o100], "KILL", "KILL"),
    "openat closed on exec": ([-100, 0, 0o2000000], "DENY", "ALLOW"),
    "fcntl F_GETFL": ([3, 3], "ALLOW", "ALLOW"),
    "fcntl F_DUPFD_CLOEXEC": ([3, 1030], "ALLOW", "ALLOW"),
    "fcntl F_SETOWN": ([3, 8], "DENY", "DENY"),
    "ioctl TCGETS": ([3, 0x5401], "ALLOW", "ALLOW"),
    "ioctl TIOCSTI": ([3, 0x5412], "DENY", "DENY"),
    "socketpair of streams": ([1, 1 | 0o2000000], "KILL", "ALLOW"),
    "socketpair of datagrams": ([1, 2], "KILL", "KILL"),
    "socketpair of the network": ([2, 1], "KILL", "KILL"),
    "prlimit64 of itself": ([0], "ALLOW", "DENY"),
    "prlimit64 of another": ([1], "DENY", "DENY"),
    "prctl": ([4], "KILL", "KILL"),
    "prctl PR_SET_VMA": ([0x53564D41], "DENY", "DENY"),
    "uname": ([], "DENY", "ALLOW"),
    "clone": ([17], "KILL", "KILL"),
    "execve": ([], "KILL", "KILL"),
    "kill": ([], "KILL", "KILL"),
    "fchmodat2": ([], "KILL", "KILL"),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("call", CASES)
def test_the_consequence_of_a_call(call: str, machine: str) -> None:
    arguments, *expected = CASES[call]
    number = numbers(machine)[call.split()[0]]
    decided = [
        decide(program(profile, machine), number, MACHINES[machine], *arguments).name
        for profile in (Profile.JAVASCRIPT, Profile.PYTHON)
    ]
    assert decided == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_that_no_rule_names_fail_and_those_of_other_machines_kill(machine: str) -> None:
    code, own = program(Profile.PYTHON, machine), MACHINES[machine]
    (foreign,) = set(MACHINES.values()) - {own}
    assert decide(code, 999, own) is Action.DENY
    assert decide(code, 0x40000000 + numbers(machine)["read"], own) is Action.KILL
    assert decide(code, numbers(machine)["read"], foreign) is Action.KILL


def test_every_name_of_a_rule_has_a_number() -> None:
    named = {name for rules in RULES.values() for rule in rules for name in rule.names.split()}
    assert named <= set(numbers("x86_64"))
    # The rest are calls of x86_64 that aarch64 has under another name, such as open and openat.
    assert len(named - set(numbers("aarch64"))) < 30


@pytest.mark.parametrize("machine", MACHINES)
def test_a_program_is_within_the_kernels_limit(machine: str) -> None:
    assert all(len(program(profile, machine)) // 8 <= 4096 for profile in Profile)
