"""Rules of work on a cluster: sizes of chunks, its address, and parts of a decision table."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from worker.cluster.chunks import MAX_ITEMS, TARGET_S, ChunkSizer
from worker.cluster.cluster_address import ClusterAddress, parse_address
from worker.core.compile_plan import compile_plan
from worker.errors import LoadError, UsageError
from worker.explore.explorer import (
    Explorer,
    count_by_situation,
    decision_table,
    searches_of,
)
from worker.explore.state_search import Witness
from worker.explore.subtrees import build_part, join_parts, split_table

# --- sizes of chunks ------------------------------------------------------------------------------


def test_chunks_begin_small_and_grow_to_the_target() -> None:
    sizer = ChunkSizer(slots=2)
    assert sizer.most_items(100_000) == 16
    assert sizer.measured(16, 0.16).most_items(100_000) == TARGET_S / 0.01
    assert sizer.measured(16, 1e-9).most_items(10**9) == MAX_ITEMS
    assert sizer.measured(1, 60.0).most_items(100) == 1


def test_the_last_chunks_are_shared_among_all_slots() -> None:
    sizer = ChunkSizer(slots=4).measured(100, 0.1)
    sizes, left = [], 500
    while left:
        sizes.append(sizer.most_items(left))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 63 and sizes[-8:] == [1] * 8


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
