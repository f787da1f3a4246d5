"""The claim of a worker: sent anew as its demand grows, without one for each run that ends."""

from __future__ import annotations

from worker.fleet.messaging.worker_protocol import Assignment
from worker.fleet.worker.claim_demand import GROWTH_S, REPEAT_CLAIM_S, ClaimDemand

LATER = GROWTH_S + 0.01


def test_a_pending_claim_grows_at_once_to_the_double_and_else_after_a_while() -> None:
    demand = ClaimDemand("i")
    first = demand.due(2, 0.0)
    assert first is not None and first.demand == 2
    assert demand.due(3, 0.01) is None
    double = demand.due(4, 0.02)
    assert double is not None and (double.demand, double.claim_id) == (4, first.claim_id)
    assert demand.due(5, 0.03) is None and demand.due(4, 0.02 + LATER) is None
    grown = demand.due(5, 0.02 + LATER)
    assert grown is not None and (grown.demand, grown.repeated) == (5, False)


def test_a_pending_claim_is_never_reduced_and_repeated_when_it_is_late() -> None:
    demand = ClaimDemand("i")
    first = demand.due(4, 0.0)
    assert first is not None and demand.due(1, LATER) is None
    again = demand.due(1, REPEAT_CLAIM_S + 0.01)
    assert again is not None and (again.demand, again.repeated) == (4, True)
    assert again.claim_id == first.claim_id


def test_after_a_response_what_is_free_is_claimed_at_once() -> None:
    demand = ClaimDemand("i")
    first = demand.due(4, 0.0)
    assert first is not None and demand.due(5, 0.01) is None
    assert demand.answer(Assignment(claim_id=first.claim_id, runs=[]))
    second = demand.due(1, 0.02)
    assert second is not None and second.demand == 1 and second.claim_id != first.claim_id


def test_growth_does_not_delay_the_repetition() -> None:
    """Tries to leave slots free: only a repeated claim is answered where a response was lost."""
    demand = ClaimDemand("i")
    step_s = REPEAT_CLAIM_S / 4
    claims = [demand.due(4 + step, step * step_s) for step in range(6)]
    assert [claim is not None and claim.repeated for claim in claims] == [False] * 5 + [True]
    assert len({claim.claim_id for claim in claims if claim is not None}) == 1


def test_a_response_that_may_be_lost_is_requested_at_once() -> None:
    demand = ClaimDemand("i")
    assert demand.due(4, 0.0) is not None
    demand.repeat()
    again = demand.due(4, 0.01)
    assert again is not None and again.repeated
