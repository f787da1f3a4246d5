"""Filter programs of seccomp: rules as instructions of the kernel's packet filter (BPF).

A program searches the number of a call in a binary tree. The kernel evaluates the whole program for
each number when it is applied, and a list of comparisons takes three times as long.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import NamedTuple

from worker.sandbox.confinement.call_rules import (
    MACHINES,
    RULES,
    Action,
    CallRule,
    Profile,
    numbers,
)

# Field offsets of the kernel's struct seccomp_data; arguments have 8 bytes, the low ones first.
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _EQUAL, _NOT_LESS, _JUMP, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x05, 0x06
_ACTIONS = {Action.ALLOW: 0x7FFF0000, Action.DENY: 0x00050000 | errno.EPERM, Action.KILL: 1 << 31}
_FOREIGN_CALLS = 0x40000000
"""First number of the calls of x32, which the filter of x86_64 sees as well."""

_FARTHEST = 255
"""Instructions that a comparison can jump over."""

_INSTRUCTION = struct.Struct("=HBBI")
INSTRUCTION_BYTES = _INSTRUCTION.size

_Code = list[bytes]


class _Range(NamedTuple):
    """Numbers from ``start`` up to the next range, and the rules for all of them, in order."""

    start: int
    rules: tuple[CallRule, ...]


def program(profile: Profile, machine: str) -> bytes:
    """Return the filter program of a profile for a machine of :data:`MACHINES`."""
    head = [
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, MACHINES[machine], 1, 0),
        _step(_RETURN, _ACTIONS[Action.KILL]),
        _step(_LOAD, _NUMBER),
    ]
    return b"".join(head + _tree(_ranges(RULES[profile], numbers(machine))))


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)


def _ranges(rules: Sequence[CallRule], table: dict[str, int]) -> list[_Range]:
    by_number: dict[int, tuple[CallRule, ...]] = {_FOREIGN_CALLS: (_BARE[Action.KILL],)}
    for rule in rules:
        for number in (table[name] for name in rule.names.split() if name in table):
            # Without its names: calls with the same consequence share a range.
            by_number[number] = (*by_number.get(number, ()), rule._replace(names=""))
    ranges = [_Range(0, ())]
    for number in range(max(table.values()) + 2):
        if (applied := by_number.get(number, ())) != ranges[-1].rules:
            ranges.append(_Range(number, applied))
    return [*ranges, _Range(_FOREIGN_CALLS, by_number[_FOREIGN_CALLS])]


_BARE = {action: CallRule(action, "") for action in Action}


def _tree(ranges: Sequence[_Range]) -> _Code:
    if len(ranges) == 1:
        return _leaf(ranges[0].rules)
    middle = len(ranges) // 2
    lower, upper = _tree(ranges[:middle]), _tree(ranges[middle:])
    start = ranges[middle].start
    if len(lower) <= _FARTHEST:
        return [_step(_NOT_LESS, start, len(lower), 0), *lower, *upper]
    return [_step(_NOT_LESS, start, 0, 1), _step(_JUMP, len(lower)), *lower, *upper]


def _leaf(rules: Sequence[CallRule]) -> _Code:
    code: _Code = []
    for rule in rules:
        code += _check(rule)
        code.append(_step(_RETURN, _ACTIONS[rule.action]))
        if not rule.values:
            return code
    return [*code, _step(_RETURN, _ACTIONS[Action.DENY])]


def _check(rule: CallRule) -> _Code:
    """Return code that goes on behind the next instruction where the rule does not fit."""
    if not rule.values:
        return []
    code = [_step(_LOAD, _ARGUMENTS + 8 * rule.argument), _step(_AND, rule.mask)]
    for following in reversed(range(len(rule.values))):
        value = rule.values[-1 - following]
        if rule.is_negated:
            code.append(_step(_EQUAL, value, following + 1, 0))
        else:
            code.append(_step(_EQUAL, value, following, 0 if following else 1))
    return code
