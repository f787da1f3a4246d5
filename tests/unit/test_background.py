"""The pool that callers without an event loop share, at the exit of the interpreter."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from worker.runner import pool
from worker.runner.pool import Background


def test_processes_that_do_not_close_keep_no_interpreter_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    background = Background()
    never = background.loop.create_future()
    monkeypatch.setattr(background.pool, "_processes", SimpleNamespace(close=lambda: never))
    monkeypatch.setattr(pool, "CLOSE_TIMEOUT_S", 0.05)
    background.close()
    background.loop.call_soon_threadsafe(never.set_result, None)
    for _ in range(3):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), background.loop).result(10)
    background.loop.call_soon_threadsafe(background.loop.stop)
    background._thread.join(10)
    background.loop.close()
