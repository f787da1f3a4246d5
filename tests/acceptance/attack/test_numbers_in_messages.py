"""Attacks by numbers: each one in a message, at its borders and far beyond them."""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import worker.fleet.messaging
from tests.support.control_plane_harness import (
    ControlPlaneHarness,
    decode_outgoing,
    event,
    request,
)
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.trigger_messages import ALL_REQUESTS
from worker.fleet.messaging.worker_protocol import FROM_WORKERS
from worker.sinks.terminal_text import format_time
from worker.util.utc_time import utc_moment
from worker.view.dashboard.templating import day

INT64 = 2**63
FAR = ("0", "-1", "1e308", "-1e308", "1e-320", "1e400", "0.5", "NaN", "Infinity", "9" * 5000)
POWERS = (31, 53, 62, 63, 64, 128)
LITERALS = (
    *FAR,
    *(str(sign * (2**power + step)) for power in POWERS for sign in (1, -1) for step in (-1, 0, 1)),
)
Path = tuple[str | int, ...]
NUMERIC = (inspect.IntType, inspect.FloatType)


def structs() -> list[type[msgspec.Struct]]:
    package = worker.fleet.messaging
    names = (info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
    kinds = (value for name in names for value in vars(importlib.import_module(name)).values())
    return list(
        {
            kind: None
            for kind in kinds
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        }
    )


def _parts(type: Any) -> Iterator[Any]:
    """Yield a type, and those of its items."""
    yield type
    inner = [getattr(type, name, None) for name in ("item_type", "key_type", "value_type")]
    for part in (*inner, *getattr(type, "types", ()), *getattr(type, "item_types", ())):
        if part is not None:
            yield from _parts(part)


@pytest.mark.parametrize("struct", structs(), ids=lambda struct: struct.__name__)
def test_every_number_of_a_message_has_bounds(struct: type[msgspec.Struct]) -> None:
    """Tries numbers that no database, timer or calendar holds, in whatever is added later too."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        for type in _parts(field.type):
            if isinstance(type, NUMERIC):
                low = type.ge if type.ge is not None else type.gt
                high = type.le if type.le is not None else type.lt
                assert low is not None and high is not None, field.name
                assert -INT64 <= low <= high < INT64, field.name


# --- a control plane ------------------------------------------------------------------------------

SAMPLES = {"claim_id": "c", "incarnation": "i1", "run_id": "o", "id": "o", "order_id": "o",
           "workflow": "flow", "project": "default", "hash": "0" * 64, "part": "plan"}  # fmt: skip


def sample(type: Any, name: str, lease: dict[str, Any], path: Path, numbers: list[Path]) -> Any:
    """Return the smallest value of a type that has all its numbers, and note their paths."""
    match type:
        case inspect.StructType(cls=cls) if cls.__name__ == "Lease":
            numbers.append((*path, "attempt"))
            return dict(lease)
        case inspect.StructType(fields=fields):
            return {
                field.encode_name: sample(
                    field.type, field.encode_name, lease, (*path, field.encode_name), numbers
                )
                for field in fields
                if field.required or any(isinstance(part, NUMERIC) for part in _deep(field.type))
            }
        case inspect.UnionType(types=types):
            known = [part for part in types if not isinstance(part, inspect.NoneType)]
            return sample(known[0], name, lease, path, numbers)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return [sample(item, name, lease, (*path, 0), numbers)]
        case inspect.IntType() | inspect.FloatType():
            numbers.append(path)
            return 1
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.BoolType():
            return True
        case inspect.StrType():
            return SAMPLES.get(name, "abcdefgh")
        case _:
            return {}


def _deep(type: Any) -> Iterator[Any]:
    for part in _parts(type):
        yield part
        if isinstance(part, inspect.StructType):
            for field in part.fields:
                yield from _deep(field.type)


def attacks(kind: type[Any], lease: dict[str, Any]) -> Iterator[bytes]:
    """Yield messages of a kind, of which each has one number of the literals."""
    numbers: list[Path] = []
    body = sample(inspect.type_info(kind), "", lease, (), numbers)
    for path in numbers:
        for literal in LITERALS:
            changed = copy.deepcopy(body)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = "@"
            yield json.dumps(changed).replace('"@"', literal).encode()


def check(harness: ControlPlaneHarness, message: Message) -> None:
    harness.now += 1
    outgoing = harness.processor.process([message], harness.now)
    kinds = {refusal.kind for refusal in outgoing.refusals}
    assert "defect" not in kinds, (message, outgoing.refusals)
    # What was stored is shown again, and becomes due.
    assert not harness.processor.tick(harness.now).defects
    decode_outgoing(outgoing)


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(ALL_REQUESTS))
def test_a_number_in_a_request_triggers_no_defect(
    harness: ControlPlaneHarness, method: str
) -> None:
    """Tries each number of each request of a client."""
    _, lease = harness.started()
    for payload in attacks(ALL_REQUESTS[method], msgspec.to_builtins(lease)):
        check(harness, replace(request(method), payload=payload))


@pytest.mark.slow
@pytest.mark.parametrize("channel", sorted(FROM_WORKERS))
def test_a_number_in_a_message_of_a_worker_triggers_no_defect(
    harness: ControlPlaneHarness, channel: str
) -> None:
    """Tries each number of each message of a worker that holds a lease."""
    north, lease = harness.started()
    for payload in attacks(FROM_WORKERS[channel], msgspec.to_builtins(lease)):
        check(harness, replace(north.message(channel), payload=payload))


def test_the_times_of_an_event_may_be_any_of_its_type(harness: ControlPlaneHarness) -> None:
    """Tries times of runs in years that no calendar has: they are stored, listed and shown."""
    for time in (0, 1, 2**53, 2**62, 253_402_300_800_000_000):
        north, lease = harness.claimed(f"o{time}")
        start = {**event(lease.run_id, 0, "run:start"), "timestamp": time}
        assert north.acked(lease, start).upto == 0
        started = harness.run(f"o{time}")["started"]
        assert all(show(started) for show in (format_time, day, utc_moment))
    assert [utc_moment(sign * 2**62).year for sign in (1, -1)] == [9999, 1]
