"""What workers say: who is there, claims, reports, heartbeats, and runs that are handed back."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.core.events import (
    DATACLIP_FIELDS,
    AnyEvent,
    RunComplete,
    dataclip_id_of,
    dataclip_of,
)
from worker.fleet.control import lifecycle
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.lifecycle import LeaseCheck
from worker.fleet.control.store.transaction import EventRow, WorkerRow
from worker.fleet.control.unit_of_work import MessageRefused, PendingClaim, UnitOfWork
from worker.fleet.messaging import messages as wire

MESSAGE_LIMIT = 10_000
"""The most characters of a run's error message that are kept beside it."""


def status(batch: UnitOfWork, worker: str, presence: wire.Presence) -> None:
    """A birth or a will. One that is older than what is known says nothing any more.

    Incarnations begin with the time of their start, so they compare by age.
    """
    known = batch.work.worker(worker)
    if known is not None and presence.incarnation < known.incarnation:
        raise MessageRefused("stale", f"incarnation {presence.incarnation} is over")
    batch.work.put_worker(
        WorkerRow(
            name=worker,
            incarnation=presence.incarnation,
            online=presence.online,
            draining=presence.draining,
            capacity=presence.capacity,
            version=presence.version,
            since=batch.now,
        )
    )
    standing = batch.standing.get(worker)
    if standing and (standing.incarnation != presence.incarnation or not presence.online):
        del batch.standing[worker]
    ends = batch.now + int(batch.settings.grace_s * 1e6)
    for run in batch.work.of_worker(worker):
        if run.leased and (run.incarnation != presence.incarnation or not presence.online):
            batch.change(lifecycle.shorten(run, ends))


def claim(batch: UnitOfWork, worker: str, claim: wire.Claim) -> None:
    """A worker has room. What its claim was given before, it is given again."""
    before = batch.work.claimed(claim.claim_id)
    if before:
        runs = [run for run in before if run.worker == worker and run.phase is RunPhase.CLAIMED]
        assign(batch, worker, claim.claim_id, runs)
    elif claim.demand == 0:
        batch.standing.pop(worker, None)
    else:
        batch.standing[worker] = PendingClaim(
            claim_id=claim.claim_id, demand=claim.demand, incarnation=claim.incarnation
        )


def assign(batch: UnitOfWork, worker: str, claim_id: str, runs: Iterable[RunRecord]) -> None:
    """Answer a claim."""
    assigned = [_assigned(batch, run) for run in runs]
    answer = wire.Assignment(claim_id=claim_id, runs=assigned)
    batch.say(batch.topics.worker(worker, "rsp"), answer)


def _assigned(batch: UnitOfWork, run: RunRecord) -> wire.AssignedRun:
    order = batch.work.order(run.order_id)
    assert order is not None and run.token is not None
    options = wire.decode(wire.RunOptions, order.options.encode())
    if run.start:
        options = msgspec.structs.replace(options, start=run.start)
    owner, _, clip = run.input.partition("/")
    return wire.AssignedRun(
        lease=wire.Lease(run_id=run.id, attempt=run.attempt, token=run.token),
        lease_s=batch.settings.lease_s,
        payload_limit=batch.settings.payload_limit,
        order_id=run.order_id,
        plan_id=order.plan,
        plan=msgspec.Raw(batch.work.plan(order.plan).encode()),
        input=msgspec.Raw((batch.work.clip(owner, clip) or "{}").encode()),
        options=options,
    )


def beat(batch: UnitOfWork, worker: str, beat: wire.Heartbeat) -> None:
    """These runs are alive; the answer says which of them are not wanted any more."""
    batch.work.load_runs(lease.run_id for lease in beat.leases)
    cancel, abandon = list[wire.Attempt](), list[wire.Attempt]()
    for lease in beat.leases:
        run = batch.work.run(lease.run_id)
        attempt = wire.Attempt(run_id=lease.run_id, attempt=lease.attempt)
        match _judge(batch, run, worker, lease):
            case LeaseCheck.TAKE:
                assert run is not None
                batch.change(lifecycle.renew(run, batch.lease_ends))
                if run.cancelling:
                    cancel.append(attempt)
            case _:
                abandon.append(attempt)
    if cancel or abandon:
        command = wire.Command(cancel=cancel, abandon=abandon)
        batch.say(batch.topics.worker(worker, "cmd"), command)


def release(batch: UnitOfWork, worker: str, release: wire.Release) -> None:
    """These runs were not started, and can go to somebody else."""
    for lease in release.leases:
        run = batch.work.run(lease.run_id)
        if _judge(batch, run, worker, lease) is LeaseCheck.TAKE:
            assert run is not None
            if run.phase is RunPhase.CLAIMED:
                batch.change(lifecycle.hand_back(run, batch.now))


def _judge(batch: UnitOfWork, run: RunRecord | None, worker: str, lease: wire.Lease) -> LeaseCheck:
    if run is None:
        batch.refuse(MessageRefused("unknown", f"run {lease.run_id} is not known"))
        return LeaseCheck.STALE
    found = lifecycle.judge(run, worker, lease.attempt, lease.token)
    if found is LeaseCheck.FORGED:
        batch.refuse(MessageRefused("forged", f"worker '{worker}' has no lease of run {run.id}"))
    return found


# --- reports --------------------------------------------------------------------------------------


def reports(batch: UnitOfWork, worker: str, reports: wire.Reports) -> None:
    """Events of runs: kept, then acknowledged."""
    acks = [_report(batch, worker, one) for one in reports.runs]
    answer = wire.Acks(number=reports.number, acks=acks)
    batch.say(batch.topics.worker(worker, "rsp"), answer)


Read = tuple[AnyEvent, bytes]


def _fact(report: wire.RunReport, raw: msgspec.Raw) -> Read:
    text = bytes(raw)
    try:
        fact = wire.decode_reported(text)
    except wire.WireError as error:
        raise MessageRefused("malformed", f"an event: {error}"[:500]) from error
    if fact.run_id != report.lease.run_id:
        raise MessageRefused("forged", f"an event of run {fact.run_id} among those of another")
    return fact, text


def _report(batch: UnitOfWork, worker: str, report: wire.RunReport) -> wire.Ack:
    """All events of a run are read before any is kept. What cannot be read is refused, and said to
    be: a worker that said it again for ever would hold its lease as long."""
    try:
        facts = [_fact(report, raw) for raw in report.events]
    except MessageRefused as refusal:
        batch.refuse(refusal)
        return _ack(report.lease, -1, f"{refusal.kind}: {refusal.message}")
    return _facts(batch, worker, report.lease, facts)


def _facts(batch: UnitOfWork, worker: str, lease: wire.Lease, facts: list[Read]) -> wire.Ack:
    run = batch.work.run(lease.run_id)
    verdict = _judge(batch, run, worker, lease)
    if run is None or verdict is LeaseCheck.FORGED:
        return _ack(lease, -1, "the run is not this worker's")
    if verdict is LeaseCheck.STALE:
        return _stale(batch, worker, run, lease, facts)
    taken: list[bytes] = []
    for fact, text in facts:
        if fact.seq == run.reported + 1 and run.leased:
            run = _take(batch, run, fact)
            taken.append(_keep(batch, run, fact, text))
    if taken:
        _publish(batch, run, taken)
    return _ack(lease, run.reported)


def _ack(lease: wire.Lease, upto: int, refused: str = "") -> wire.Ack:
    return wire.Ack(run_id=lease.run_id, attempt=lease.attempt, upto=upto, refused=refused)


def _stale(
    batch: UnitOfWork, worker: str, run: RunRecord, lease: wire.Lease, facts: list[Read]
) -> wire.Ack:
    """What was said already is only said again; what is new is kept apart, and refused."""
    last = facts[-1][0].seq
    if lease.attempt == run.attempt and last <= run.reported:
        return _ack(lease, run.reported)
    batch.refuse(MessageRefused("stale", f"run {run.id} is {run.status.value} already"))
    for fact, text in facts:
        row = {"run_id": run.id, "attempt": lease.attempt, "seq": fact.seq, "worker": worker}
        batch.work.add("stale_reports", {**row, "received": batch.now, "body": text.decode()})
    return _ack(lease, last, f"stale: the run is {run.status.value}")


def _take(batch: UnitOfWork, run: RunRecord, fact: AnyEvent) -> RunRecord:
    match fact:
        case RunComplete():
            message = fact.error_message and fact.error_message[:MESSAGE_LIMIT].replace(
                "\0", "\ufffd"
            )
            kind = fact.error_type and fact.error_type[:200].replace("\0", "\ufffd")
            changed = lifecycle.complete(run, fact.seq, fact.reason, kind, message, batch.now)
        case _ if run.phase is RunPhase.CLAIMED:
            changed = lifecycle.start(run, fact.seq, batch.now)
        case _:
            changed = lifecycle.progress(run, fact.seq)
    batch.change(changed)
    return changed


def _keep(batch: UnitOfWork, run: RunRecord, fact: AnyEvent, text: bytes) -> bytes:
    """Keep an event, and its dataclip apart from it; the event as it is kept."""
    id: str | None = None
    if (name := DATACLIP_FIELDS.get(fact.type)) is not None:
        clip = dataclip_of(fact)
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        parts.pop(name, None)
        text = wire.encode(parts)
        named = dataclip_id_of(fact)
        if named is not None and clip is not None:
            batch.work.put_clip(run.id, named, clip.text)
            id = named
    batch.work.put_event(
        EventRow(
            run_id=run.id,
            attempt=run.attempt,
            seq=fact.seq,
            type=fact.type,
            clip=id,
            body=text.decode(),
        )
    )
    return text


def _publish(batch: UnitOfWork, run: RunRecord, events: list[bytes]) -> None:
    said = wire.RunEvents(
        run_id=run.id, attempt=run.attempt, events=[msgspec.Raw(one) for one in events]
    )
    batch.say(batch.topics.run(run.id, "events"), said)
