"""Comparison of two observations of one program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tools.parity.observation import Observation
from tools.parity.programs import Program

# Errors whose words are this project's own: they name the place, or the remedy.
_OWN_WORDS: Final = ("SecurityError", "ImportError", "ValidationError", "EdgeConditionError")
# Where a text does not compile or is no JSON: our compiler and newer versions of Node write it.
# It explains more, after OpenFn's words.
_MORE: Final = re.compile(r'(?<="undefined" is not valid JSON): .*')
_PLACE: Final = re.compile(r" \((?:line \d+ column \d+|\d+:\d+)\)(?= here|$)")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A program that differs, and in what."""

    program: Program
    here: Observation
    there: Observation
    lines: tuple[str, ...]


def compare(
    programs: Sequence[Program], here: Iterable[Observation], there: Iterable[Observation]
) -> list[Difference]:
    """Return the programs whose two observations differ."""
    compared = (
        Difference(program=program, here=mine, there=theirs, lines=tuple(differences(mine, theirs)))
        for program, mine, theirs in zip(programs, here, there, strict=True)
    )
    return [difference for difference in compared if difference.lines]


def read_answers(file: Path) -> list[Observation]:
    """Read what :func:`write_answers` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=list[Observation])


def write_answers(file: Path, answers: Iterable[Observation]) -> None:
    """Write observations, for a comparison without OpenFn."""
    file.write_bytes(msgspec.json.encode(list(answers)))


def differences(here: Observation, there: Observation) -> Iterator[str]:
    """Yield what differs, in the order in which a run shows it."""
    # The table has it: a source that does not compile refuses the run here, also where no path
    # leads to its step.
    if here.refused_for and here.refused_for not in {step.step for step in there.path}:
        return
    if here.status != there.status:
        yield f"status: {here.status} here, {there.status} there"
    if _type(here) != _type(there):
        yield f"error type: {here.error} here, {there.error} there"
    elif here.error and there.error and here.error[0] not in _OWN_WORDS:
        words = [_MORE.sub("", _PLACE.sub("", error[1])) for error in (here.error, there.error)]
        if words[0] != words[1]:
            yield f"error: {words[0]!r} here, {words[1]!r} there"
    # A source that does not compile refuses the run here, before its first step.
    if here.path or _type(here) != "SyntaxError":
        yield from _path(here, there)
    if here.final != there.final:
        yield f"final state: {here.final} here, {there.final} there"
    if here.log != there.log:
        yield f"log: {here.log} here, {there.log} there"


def _type(observation: Observation) -> str | None:
    return observation.error[0] if observation.error else None


def _path(here: Observation, there: Observation) -> Iterator[str]:
    paths = [[(step.step, step.outcome, step.next) for step in o.path] for o in (here, there)]
    if paths[0] != paths[1]:
        yield f"path: {paths[0]} here, {paths[1]} there"
        return
    for mine, theirs in zip(here.path, there.path, strict=True):
        if mine.state != theirs.state:
            yield f"state of {mine.step}: {_changed(mine.state, theirs.state)}"
            return


def _changed(here: str | None, there: str | None) -> str:
    """Describe two states by the keys that differ."""
    mine, theirs = json.loads(here or "null"), json.loads(there or "null")
    at = ""
    while isinstance(mine, dict) and isinstance(theirs, dict):
        keys = [
            key
            for key in mine | theirs
            if json.dumps(mine.get(key, ...), default=str)
            != json.dumps(theirs.get(key, ...), default=str)
        ]
        if len(keys) != 1 or keys[0] not in mine or keys[0] not in theirs:
            break
        at += f".{keys[0]}"
        mine, theirs = mine[keys[0]], theirs[keys[0]]
    return f"{at or 'whole'}: {json.dumps(mine)} here, {json.dumps(theirs)} there"
