"""Rules of work on a cluster: sizes of chunks, its address, and parts of a decision table."""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import random
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import worker
from tests.support.command import call_worker
from worker.cluster.chunks import MAX_ITEMS, TARGET_S, ChunkSizer
from worker.cluster.cluster_address import ClusterAddress, parse_address
from worker.cluster.environments import Environment, check_same, describe_runner
from worker.core.compile_plan import compile_plan
from worker.errors import LoadError, UsageError, WorkerError
from worker.explore.explorer import (
    Explorer,
    count_by_situation,
    decision_table,
    searches_of,
)
from worker.explore.state_search import Witness
from worker.explore.subtrees import build_part, join_parts, split_table
from worker.version import VERSION

# --- sizes of chunks ------------------------------------------------------------------------------


def test_chunks_begin_small_and_grow_to_the_target() -> None:
    sizer = ChunkSizer(slots=2)
    assert sizer.most_items(100_000) == 16
    assert sizer.measured(16, 0.16).most_items(100_000) == TARGET_S / 0.01
    assert sizer.measured(16, 1e-9).most_items(10**9) == MAX_ITEMS
    assert sizer.measured(1, 60.0).most_items(100) == 1


def test_the_last_chunks_are_shared_among_all_slots() -> None:
    sizer = ChunkSizer(slots=4).measured(100, 0.1)
    sizes, left = [], 5_000
    while left > 0:
        sizes.append(sizer.most_items(left))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 625
    # A tenth of a second: with less the workers would wait for the next one.
    assert sizes[-8:] == [100] * 8


def test_one_slow_chunk_does_not_make_all_later_ones_tiny() -> None:
    sizer = ChunkSizer(slots=1).measured(100, 1.0).measured(100, 10.0)
    assert sizer.most_items(10**6) > 10


# --- addresses ------------------------------------------------------------------------------------


def test_addresses() -> None:
    assert parse_address("local") == ClusterAddress()
    assert parse_address("tcp://scheduler.example.org:8786/").scheduler.endswith(":8786")
    assert parse_address("tls://[::1]:8786").scheduler == "tls://[::1]:8786"


@pytest.mark.parametrize(
    "text",
    ["", "cluster", "tcp://host", "tcp://host:0", "tcp://host:70000", "http://host:80", "tcp://:1"],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="--cluster"):
        parse_address(text)


def test_files_of_dask_name_a_scheduler(tmp_path: Path) -> None:
    config = tmp_path / "dask.yaml"
    config.write_text("scheduler-address: tcp://h:1\ndistributed: {comm: {retry: {count: 2}}}\n")
    address = parse_address(str(config))
    assert address.scheduler == "tcp://h:1" and "distributed" in address.config
    scheduler = tmp_path / "scheduler.json"
    scheduler.write_text(json.dumps({"type": "Scheduler", "address": "tcp://h:2", "workers": {}}))
    assert parse_address(str(scheduler)) == ClusterAddress(scheduler="tcp://h:2")


@pytest.mark.parametrize(
    "text", ["[]", "a: 1", "scheduler-address: 7", "scheduler-address: x", "{"]
)
def test_other_files_are_mistakes(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dask.yaml"
    file.write_text(text)
    with pytest.raises((UsageError, LoadError), match=r"dask\.yaml"):
        parse_address(str(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "r", "--cluster", "nowhere"], "nowhere: there is no such file"),
        (["replay", "r", "--cluster", "tcp://h:1", "-j", "2"], "--jobs is about this machine"),
        (["test", ".", "--cluster", "local", "--flaky", "2"], "leave out --watch, --mutate"),
        (["lint", ".", "--cluster", "tcp://h"], "invalid address 'tcp://h'"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "r").write_text('{"type":"recording"')
    (tmp_path / "w.json").write_text('{"steps": [{"id": "a"}]}')
    done = call_worker(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


# --- workers that have all ended ------------------------------------------------------------------


class _Workerless:
    """Client of a scheduler that has lost its workers; ``result`` is that of a task, too."""

    def submit(self, *arguments: Any, **options: Any) -> _Workerless:
        return self

    async def result(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def nthreads(self) -> dict[str, int]:
        return {}


async def test_a_cluster_whose_workers_have_all_ended_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("distributed")
    from worker.cluster import executor

    monkeypatch.setattr(executor, "_WORKERLESS_S", 0.001)
    client: Any = _Workerless()
    session: Any = executor._Session(client, client, "s", 1)
    with pytest.raises(WorkerError, match="all Dask workers have ended"):
        _ = [result async for result in session.results([1])]


async def test_a_scheduler_that_ends_meanwhile_is_an_error() -> None:
    pytest.importorskip("distributed")
    from distributed.client import FutureCancelledError

    from worker.cluster.executor import _Session

    class Schedulerless(_Workerless):
        async def result(self) -> bytes:
            raise FutureCancelledError("key", "scheduler-connection-lost")

    client: Any = Schedulerless()
    session: Any = _Session(client, client, "s", 1)
    with pytest.raises(WorkerError, match="connection to the Dask scheduler was lost"):
        _ = [result async for result in session.results([1])]


RETURNED: list[tuple[bytes | None, str]] = [
    (None, "returned an unreadable result: "),
    (b"", "returned an unreadable result: Ran out of input"),
    (b"not a pickle", "returned an unreadable result: "),
    (pickle.dumps(None), "did not return the results of 1 item"),
    (pickle.dumps(([], 1.0)), "did not return the results of 1 item"),
    (pickle.dumps(([1, 2], 1.0)), "did not return the results of 1 item"),
    (pickle.dumps(((1,), 1.0)), "did not return the results of 1 item"),
    (pickle.dumps(([1], "soon")), "did not return the results of 1 item"),
    (pickle.dumps(([1], float("nan"))), "did not return the results of 1 item"),
    (pickle.dumps(([1], -1.0)), "did not return the results of 1 item"),
]


@pytest.mark.parametrize(("returned", "message"), RETURNED)
async def test_what_a_worker_returns_that_is_no_result_is_an_error(
    returned: bytes | None, message: str
) -> None:
    pytest.importorskip("distributed")
    from worker.cluster.executor import _Session

    class Malformed(_Workerless):
        async def result(self) -> bytes:
            return returned  # type: ignore[return-value]

    client: Any = Malformed()
    session: Any = _Session(client, client, "s", 1)
    with pytest.raises(WorkerError, match=message):
        _ = [result async for result in session.results([1])]


# --- versions -------------------------------------------------------------------------------------

HERE = Environment(worker=VERSION, python="3.11", engine="ab12", adaptors={"http@7.2.10": "aa"})
DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"worker": "0.0.9"}, "W has worker 0.0.9"),
    ({"python": "3.14"}, "W has python 3.14, and this command 3.11"),
    ({"engine": "cd34"}, "W has engine cd34"),
    ({"adaptors": {}}, "W lacks the adaptor http@7.2.10"),
    ({"adaptors": {**HERE.adaptors, "a@1.0.0": "b"}}, "W has the adaptor a@1.0.0, which this"),
    ({"adaptors": {"http@7.2.10": "bb"}}, "W has another bundle of the adaptor http@7.2.10"),
    ({"adaptors": {}, "problem": "manifest.json is damaged"}, "W: manifest.json is damaged"),
]


@pytest.mark.parametrize(("changed", "message"), DIFFERENT)
def test_a_cluster_has_the_versions_of_the_command(changed: dict[str, Any], message: str) -> None:
    check_same("W", HERE, HERE)
    # A scheduler executes no runs.
    check_same("W", HERE, Environment(worker=VERSION, python="3.11"))
    with pytest.raises(WorkerError, match=re.escape(message)):
        check_same("W", HERE, replace(HERE, **changed))


@pytest.mark.parametrize("changed", [{"worker": "9.9"}, {"engine": "cd34"}])
async def test_a_worker_that_joins_later_is_checked_too(changed: dict[str, Any]) -> None:
    pytest.importorskip("distributed")
    from worker.cluster.chunk_runner import ChunkRunner

    class Joined:
        address = "tcp://late:1"

    runner = ChunkRunner("s", b"never unpickled", replace(describe_runner(), **changed))
    runner.setup(Joined())
    with pytest.raises(WorkerError, match="the Dask worker tcp://late:1 has ") as caught:
        await runner.handle([1])
    # The version of the command, and not that of the worker which reports this.
    assert f"[cluster]=={changed.get('worker', VERSION)}'" in str(caught.value)


# --- parts of a decision table --------------------------------------------------------------------


def random_explorer(seed: int) -> Explorer:
    """Return an explorer of a random graph; conditions have every value, or throw."""
    generator = random.Random(seed)
    count = generator.randint(2, 5)
    kinds = ["on_job_success", "on_job_failure", "true", "state.a", "state.b"]
    steps: list[dict[str, Any]] = []
    for n in range(count):
        edges = {
            f"s{after}": generator.choice(kinds)
            for after in range(n + 1, min(n + 4, count))
            if generator.random() < 0.6
        }
        edges = {id: kind if kind != "true" else True for id, kind in edges.items()}  # type: ignore[misc]
        steps.append(
            {"id": f"s{n}", "adaptor": "common", "expression": "fn(s => s)", "next": edges}
        )
    plan = compile_plan(worker.load({"workflow": {"steps": steps}}))
    searched = {}
    for id, failed in searches_of(plan):
        edges_of_step = plan.steps[plan.index[id]].open_edges
        values = itertools.product((True, False), repeat=len(edges_of_step))
        witnesses = [Witness(state="{}", taken=taken) for taken in values]
        searched[id, failed] = [
            *witnesses[: generator.randint(1, 4)],
            Witness(state="{}", taken=(), throws=0),
        ]
    return Explorer(plan=plan, evaluate=lambda step, states: [], searched=searched)


def fresh(explorer: Explorer) -> Explorer:
    return Explorer(plan=explorer.plan, evaluate=explorer.evaluate, searched=explorer.searched)


@pytest.mark.parametrize("seed", range(8))
def test_a_table_in_parts_is_the_table_that_is_built_at_once(seed: int) -> None:
    whole = random_explorer(seed)
    for limit, size in ((10_000, 7), (5, 3), (23, 1), (60, 1000), (1, 4)):
        at_once = fresh(whole)
        expected = decision_table(at_once, everything=True, limit=limit)
        counts = count_by_situation(fresh(whole))
        assert counts is not None
        split = split_table(fresh(whole), counts, limit, size)
        joined = fresh(whole)
        parts = [build_part(fresh(whole), part, limit) for part in split]
        table = join_parts(joined, parts)
        assert table.rows == expected.rows
        assert dict(table.pruned) == dict(expected.pruned)
        assert list(joined.pruned) == list(at_once.pruned)
