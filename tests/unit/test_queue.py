"""The order of the queue."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.control.entities import QueuePartition
from worker.fleet.control.queue import PartitionHead, WaitingRun, distribute, pick_runs


def head(
    project: str,
    *waiting: tuple[str, int, int],
    workflow: str = "w",
    leased: int = 0,
    limit: int | None = None,
) -> PartitionHead:
    """Return a partition of runs, each with its id, priority and age."""
    partition = QueuePartition(
        project=project, workflow=workflow, available=len(waiting), leased=leased
    )
    runs = [WaitingRun(run_id=id, priority=priority, age=age) for id, priority, age in waiting]
    return PartitionHead(partition=partition, waiting=runs, limit=limit)


def test_nothing_is_picked_where_nothing_waits_or_nothing_is_demanded() -> None:
    assert pick_runs([], {}, 5) == []
    assert pick_runs([head("p", ("a", 0, 1))], {}, 0) == []


def test_the_oldest_goes_first() -> None:
    heads = [head("p", ("b", 0, 2)), head("p", ("a", 0, 1), ("c", 0, 3), workflow="v")]
    assert pick_runs(heads, {}, 9) == ["a", "b", "c"]


def test_a_higher_priority_goes_before_age_and_fairness() -> None:
    heads = [head("busy", ("late", 5, 9)), head("idle", ("early", 0, 1))]
    assert pick_runs(heads, {"busy": 100}, 1) == ["late"]


def test_the_project_with_the_fewest_runs_goes_first() -> None:
    heads = [head("busy", ("early", 0, 1)), head("idle", ("late", 0, 9))]
    assert pick_runs(heads, {"busy": 1}, 2) == ["late", "early"]


def test_a_flood_of_one_project_does_not_hold_up_another() -> None:
    flood = head("loud", *((f"loud-{n}", 0, n) for n in range(100)))
    quiet = head("quiet", ("quiet-0", 0, 1000), ("quiet-1", 0, 1001))
    assert pick_runs([flood, quiet], {}, 4) == ["loud-0", "quiet-0", "loud-1", "quiet-1"]


def test_no_more_of_a_partition_go_than_its_limit_leaves_room_for() -> None:
    full = head("p", ("a", 9, 1), leased=2, limit=2)
    room = head("p", ("b", 0, 2), ("c", 0, 3), workflow="v", leased=1, limit=2)
    assert pick_runs([full, room], {}, 9) == ["b"]


def test_runs_are_distributed_one_to_each_worker_in_turn() -> None:
    distributed = list(distribute({"north": 3, "south": 1}, ["a", "b", "c", "d", "e"]))
    assert distributed == [("north", "a"), ("south", "b"), ("north", "c"), ("north", "d")]


def test_the_distribution_ends_with_the_runs() -> None:
    assert list(distribute({"north": 3, "south": 3}, ["a"])) == [("north", "a")]
    assert list(distribute({"north": 0}, ["a"])) == []


@given(
    partitions=st.lists(
        st.tuples(
            st.sampled_from("pqr"),
            st.lists(st.integers(-2, 2), max_size=6),
            st.integers(0, 3),
            st.none() | st.integers(0, 4),
        ),
        max_size=5,
    ),
    demand=st.integers(0, 12),
)
def test_every_choice_keeps_the_limits_and_is_as_large_as_it_can_be(
    partitions: list[tuple[str, list[int], int, int | None]], demand: int
) -> None:
    heads = [
        head(
            project,
            *(
                (f"{n}-{m}", priority, m)
                for m, priority in enumerate(sorted(priorities, reverse=True))
            ),
            workflow=str(n),
            leased=leased,
            limit=limit,
        )
        for n, (project, priorities, leased, limit) in enumerate(partitions)
    ]
    picked = pick_runs(heads, {}, demand)
    assert len(set(picked)) == len(picked)
    possible = 0
    for n, (_, waiting, leased, limit) in enumerate(partitions):
        mine = [id for id in picked if id.startswith(f"{n}-")]
        assert mine == [f"{n}-{m}" for m in range(len(mine))], "in the order of the partition"
        room = len(waiting) if limit is None else max(0, min(len(waiting), limit - leased))
        assert len(mine) <= room
        possible += room
    assert len(picked) == min(demand, possible)


def test_leases_that_were_there_before_count_as_much_as_new_ones() -> None:
    """One project has three leases, the other none: it gets exactly three runs first."""
    heads = [
        head("busy", *((f"busy-{n}", 0, n) for n in range(4))),
        head("idle", *((f"idle-{n}", 0, 10 + n) for n in range(8))),
    ]
    picked = pick_runs(heads, {"busy": 3}, 8)
    assert picked == [
        "idle-0", "idle-1", "idle-2", "busy-0", "idle-3", "busy-1", "idle-4", "busy-2",
    ]  # fmt: skip


def test_an_odd_number_of_leases_is_counted_one_by_one() -> None:
    """The project with one lease is level after one run of the other, not after two."""
    heads = [
        head("one", *((f"one-{n}", 0, n) for n in range(3))),
        head("two", *((f"two-{n}", 0, 10 + n) for n in range(3))),
    ]
    assert pick_runs(heads, {"one": 1, "two": 2}, 4) == ["one-0", "one-1", "two-0", "one-2"]
