"""The order of the queue."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.control.queue import AGEING_S, ProjectQueue, rank, share_slots

AGEING_US = AGEING_S * 1_000_000
NOW = 1000 * AGEING_US


def queue(project: str, priority: int = 0, waited: float = 0.0) -> ProjectQueue:
    """Return a queue that has waited for so many ageing times."""
    return ProjectQueue(project=project, priority=priority, since=NOW - int(waited * AGEING_US))


def shared(queues: list[ProjectQueue], slots: int, **leased: int) -> list[str]:
    return [queue.project for queue in share_slots(queues, leased, slots, NOW)]


def test_nothing_is_shared_where_nothing_waits_or_nothing_is_demanded() -> None:
    assert shared([], 5) == []
    assert shared([queue("p")], 0) == []


def test_a_higher_priority_goes_before_age_and_fairness() -> None:
    queues = [queue("busy", 5), queue("idle", 0, 0.5)]
    assert shared(queues, 3, busy=100) == ["busy"] * 3


def test_the_project_with_the_fewest_runs_goes_first_and_then_the_oldest() -> None:
    queues = [queue("busy", 0, 0.0), queue("idle")]
    assert shared(queues, 4, busy=1) == ["idle", "busy", "idle", "busy"]
    older = ProjectQueue(project="older", priority=0, since=NOW + 1)
    newer = ProjectQueue(project="newer", priority=0, since=NOW + 2)
    assert shared([newer, older], 2) == ["older", "newer"]


def test_leases_that_were_there_before_count_as_much_as_new_ones() -> None:
    queues = [queue("busy"), queue("idle")]
    assert shared(queues, 5, busy=3) == ["idle", "idle", "idle", "busy", "idle"]


def test_priorities_of_one_project_share_its_leases() -> None:
    queues = [queue("p", 1), queue("p", 0), queue("q", 0)]
    taken = share_slots(queues, {}, 3, NOW)
    assert [(each.project, each.priority) for each in taken] == [("p", 1)] * 3


def test_a_queue_that_nobody_serves_rises_until_it_is_served_once() -> None:
    low = queue("low", -100, 201)
    assert shared([queue("high", 100), low], 3) == ["low", "high", "high"]
    assert shared([queue("high", 100), queue("low", -100, 199)], 1) == ["high"]


def test_a_rank_does_not_depend_on_the_present_time() -> None:
    assert rank(3, 5 * AGEING_US) == rank(4, 6 * AGEING_US) < rank(2, 5 * AGEING_US)


def test_a_queue_rises_by_a_priority_each_five_minutes() -> None:
    minute = 60_000_000
    assert [rank(0, since) for since in (0, 5 * minute - 1, 5 * minute)] == [0, 0, 1]


@given(
    queues=st.lists(
        st.builds(queue, st.sampled_from("pqrs"), st.integers(-2, 2), st.floats(0, 5, width=16)),
        unique_by=lambda each: (each.project, each.priority),
    ),
    leased=st.dictionaries(st.sampled_from("pqrs"), st.integers(0, 5)),
    slots=st.integers(0, 20),
)
def test_each_slot_goes_to_the_best_queue_of_all(
    queues: list[ProjectQueue], leased: dict[str, int], slots: int
) -> None:
    """As by looking at all queues for each slot."""
    leases, served, expected = Counter(leased), set[ProjectQueue](), list[ProjectQueue]()
    for _ in range(slots if queues else 0):
        best = min(
            queues,
            key=lambda each: (
                rank(each.priority, NOW if each in served else each.since),
                leases[each.project],
                each.since,
                each,
            ),
        )
        expected.append(best)
        served.add(best)
        leases[best.project] += 1
    assert share_slots(queues, leased, slots, NOW) == expected
