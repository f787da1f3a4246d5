"""Instances of the engine for tests."""

from __future__ import annotations

import pytest

from worker.sandbox.engine.image import Image
from worker.sandbox.engine.instance import Instance, Runtime
from worker.sandbox.engine.realm_engine import WasmEngine, runtime

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def shared() -> Runtime:
    return runtime()


@pytest.fixture(scope="session")
def blank(shared: Runtime) -> Image:
    """The image of a context without a realm."""
    return Instance(shared).snapshot()


@pytest.fixture
def instance(shared: Runtime, blank: Image) -> Instance:
    instance = Instance(shared, blank)
    instance.limit_memory(64 * MIB)
    return instance


@pytest.fixture
def realm() -> WasmEngine:
    engine = WasmEngine()
    engine.limit_memory(64 * MIB)
    return engine
