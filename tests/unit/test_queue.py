"""Which run goes next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.control.entities import QueuePartition
from worker.fleet.control.queue import PartitionHead, Waiting, choose, share


def head(
    project: str,
    *waiting: tuple[str, int, int],
    workflow: str = "w",
    leased: int = 0,
    limit: int | None = None,
) -> PartitionHead:
    """A lane of runs, each with its id, priority and age."""
    lane = QueuePartition(project=project, workflow=workflow, available=len(waiting), leased=leased)
    runs = [Waiting(run_id=id, priority=priority, age=age) for id, priority, age in waiting]
    return PartitionHead(lane=lane, waiting=runs, limit=limit)


def test_nothing_is_chosen_where_nothing_waits_or_nobody_asks() -> None:
    assert choose([], {}, 5) == []
    assert choose([head("p", ("a", 0, 1))], {}, 0) == []


def test_the_oldest_goes_first() -> None:
    heads = [head("p", ("b", 0, 2)), head("p", ("a", 0, 1), ("c", 0, 3), workflow="v")]
    assert choose(heads, {}, 9) == ["a", "b", "c"]


def test_a_higher_priority_goes_before_age_and_fairness() -> None:
    heads = [head("busy", ("late", 5, 9)), head("idle", ("early", 0, 1))]
    assert choose(heads, {"busy": 100}, 1) == ["late"]


def test_the_project_with_the_fewest_runs_goes_first() -> None:
    heads = [head("busy", ("early", 0, 1)), head("idle", ("late", 0, 9))]
    assert choose(heads, {"busy": 1}, 2) == ["late", "early"]


def test_a_flood_of_one_project_does_not_hold_up_another() -> None:
    flood = head("loud", *((f"loud-{n}", 0, n) for n in range(100)))
    quiet = head("quiet", ("quiet-0", 0, 1000), ("quiet-1", 0, 1001))
    assert choose([flood, quiet], {}, 4) == ["loud-0", "quiet-0", "loud-1", "quiet-1"]


def test_no_more_of_a_lane_go_than_its_limit_leaves_room_for() -> None:
    full = head("p", ("a", 9, 1), leased=2, limit=2)
    room = head("p", ("b", 0, 2), ("c", 0, 3), workflow="v", leased=1, limit=2)
    assert choose([full, room], {}, 9) == ["b"]


def test_runs_are_dealt_out_one_to_each_worker_in_turn() -> None:
    dealt = list(share({"north": 3, "south": 1}, ["a", "b", "c", "d", "e"]))
    assert dealt == [("north", "a"), ("south", "b"), ("north", "c"), ("north", "d")]


def test_the_deal_ends_with_the_runs() -> None:
    assert list(share({"north": 3, "south": 3}, ["a"])) == [("north", "a")]
    assert list(share({"north": 0}, ["a"])) == []


@given(
    lanes=st.lists(
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
    lanes: list[tuple[str, list[int], int, int | None]], demand: int
) -> None:
    heads = [
        head(
            project,
            *((f"{n}-{m}", priority, m) for m, priority in enumerate(sorted(given, reverse=True))),
            workflow=str(n),
            leased=leased,
            limit=limit,
        )
        for n, (project, given, leased, limit) in enumerate(lanes)
    ]
    chosen = choose(heads, {}, demand)
    assert len(set(chosen)) == len(chosen)
    possible = 0
    for n, (_, waiting, leased, limit) in enumerate(lanes):
        mine = [id for id in chosen if id.startswith(f"{n}-")]
        assert mine == [f"{n}-{m}" for m in range(len(mine))], "in the order of the lane"
        room = len(waiting) if limit is None else max(0, min(len(waiting), limit - leased))
        assert len(mine) <= room
        possible += room
    assert len(chosen) == min(demand, possible)
