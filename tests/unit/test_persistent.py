"""The persistent queue, tally and chain, against a deque and a list."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.persistent import Counts, LinkedList, Queue, in_order, iterate

# ``None`` pops; a list pushes its items.
OPERATIONS = st.lists(st.one_of(st.none(), st.lists(st.integers(), max_size=4)), max_size=40)


@given(OPERATIONS)
def test_a_queue_behaves_like_a_deque_and_old_versions_stay_as_they_were(
    operations: list[list[int] | None],
) -> None:
    queue: Queue[int] = Queue()
    model: deque[int] = deque()
    past: list[tuple[Queue[int], list[int]]] = []
    for items in operations:
        past.append((queue, list(model)))
        if items is not None:
            queue = queue.push(items)
            model.extend(items)
        elif model:
            item, queue = queue.pop()
            assert item == model.popleft()
        assert list(queue) == list(model)
        assert bool(queue) == bool(model)
    assert all(list(version) == seen for version, seen in past)


def test_a_list_is_iterated_newest_first_and_returned_oldest_first() -> None:
    items: LinkedList[int] = (3, (2, (1, None)))
    assert list(iterate(items)) == [3, 2, 1]
    assert in_order(items) == (1, 2, 3)
    assert in_order(None) == ()


def test_popping_an_empty_queue_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Queue().pop()


def test_a_version_popped_twice_gives_the_same_item_and_rest_twice() -> None:
    empty: Queue[str] = Queue()
    queue = empty.push("abc")
    (first, rest), (again, other) = queue.pop(), queue.pop()
    assert first == again == "a"
    assert list(rest) == list(other) == ["b", "c"]


def test_pushing_nothing_keeps_a_queue_empty() -> None:
    assert not Queue().push([])


def test_a_long_queue_is_drained_in_order() -> None:
    queue: Queue[int] = Queue()
    queue = queue.push(range(50_000))
    drained = []
    while queue:
        item, queue = queue.pop()
        drained.append(item)
    assert drained == list(range(50_000))


def test_a_queue_of_many_separate_pushes_is_drained_in_order() -> None:
    queue: Queue[int] = Queue()
    for n in range(50_000):
        queue = queue.push([n])
    assert list(queue) == list(range(50_000))
    assert queue.pop()[0] == 0


def test_a_chain_is_iterated_newest_first() -> None:
    chain: LinkedList[str] = ("new", ("old", None))
    assert list(iterate(chain)) == ["new", "old"]
    assert list(iterate(None)) == []


@given(
    st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1))))
)
def test_a_tally_counts_like_a_counter_and_old_versions_stay_as_they_were(
    case: tuple[int, list[int]],
) -> None:
    size, increments = case
    tally = Counts.of(size)
    model: Counter[int] = Counter()
    past: list[tuple[Counts, dict[int, int]]] = []
    for index in increments:
        past.append((tally, dict(model)))
        tally = tally.increment(index)
        model[index] += 1
    assert [tally[index] for index in range(size)] == [model[index] for index in range(size)]
    for version, seen in past:
        assert all(version[index] == seen.get(index, 0) for index in range(size))


@given(st.integers(0, 5_000))
def test_a_tally_copies_rows_of_about_the_root_of_its_size(size: int) -> None:
    """An update costs a row and the list of rows, and both stay short.

    A row is one integer, which is copied faster than as many entries of the list.
    """
    tally = Counts.of(size)
    assert tally.width <= 4 * size**0.5 + 1
    assert len(tally.rows) <= size**0.5 / 4 + 2
