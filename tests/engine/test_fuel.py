"""Fuel: a count of the engine's instructions that depends on nothing but the code and its input."""

from __future__ import annotations

import pytest

from worker.engine.calls import checked, direct
from worker.engine.failures import OutOfFuel
from worker.engine.image import Image
from worker.engine.instance import Instance, Runtime
from worker.engine.machine_code import code_key
from worker.engine.shared import runtime

LOOP = "let n = 0; for (let i = 0; i < 1000; i++) n += i; n"
GROW = "new Uint8Array(8e6).length"


@pytest.fixture(scope="module")
def metered() -> Runtime:
    return runtime(metered=True)


def fuel_of(instance: Instance, source: str) -> int:
    instance.limit_fuel(10**12)
    assert instance.evaluate(source)
    used = instance.fuel_used
    assert used is not None
    return used


def test_the_same_script_takes_the_same_fuel_in_each_instance(
    metered: Runtime, blank: Image
) -> None:
    first = Instance(metered, blank)
    used = fuel_of(first, LOOP)
    assert first.restore()
    assert used > 1000
    assert [fuel_of(instance, LOOP) for instance in (first, Instance(metered, blank))] == [used] * 2


def test_checked_and_direct_calls_count_alike(metered: Runtime, blank: Image) -> None:
    slow = Runtime(metered.code, checked)
    assert metered.bind is direct
    assert fuel_of(Instance(slow, blank), LOOP) == fuel_of(Instance(metered, blank), LOOP)


def test_an_instance_whose_memory_grew_is_used_up(metered: Runtime, blank: Image) -> None:
    instance = Instance(metered, blank)
    fuel_of(instance, GROW)
    assert instance.memory_bytes > blank.size
    assert not instance.restore()


def test_a_script_ends_where_its_fuel_does(metered: Runtime, blank: Image) -> None:
    instance = Instance(metered, blank)
    instance.limit_fuel(100_000)
    with pytest.raises(OutOfFuel):
        instance.evaluate("for (;;) { try { for (;;) {} } finally {} }")
    assert instance.fuel_used == 100_000
    assert not instance.restore()


def test_metered_code_is_kept_beside_the_other(shared: Runtime, blank: Image) -> None:
    assert code_key(metered=True) != code_key()
    assert Instance(shared, blank).fuel_used is None
