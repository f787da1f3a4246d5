"""Runs inside of other programs: their forks, threads, event loops and interruptions."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from datetime import datetime
from typing import Any

import pytest

import worker
from worker.runner.pool import background

QUICK = worker.load(
    {"workflow": {"name": "q", "steps": [{"id": "a", "expression": "export default [s => s]"}]}}
)

FORKS = """
import os, sys, worker
workflow = worker.load({"workflow": {"name": "q", "steps": [
    {"id": "a", "expression": "export default [s => s]"}]}})
assert worker.run(workflow).status == "success"
pool = worker.Pool(size=1)
if not (child := os.fork()):
    import asyncio
    try:
        asyncio.run(pool.run(workflow))
    except worker.UsageError as error:
        assert "fork of its process" in str(error)
    sys.exit(0 if worker.run(workflow).status == "success" else 1)
assert os.waitpid(child, 0)[1] == 0
assert worker.run(workflow).status == "success"
print("both")
"""


@pytest.mark.slow
def test_a_fork_of_a_process_that_has_run_something_runs_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "both\n", done.stderr


def test_an_interruption_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, which Python raises in the thread that waits for the run."""
    endless = worker.load(
        {"workflow": {"name": "q", "steps": [{"id": "a", "expression": "while (true) {}"}]}}
    )
    started, events = threading.Event(), []

    class Sink:
        def receive(self, event: worker.AnyEvent) -> None:
            events.append(event)
            started.set()

        def close(self) -> None: ...

    cancelled = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), background().loop)
    cancelled.result()
    waiting = type(cancelled).result

    def interrupted(self: Any, timeout: float | None = None) -> Any:
        if self is cancelled:
            return waiting(self, timeout)
        assert started.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(cancelled), "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.run(endless, sinks=[Sink()])
    monkeypatch.undo()
    # All places of the pool are free again: the run was killed, and not only left.
    for _ in range(3):
        assert worker.run(QUICK).status == "success"


def test_runs_in_threads_and_inside_a_running_loop() -> None:
    statuses: list[str] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(worker.run(QUICK).status)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def inside() -> str:
        return worker.run(QUICK).status

    assert [*statuses, asyncio.run(inside())] == ["success"] * 5


def test_a_sink_that_waits_for_another_run_is_an_error() -> None:
    errors: list[worker.UsageError] = []

    class Sink:
        def receive(self, event: worker.AnyEvent) -> None:
            try:
                worker.run(QUICK)
            except worker.UsageError as error:
                errors.append(error)

        def close(self) -> None: ...

    worker.run(QUICK, sinks=[Sink()])
    assert "a sink cannot start a run" in str(errors[0])


async def test_a_pool_in_another_event_loop_is_an_error() -> None:
    async with worker.Pool(1) as pool:
        await pool.run(QUICK)
        with pytest.raises(worker.UsageError, match="in the event loop of its first run"):
            await asyncio.to_thread(lambda: asyncio.run(pool.run(QUICK)))


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ({"d": [1, float("nan")]}, "input.d[1] is nan, which cannot be encoded as JSON"),
        ({"d": float("-inf")}, "input.d is -inf"),
        ({"a": {"when": datetime(2026, 1, 1)}}, "input.a.when is a datetime"),
        ({"a": {1, 2}}, "input.a is a set"),
        ({"a": {(1, 2): 3}}, "input.a has a key of type tuple"),
        ([1], "input: expected a JSON object, found a list"),
        ("text", "found a str"),
    ],
)
def test_an_input_that_is_no_json_is_an_error_with_its_place(input: Any, message: str) -> None:
    with pytest.raises(worker.UsageError) as raised:
        worker.run(QUICK, input)
    assert message in str(raised.value)


def test_words_that_look_like_such_numbers_are_texts() -> None:
    result = worker.run(QUICK, {"a": "NaN", "Infinity": 1})
    assert result.final_state == {"a": "NaN", "Infinity": 1, "data": {}}
