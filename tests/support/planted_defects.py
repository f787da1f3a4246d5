"""Defects that are planted into a fleet, and the seeds of the simulation that find them.

    python -m tests.support.planted_defects [--only NUMBER...] [--cpu-seconds 60]

The first seven are those of version 0.1.0. A defect is found where a simulation of it breaches a
rule that the fleet without it keeps, or it is harmless, for the reason beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from worker.fleet.control import run_assignment, worker_messages
from worker.fleet.control.alerts import AlertDispatcher
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.lifecycle import LeaseCheck, StartConfirmed
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.queue import ProjectQueue, QueuePlace
from worker.fleet.control.state_publication import StatePublication
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.unit_of_work import Outgoing, UnitOfWork
from worker.fleet.messaging.state_messages import Alert
from worker.fleet.messaging.worker_protocol import (
    Acks,
    AssignedRun,
    Assignment,
    Claim,
    Lease,
    Starts,
)
from worker.fleet.worker.claimed_runs import ClaimedRuns, attempt_key
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox, RunOutbox
from worker.fleet.worker.report_sender import Refusal, ReportSender
from worker.testing.simulation.breaches import breaches
from worker.testing.simulation.run_simulation import Simulation, simulate

LONG = Simulation(seed=1, orders=30, duration_s=120.0)
Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A defect, and the simulations that look for it; ``harmless`` says why none can find it."""

    name: str
    plant: Plant
    base: Simulation = LONG
    harmless: str = ""


# --- the seven of version 0.1.0 -------------------------------------------------------------------

_ON_ASSIGNMENT, _SEND_CLAIM = FleetWorker._on_assignment, FleetWorker._send_claim
_PUBLISH_RUN_STATE = UnitOfWork.publish_run_state
_PUBLISH_ORDER_STATE, _QUEUES = UnitOfWork.publish_order_state, Transaction.queues


def execute_at_once(patch: pytest.MonkeyPatch) -> None:
    def on_assignment(worker: FleetWorker, assignment: Assignment) -> None:
        _ON_ASSIGNMENT(worker, assignment)
        for run in assignment.runs:
            key = attempt_key(run.lease)
            if key in worker._claimed and key not in worker._runs:
                worker._execute_started(run, 0.0)

    def on_starts(worker: FleetWorker, starts: Starts) -> None:
        worker._claimed.answer(starts, 0.0)

    patch.setattr(FleetWorker, "_on_assignment", on_assignment)
    patch.setattr(FleetWorker, "_on_starts", on_starts)


def answer_all_claims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run_assignment, "_own_claims", lambda uow, demands: dict(demands))


def states_without_revision(patch: pytest.MonkeyPatch) -> None:
    def publish_run_state(self: UnitOfWork, run: RunRecord) -> None:
        _PUBLISH_RUN_STATE(self, replace(run, revision=0))

    def publish_order_state(self: UnitOfWork, order: WorkOrder) -> None:
        _PUBLISH_ORDER_STATE(self, replace(order, revision=0))

    patch.setattr(UnitOfWork, "publish_run_state", publish_run_state)
    patch.setattr(UnitOfWork, "publish_order_state", publish_order_state)


def first_project_alone(patch: pytest.MonkeyPatch) -> None:
    def queues(self: Transaction, most: int, *after: QueuePlace) -> Sequence[ProjectQueue]:
        return [queue for queue in _QUEUES(self, most, *after) if queue.project != "p7"]

    patch.setattr(Transaction, "queues", queues)


def alerts_once(patch: pytest.MonkeyPatch) -> None:
    async def until_delivered(self: AlertDispatcher, channel: str, alert: Alert) -> None:
        try:
            await self._publish(alert)
        except Exception as error:
            self._log.warning("alert.delivery_failed", error=str(error))

    patch.setattr(AlertDispatcher, "_until_delivered", until_delivered)
    patch.setattr(Transaction, "unnotified", lambda self, most, channel="": [])


def outbox_blocked(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: ReportSender, acks: Acks) -> list[Refusal]:
        if acks.refused or any(ack.set_aside for ack in acks.acks):
            return []
        return _ACKNOWLEDGE(self, acks)

    patch.setattr(ReportSender, "acknowledge", acknowledge)


def expiry_by_a_stepping_clock(patch: pytest.MonkeyPatch) -> None:
    def tick(self: MessageProcessor, now_us: int, echoed_us: int) -> Outgoing:
        self._last_tick_us, self._echoed_us = now_us, echoed_us
        return self._tick_in_store(now_us, now_us)

    patch.setattr(MessageProcessor, "tick", tick)


# --- further ones ---------------------------------------------------------------------------------

_ACKNOWLEDGE, _DUE, _ANSWER = ReportSender.acknowledge, ClaimedRuns.due, ClaimedRuns.answer
_HAND_BACK = ClaimedRuns.hand_back


def no_heartbeats(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FleetWorker, "_send_heartbeat", lambda self, now: None)


def claim_once(patch: pytest.MonkeyPatch) -> None:
    def send_claim(self: FleetWorker, claim: Claim) -> None:
        if not claim.repeated:
            _SEND_CLAIM(self, claim)

    patch.setattr(FleetWorker, "_send_claim", send_claim)


def start_once(patch: pytest.MonkeyPatch) -> None:
    def due(self: ClaimedRuns, free: int, now: float, *, repeat: bool = False) -> list[Lease]:
        asked = {key for key, run in self._runs.items() if run.requested_at is not None}
        leases = _DUE(self, free, now, repeat=repeat)
        return [lease for lease in leases if attempt_key(lease) not in asked]

    patch.setattr(ClaimedRuns, "due", due)


def reports_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReportSender, "overdue", lambda self, now: False)
    patch.setattr(ReportSender, "restart", lambda self: None)


def execute_refused_starts(patch: pytest.MonkeyPatch) -> None:
    def answer(self: ClaimedRuns, starts: Starts, now: float) -> list[AssignedRun]:
        return _ANSWER(self, Starts(started=[*starts.started, *starts.refused]), now)

    patch.setattr(ClaimedRuns, "answer", answer)


def lease_without_token(patch: pytest.MonkeyPatch) -> None:
    def check(uow: UnitOfWork, run: Any, worker: str, lease: Lease) -> LeaseCheck:
        leased = run is not None and run.leased
        return LeaseCheck.VALID if leased else LeaseCheck.STALE

    patch.setattr(worker_messages, "_check_lease", check)


def starts_of_ended_runs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FleetWorker, "_is_new", lambda self, lease: True)


def hand_back_requested(patch: pytest.MonkeyPatch) -> None:
    def hand_back(self: ClaimedRuns, now: float, *, all: bool = False) -> list[Lease]:
        stuck = [
            run.assigned.lease
            for run in self._runs.values()
            if run.requested_at is not None and now - run.requested_at > 0.004
        ]
        for lease in stuck:
            self.drop(attempt_key(lease))
        return [*stuck, *_HAND_BACK(self, now, all=all)]

    patch.setattr(ClaimedRuns, "hand_back", hand_back)


def expiry_after_a_reconnect(patch: pytest.MonkeyPatch) -> None:
    def expired(self: MessageProcessor, uow: UnitOfWork) -> list[str]:
        return [run.id for run in uow.transaction.expired_runs(uow.now_us)]

    patch.setattr(MessageProcessor, "_expired_runs", expired)


def states_lost_with_a_process(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StatePublication, "collect", lambda self, uow, since_us: None)


def start_confirmed_again(patch: pytest.MonkeyPatch) -> None:
    """A requested start is confirmed before the run is stored as started."""

    def confirm(uow: UnitOfWork, run: Any) -> bool:
        if run.phase is RunPhase.CLAIMED and run.expires % 2:
            return True
        if run.phase is RunPhase.STARTED:
            return True
        uow.apply(run, StartConfirmed(at=uow.now_us, expires=uow.lease_end))
        return True

    patch.setattr(worker_messages, "_confirm_start", confirm)


def events_taken_after_a_gap(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: RunOutbox, upto: int) -> None:
        while self._events and self._first <= upto + 1:
            self._events.popleft()
            self._first += 1
        self._sent = max(self._sent, self._first)

    patch.setattr(RunOutbox, "acknowledge", acknowledge)


def outbox_not_recovered(patch: pytest.MonkeyPatch) -> None:
    def recover(self: Outbox) -> Iterator[RunOutbox]:
        return iter(())

    patch.setattr(Outbox, "recover", recover)


def any_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: ReportSender, acks: Acks) -> list[Refusal]:
        return _ACKNOWLEDGE(self, Acks(number=self._number, acks=acks.acks))

    patch.setattr(ReportSender, "acknowledge", acknowledge)


SHARED = replace(LONG, planes=2)
DEFECTS = (
    Defect(name="1 a run begins before its start is stored", plant=execute_at_once),
    Defect(name="2 two control planes answer a claim", plant=answer_all_claims, base=SHARED),
    Defect(name="3 states have no revision", plant=states_without_revision, base=SHARED),
    Defect(name="4 a project is never served", plant=first_project_alone),
    Defect(name="5 an alert is sent once", plant=alerts_once, base=replace(LONG, orders=60)),
    Defect(name="6 a refused report stays in the outbox", plant=outbox_blocked),
    Defect(name="7 leases expire by a clock that steps", plant=expiry_by_a_stepping_clock),
    Defect(name="8 no heartbeats are sent", plant=no_heartbeats),
    Defect(name="9 a claim without an answer is not repeated", plant=claim_once),
    Defect(name="10 a start without an answer is not repeated", plant=start_once),
    Defect(name="11 reports are not retransmitted", plant=reports_once),
    Defect(name="12 a refused start is executed", plant=execute_refused_starts),
    Defect(name="13 a lease needs no token", plant=lease_without_token),
    Defect(
        name="14 an assigned run is never known",
        plant=starts_of_ended_runs,
        harmless="a claim has one answer; the runs of a repeated one are released, which changes no started run",
    ),
    Defect(name="15 a run whose start is requested goes back", plant=hand_back_requested),
    Defect(name="16 leases expire right after a reconnect", plant=expiry_after_a_reconnect),
    Defect(name="17 states are lost with a process", plant=states_lost_with_a_process),
    Defect(name="18 a start is confirmed and not stored", plant=start_confirmed_again),
    Defect(name="19 an event too many is acknowledged", plant=events_taken_after_a_gap),
    Defect(
        name="20 an outbox is not recovered",
        plant=outbox_not_recovered,
        harmless="the runs of a process that died may be lost, and their alerts go out",
    ),
    Defect(
        name="21 any acknowledgement counts for the message in flight",
        plant=any_acknowledgement,
        harmless="it names the events that it acknowledges; the others are sent again",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The seed that found a defect, if any, the processor time that took, and the breach."""

    seed: int | None
    cpu_s: float
    breach: str = ""


def look_for(defect: Defect, cpu_s: float) -> Result:
    """Simulate a fleet with a defect, seed after seed, until a rule is broken."""
    began = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        defect.plant(patch)
        for seed in range(1, 1000):
            breach = next(breaches(simulate(replace(defect.base, seed=seed))), "")
            used_s = time.process_time() - began
            if breach:
                return Result(seed=seed, cpu_s=used_s, breach=breach)
            if used_s > cpu_s:
                break
    return Result(seed=None, cpu_s=time.process_time() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, nargs="*", help="numbers of defects")
    parser.add_argument("--cpu-seconds", type=float, default=60.0)
    options = parser.parse_args()
    missed = 0
    for number, defect in enumerate(DEFECTS, 1):
        if options.only and number not in options.only:
            continue
        result = look_for(defect, 15.0 if defect.harmless else options.cpu_seconds)
        found = f"seed {result.seed}, {result.cpu_s:.0f} s: {result.breach[:90]}"
        missed += result.seed is None and not defect.harmless
        if result.seed is None:
            found = f"harmless: {defect.harmless}" if defect.harmless else "NOT FOUND"
        print(f"{defect.name:<58} {found}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
