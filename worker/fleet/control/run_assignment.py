"""Assignment of waiting runs to workers with pending claims, in the transaction of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from worker.fleet.control import run_content
from worker.fleet.control.claiming import PAGE_SIZE, QueueTurn, RunSelector
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.lifecycle import Claimed
from worker.fleet.control.placement import FreeSlots, Offer, decode_words
from worker.fleet.control.policy import Policy
from worker.fleet.control.unit_of_work import UnitOfWork

KNOWN_WORKER_US = 86_400_000_000
"""How long a worker that is away is waited for, by runs that need what it alone offers."""


def assign_runs(
    uow: UnitOfWork,
    policy: Policy,
    token: Callable[[], str],
    serves: Callable[[str], bool],
    turn: QueueTurn,
) -> None:
    """Lease waiting runs of the projects that ``serves`` accepts to workers with pending claims.

    ``token`` makes the secret of each lease. ``turn`` is that of the queues in the batches before.
    """
    demands = {worker: claim.demand for worker, claim in uow.pending_claims.items()}
    if not any(demands.values()):
        return
    # The queue is read by queries, which do not see what is not written yet.
    uow.transaction.flush()
    # Most often no run waits: the rest is not read then.
    if not (queues := uow.transaction.queues(PAGE_SIZE)):
        return
    if uow.settings.shared and not (demands := _own_claims(uow, demands)):
        return
    offers = _read_offers(uow)
    slots = FreeSlots(demands, offers, offers.values())
    assigned: dict[str, list[str]] = {}
    selector = RunSelector(uow.transaction, policy, slots, uow.now_us, serves)
    for worker, run_id in selector.select(queues, turn):
        assigned.setdefault(worker, []).append(run_id)
    for worker, run_ids in assigned.items():
        _lease_runs(uow, worker, run_ids, token)


def waiting_projects(uow: UnitOfWork) -> list[str]:
    """List the projects that have waiting runs, in the order of their queues."""
    return list(dict.fromkeys(queue.project for queue in uow.transaction.queues(PAGE_SIZE)))


def _own_claims(uow: UnitOfWork, demands: Mapping[str, int]) -> dict[str, int]:
    """Return the demands of the claims that no other control plane answers or has answered."""
    claims = {uow.pending_claims[worker].claim_id: worker for worker in demands}
    locked = uow.transaction.lock_claims(claims)
    # In a statement of its own, which sees what was committed before the locks.
    for claim_id in uow.transaction.answered_claims(locked):
        del uow.pending_claims[claims[claim_id]]
        locked.remove(claim_id)
    return {claims[claim_id]: demands[claims[claim_id]] for claim_id in locked}


def _read_offers(uow: UnitOfWork) -> dict[str, Offer]:
    """Read what the workers of the fleet offer, by name."""
    stored = uow.transaction.offers(uow.now_us - KNOWN_WORKER_US)
    return {
        name: Offer() if text is None else Offer(decode_words(text), True)
        for name, text in stored.items()
    }


def _lease_runs(
    uow: UnitOfWork, worker: str, run_ids: Sequence[str], token: Callable[[], str]
) -> None:
    claim = uow.answered_claims[worker] = uow.pending_claims.pop(worker)
    uow.transaction.load_runs(run_ids)
    runs = [run for id in run_ids if (run := uow.transaction.run(id)) is not None]
    uow.transaction.load_orders(run.order_id for run in runs)
    room = uow.settings.max_message_bytes
    leased: list[RunRecord] = []
    for run in runs:
        # Another control plane may have cancelled it between the query and the lock.
        if run.phase is not RunPhase.AVAILABLE:
            continue
        # The rest of the runs waits for the next claim.
        if leased and room < run_content.assigned_bytes(uow, run):
            break
        room -= run_content.assigned_bytes(uow, run)
        claimed = Claimed(
            worker=worker,
            incarnation=claim.incarnation,
            claim_id=claim.claim_id,
            token=token(),
            expires=uow.lease_end,
            at=uow.now_us,
        )
        leased.append(uow.apply(run, claimed))
    run_content.assign(uow, worker, claim.claim_id, leased)
