"""Fixtures of tests whose workers are attached to the stand-in for Lightning."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from worker.runner.pool import Pool
from worker.testing.lightning import Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Pool]:
    async with Pool(4) as shared:
        yield shared


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        yield running
