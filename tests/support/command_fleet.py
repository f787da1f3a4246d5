"""A fleet in the process of a test, which commands use in place of a broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import pytest

import worker
from worker.cli.connection import BrokerConnection
from worker.fleet.client import Client

T = TypeVar("T")


@contextmanager
def command_fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a fleet to which the commands of this process connect."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    local = worker.local_fleet()
    call = partial(asyncio.run_coroutine_threadsafe, loop=loop)
    try:
        client: Client = call(local.__aenter__()).result(60)
        monkeypatch.setattr(
            BrokerConnection,
            "request",
            lambda self, request: call(_answer(request, client)).result(60),
        )
        try:
            yield
        finally:
            call(local.__aexit__(None, None, None)).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _answer(request: Callable[[Client], Awaitable[T]], client: Client) -> T:
    return await request(client)
