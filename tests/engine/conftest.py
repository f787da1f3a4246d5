"""Instances of the engine for tests."""

from __future__ import annotations

import pytest

from worker.engine.image import Image
from worker.engine.instance import Instance, Runtime
from worker.engine.shared import runtime
from worker.sandbox.javascript.engine import Engine

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
def realm() -> Engine:
    engine = Engine()
    engine.limit_memory(64 * MIB)
    return engine
