"""Transactions that conflict with another control plane's: repeated, and waited for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.databases import memory_store
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.store.store import MAX_ATTEMPTS, Store, StoreUnavailable
from worker.fleet.control.store.transaction import StoredCheckpoint, Transaction
from worker.fleet.messaging.bus import Message


class _Collision(Exception):
    sqlstate = "40P01"


class _Contended(Store):
    """Store in memory whose transactions conflict with another control plane's, so many times."""

    conflicts = 0
    state = "40P01"

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as transaction:
            yield transaction
            if self.conflicts:
                self.conflicts -= 1
                cause = _Collision()
                cause.sqlstate = self.state
                raise OperationalError("statement", {}, cause)


@pytest.fixture
def contended() -> Iterator[_Contended]:
    with memory_store(_Contended) as opened:
        yield opened


@pytest.mark.parametrize("state", ["23505", "40001", "40P01"])
def test_a_transaction_that_another_one_was_in_the_way_of_is_done_again(
    contended: _Contended, state: str
) -> None:
    contended.conflicts, contended.state = MAX_ATTEMPTS - 1, state
    contended.execute(lambda transaction: transaction.put_checkpoint("key", 7))
    stored = contended.execute(lambda transaction: transaction.checkpoints())
    assert stored == {"key": StoredCheckpoint(7)}


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_collision_that_lasts_is_waited_for_and_ends_nothing(
    contended: _Contended, state: str
) -> None:
    contended.conflicts, contended.state = MAX_ATTEMPTS, state
    with pytest.raises(StoreUnavailable, match="contended"):
        contended.execute(lambda transaction: transaction.put_checkpoint("key", 7))
    assert contended.execute(lambda transaction: transaction.checkpoints()) == {}


@pytest.mark.parametrize("state", ["08006", "22001"])
def test_a_transaction_that_fails_for_itself_is_not_done_again(
    contended: _Contended, state: str
) -> None:
    contended.conflicts, contended.state = 1, state
    with pytest.raises((OperationalError, StoreUnavailable)):
        contended.execute(lambda transaction: transaction.put_checkpoint("key", 7))


_REQUEST = Message(
    topic="worker/v1/requests/orders", payload=b"{}", reply_to="worker/v1/clients/c/rsp"
)
_CALLS: dict[str, Callable[[MessageProcessor], object]] = {
    # A batch with a request: claims alone may be another plane's.
    "process": lambda processor: processor.process([_REQUEST], 1),
    # At a time that housekeeping is due: a tick with nothing to do has no transaction.
    "tick": lambda processor: processor.tick(10**12),
    "fire": lambda processor: processor.fire([], 1),
    "on_connected": lambda processor: processor.on_connected(1),
    "next_states": lambda processor: processor.next_states(1),
    "mark_replied": lambda processor: processor.mark_replied(["o"]),
    "mark_delivered": lambda processor: processor.mark_delivered("o-1", ["mqtt"]),
    "mark_notified": lambda processor: processor.mark_notified(["o-1"], 1),
}


@pytest.mark.parametrize("name", _CALLS)
def test_no_call_of_a_control_plane_fails_where_another_plane_is_in_the_way(
    contended: _Contended, name: str
) -> None:
    processor = MessageProcessor(contended)
    contended.conflicts = 1
    processor.publish_all_again()
    _CALLS[name](processor)
    assert contended.conflicts == 0
