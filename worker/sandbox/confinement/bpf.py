"""Filter programs of seccomp: rules as instructions of the kernel's packet filter (BPF)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

from worker.sandbox.confinement.rules import MACHINES, RULES, Action, Profile, Rule, numbers

# Field offsets of the kernel's struct seccomp_data; arguments have 8 bytes, the low ones first.
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_LOAD, _MASK, _EQUAL, _NOT_LESS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ACTIONS = {Action.ALLOW: 0x7FFF0000, Action.DENY: 0x00050000 | errno.EPERM, Action.KILL: 1 << 31}
_FOREIGN_CALLS = 0x40000000
"""First number of the calls of x32, which the filter of x86_64 sees as well."""

_INSTRUCTION = struct.Struct("=HBBI")
INSTRUCTION_BYTES = _INSTRUCTION.size


def program(profile: Profile, machine: str) -> bytes:
    """Return the filter program of a profile for a machine of :data:`MACHINES`."""
    table = numbers(machine)
    head = (
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, MACHINES[machine], 1, 0),
        _step(_RETURN, _ACTIONS[Action.KILL]),
        _step(_LOAD, _NUMBER),
        _step(_NOT_LESS, _FOREIGN_CALLS, 0, 1),
        _step(_RETURN, _ACTIONS[Action.KILL]),
    )
    rules = (part for rule in RULES[profile] for part in _compiled(rule, table))
    return b"".join((*head, *rules, _step(_RETURN, _ACTIONS[Action.DENY])))


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)


def _compiled(rule: Rule, table: dict[str, int]) -> Iterator[bytes]:
    action = _step(_RETURN, _ACTIONS[rule.action])
    for name in rule.names.split():
        if name not in table:
            continue
        body = (*_check_argument(rule), action)
        # Whatever does not fit goes on behind the body, with the number loaded again.
        if rule.values:
            body = (*body, _step(_LOAD, _NUMBER))
        yield _step(_EQUAL, table[name], 0, len(body))
        yield from body


def _check_argument(rule: Rule) -> Iterator[bytes]:
    if not rule.values:
        return
    yield _step(_LOAD, _ARGUMENTS + 8 * rule.argument)
    yield _step(_MASK, rule.mask)
    count = len(rule.values)
    for at, value in enumerate(rule.values):
        is_last = at == count - 1
        yield _step(_EQUAL, value, count - 1 - at, 1 if is_last else 0)
