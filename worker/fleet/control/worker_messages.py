"""Handlers of worker messages: presence, claims, starts, heartbeats, releases and reports."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from worker.core.events import (
    DATACLIP_FIELDS,
    AnyEvent,
    RunComplete,
    dataclip_id_of,
    dataclip_of,
)
from worker.core.status import STATUS_OF_REASON
from worker.fleet.control import run_content
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.erasure import command_erasures
from worker.fleet.control.lifecycle import (
    Completed,
    DeadlinePassed,
    Expired,
    HandedBack,
    LeaseCheck,
    LifecycleEvent,
    Progressed,
    Renewed,
    RunStarted,
    StartConfirmed,
    WorkerDisconnected,
    check_lease,
)
from worker.fleet.control.placement import build_offer, encode_words
from worker.fleet.control.store.recorded_requests import recorded_id
from worker.fleet.control.store.transaction import EventRow, WorkerRow
from worker.fleet.control.unit_of_work import MessageRefused, PendingClaim, UnitOfWork
from worker.fleet.control.uploads import ChunkRefused, store_chunk, use_content
from worker.fleet.control.worker_names import holder, record_contact, refuse_name
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.recorded_lines import detach
from worker.fleet.messaging.state_messages import RunEvents
from worker.fleet.messaging.worker_protocol import (
    MAX_LEASES,
    PROTOCOL,
    Ack,
    Acks,
    Attempt,
    Claim,
    Command,
    Fetch,
    Heartbeat,
    Lease,
    Presence,
    Release,
    Reports,
    RunReport,
    StartRequest,
    Starts,
    attempt_of,
    decode_reported,
    report_number,
)
from worker.version import VERSION

_ENVELOPE_BYTES = 512
RENEWALS_PER_LEASE = 20
"""A lease that has just been renewed by another control plane is not written again."""
MAX_ERROR_TYPE, MAX_ERROR_MESSAGE = 200, 10_000
"""How many characters of a run's error are stored with the run."""


def presence(uow: UnitOfWork, worker: str, presence: Presence) -> None:
    """Record that a worker connected or disconnected, and cut the leases that it cannot renew."""
    known = uow.transaction.worker(worker)
    # The will of a connection that was replaced comes late. Incarnations are not compared by age:
    # they begin with the time of the worker's clock, which may have been ahead before.
    replaced = known is not None and presence.incarnation != known.incarnation
    if replaced and not presence.online:
        raise MessageRefused("stale", f"incarnation {presence.incarnation} has been replaced")
    # An outbox is locked by the process that uses it, so whoever succeeds to one knows that the
    # process before has ended.
    succeeds = known is not None and presence.succeeds == known.incarnation
    if replaced and known is not None and known.online and uow.is_retained and not succeeds:
        raise MessageRefused("stale", f"incarnation {known.incarnation} holds the name by now")
    other = holder(uow, known, presence.incarnation) if presence.online else None
    if other is not None and not succeeds:
        refuse_name(uow, worker, presence.incarnation, other)
    uow.transaction.put_worker(
        WorkerRow(
            name=worker,
            incarnation=presence.incarnation,
            online=presence.online,
            draining=presence.draining,
            capacity=presence.capacity,
            version=presence.version,
            since=uow.now_us,
            offers=_offers(presence) if presence.online or known is None else known.offers,
            heard=uow.now_us,
            host=presence.host,
        )
    )
    pending = uow.pending_claims.get(worker)
    if pending and (pending.incarnation != presence.incarnation or not presence.online):
        del uow.pending_claims[worker]
    if presence.online:
        command_erasures(uow, worker)
    grace_end = uow.now_us + int(uow.settings.disconnect_grace_s * 1e6)
    for run in uow.transaction.leased_runs_of(worker):
        if run.leased and (run.incarnation != presence.incarnation or not presence.online):
            uow.apply(run, WorkerDisconnected(expires=grace_end))


def _offers(presence: Presence) -> str | None:
    """Return what a worker offers, as it is stored; ``None`` for one that does not report it."""
    offer = build_offer(presence.labels, presence.credentials, presence.adaptors)
    if not offer.reported and not offer.words:
        return None
    return encode_words(offer.words) or "[]"


def _check_protocol(uow: UnitOfWork, worker: str, protocol: int) -> None:
    """Refuse the message of a worker whose protocol is another one."""
    if protocol == PROTOCOL:
        return
    older, newer = "worker", "control plane"
    if protocol > PROTOCOL:
        older, newer = newer, older
    text = (
        f"worker '{worker}' uses protocol {protocol}, and the control plane {PROTOCOL}: "
        f"update the {older} to the version of the {newer} (this one is {VERSION})"
    )
    uow.publish(uow.topics.worker(worker, "cmd"), Command(outdated=text))
    raise MessageRefused("outdated", text)


# --- claims and leases ----------------------------------------------------------------------------


def claim(uow: UnitOfWork, worker: str, claim: Claim) -> None:
    """Queue a claim for runs. A repeated claim is answered with the runs that it got."""
    _check_protocol(uow, worker, claim.protocol)
    record_contact(uow, worker, claim.incarnation)
    # Without a lock: another control plane may be starting the runs that it has assigned to it.
    if uow.transaction.answered_claims([claim.claim_id]):
        # After a withdrawal no repetition comes.
        if claim.repeated or claim.demand == 0:
            _answer_again(uow, worker, claim)
    # A worker that drains withdraws its claim.
    elif claim.demand == 0:
        uow.pending_claims.pop(worker, None)
    else:
        uow.pending_claims[worker] = pending_claim(claim)


def is_first(claim: Claim) -> bool:
    """Return True for a claim that has no response yet, and is not withdrawn."""
    return claim.protocol == PROTOCOL and claim.demand > 0 and not claim.repeated


def pending_claim(claim: Claim) -> PendingClaim:
    """Return what is remembered of a claim."""
    return PendingClaim(claim_id=claim.claim_id, demand=claim.demand, incarnation=claim.incarnation)


def _answer_again(uow: UnitOfWork, worker: str, claim: Claim) -> None:
    # Once in a batch: a response has the inputs of many runs, and others would wait for each.
    if (worker, claim.claim_id) in uow.answered:
        return
    uow.answered.add((worker, claim.claim_id))
    claimed = uow.transaction.runs_of_claim(claim.claim_id)
    # Runs that have started since are known to the worker: the assignment arrived.
    runs = [run for run in claimed if run.worker == worker and run.phase is RunPhase.CLAIMED]
    run_content.assign(uow, worker, claim.claim_id, runs)


def fetch(uow: UnitOfWork, worker: str, request: Fetch) -> None:
    """Respond with a chunk of the plan or input of a run, or that the run is leased no more."""
    run = _leased_run(uow, worker, request.lease)
    if run is not None:
        run_content.fetch(uow, worker, request, run)
        return
    command = Command(abandon=[attempt_of(request.lease)])
    uow.publish(uow.topics.worker(worker, "cmd"), command)


def chunk(uow: UnitOfWork, worker: str, chunk: wire.Chunk) -> None:
    """Store a chunk of an event that is too large for a message."""
    refused = ""
    try:
        store_chunk(uow, _owner(worker), chunk)
    except ChunkRefused as refusal:
        if refusal.code == "missing":
            missing = wire.MissingContent(hashes=[chunk.content.hash])
            return uow.publish(uow.topics.worker(worker, "rsp"), missing)
        # Without a response the worker sends the chunk again.
        if refusal.code == "busy":
            raise MessageRefused("busy", str(refusal)) from refusal
        refused = str(refusal)
    response = wire.ChunkStored(hash=chunk.content.hash, offset=chunk.offset, refused=refused)
    uow.publish(uow.topics.worker(worker, "rsp"), response)


def _owner(worker: str) -> str:
    return f"workers/{worker}"


def start(uow: UnitOfWork, worker: str, request: StartRequest) -> None:
    """Start claimed runs, so that their worker may execute them. The commit comes before that."""
    response = uow.starts.get(worker)
    # A response to several requests is no larger than one to the largest request.
    if response is not None and _count(response) + len(request.leases) > MAX_LEASES:
        _publish_starts(uow, worker)
        response = None
    response = response or uow.starts.setdefault(worker, Starts())
    for lease in request.leases:
        run = _leased_run(uow, worker, lease)
        is_started = run is not None and _confirm_start(uow, run)
        (response.started if is_started else response.refused).append(attempt_of(lease))


def publish_starts(uow: UnitOfWork) -> None:
    """Respond to the requests of a batch to start runs, with one message for each worker."""
    handled, uow.outgoing.messages = uow.outgoing.messages, []
    for worker in list(uow.starts):
        _publish_starts(uow, worker)
    # Before a command to cancel such a run, which its worker would not know of.
    uow.outgoing.messages += handled


def _publish_starts(uow: UnitOfWork, worker: str) -> None:
    uow.publish(uow.topics.worker(worker, "rsp"), uow.starts.pop(worker))


def _count(starts: Starts) -> int:
    return len(starts.started) + len(starts.refused)


def _confirm_start(uow: UnitOfWork, run: RunRecord) -> bool:
    # The response to an earlier request was lost: the worker still waits for it.
    if run.phase is RunPhase.STARTED:
        return True
    if run.cancelling:
        uow.apply(run, HandedBack(at=uow.now_us))
        return False
    if run.start_by is not None and run.start_by < uow.now_us:
        uow.apply(run, DeadlinePassed(at=uow.now_us))
        return False
    uow.apply(run, StartConfirmed(at=uow.now_us, expires=uow.lease_end))
    return True


def heartbeat(uow: UnitOfWork, worker: str, heartbeat: Heartbeat) -> None:
    """Renew leases. The response commands the worker to cancel or abandon runs."""
    record_contact(uow, worker, heartbeat.incarnation)
    uow.transaction.load_runs(lease.run_id for lease in heartbeat.leases)
    cancel, abandon = list[Attempt](), list[Attempt]()
    for lease in heartbeat.leases:
        attempt = attempt_of(lease)
        run = _leased_run(uow, worker, lease)
        if run is None:
            abandon.append(attempt)
            continue
        # All control planes receive a heartbeat; one of them writes it.
        if not 0 <= uow.lease_end - run.expires < uow.lease_us // RENEWALS_PER_LEASE:
            uow.apply(run, Renewed(expires=uow.lease_end))
        # Repeated with each heartbeat: the command at the time of the request may be lost.
        if run.cancelling:
            cancel.append(attempt)
    if cancel or abandon:
        command = Command(cancel=cancel, abandon=abandon)
        uow.publish(uow.topics.worker(worker, "cmd"), command)


def release(uow: UnitOfWork, worker: str, release: Release) -> None:
    """Put runs that the worker did not start back into the queue; lose those that it cut short."""
    for lease in release.leases:
        run = _leased_run(uow, worker, lease)
        if run is not None and run.phase is RunPhase.CLAIMED:
            uow.apply(run, HandedBack(at=uow.now_us))
            uow.outgoing.handed_back += 1
    for lease in release.aborted:
        run = _leased_run(uow, worker, lease)
        if run is not None and run.phase is RunPhase.STARTED:
            reason = (
                f"was stopped before the run had ended{release.reason and ': '}{release.reason}"
            )
            uow.apply(run, Expired(at=uow.now_us, reason=reason))


def _leased_run(uow: UnitOfWork, worker: str, lease: Lease) -> RunRecord | None:
    """Look up the run of a lease; ``None`` if the lease is not valid."""
    run = uow.transaction.run(lease.run_id)
    return run if _check_lease(uow, run, worker, lease) is LeaseCheck.VALID else None


def _check_lease(uow: UnitOfWork, run: RunRecord | None, worker: str, lease: Lease) -> LeaseCheck:
    if run is None:
        # Retention may have deleted it: the worker is late, but not an attacker.
        uow.refuse(MessageRefused("unknown", f"there is no run {lease.run_id}"))
        return LeaseCheck.STALE
    check = check_lease(run, worker, lease.attempt, lease.token)
    if check is LeaseCheck.FORGED:
        uow.refuse(MessageRefused("forged", f"worker '{worker}' has no lease of run {run.id}"))
    return check


# --- reports --------------------------------------------------------------------------------------


def reports(uow: UnitOfWork, worker: str, reports: Reports) -> None:
    """Store the events of runs and publish the acknowledgements."""
    acks = [_report(uow, worker, report) for report in reports.runs]
    if uow.missing:
        missing = wire.MissingContent(hashes=uow.missing)
        uow.publish(uow.topics.worker(worker, "rsp"), missing)
        uow.missing = []
    uow.publish(uow.topics.worker(worker, "rsp"), Acks(number=reports.number, acks=acks))


def unreadable_reports(uow: UnitOfWork, worker: str, payload: bytes, reason: str) -> None:
    """Respond to a message of reports that cannot be read, so that it is not sent for ever."""
    number = report_number(payload)
    if number is not None:
        uow.publish(uow.topics.worker(worker, "rsp"), Acks(number=number, acks=[], refused=reason))


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An event with its text, and the lines of a recording that came with it."""

    event: AnyEvent
    text: bytes
    recorded: str


def _parse_event(report: RunReport, raw: msgspec.Raw) -> ParsedEvent:
    text, recorded = detach(bytes(raw))
    try:
        event, text = decode_reported(text)
    except wire.WireError as error:
        raise MessageRefused("malformed", f"an event: {error}"[:500]) from error
    if event.run_id != report.lease.run_id:
        raise MessageRefused("forged", f"an event of run {event.run_id} among those of another")
    return ParsedEvent(event, text, recorded)


def _report(uow: UnitOfWork, worker: str, report: RunReport) -> Ack:
    # All events are parsed before any is stored. A malformed report is refused for good: a worker
    # that retransmits it would never get further, and keep its lease meanwhile.
    events: list[ParsedEvent] = []
    try:
        raw_events = _reported_events(uow, worker, report)
        if raw_events is not None:
            events = [_parse_event(report, raw) for raw in raw_events]
    except MessageRefused as refusal:
        uow.refuse(refusal)
        run = _leased_run(uow, worker, report.lease)
        return Ack(
            run_id=report.lease.run_id,
            attempt=report.lease.attempt,
            upto=-1 if run is None else run.reported,
            refused=f"{refusal.kind}: {refusal.message}",
            set_aside=True,
        )
    return _store_report(uow, worker, report.lease, events)


def _reported_events(uow: UnitOfWork, worker: str, report: RunReport) -> list[msgspec.Raw] | None:
    """Return the events of a report; ``None`` where chunks of it are missing."""
    if report.content is None:
        if not report.events:
            raise MessageRefused("malformed", "a report without events")
        return report.events
    content = use_content(uow, _owner(worker), report.content)
    if content is None:
        uow.missing.append(report.content.hash)
        return None
    return [msgspec.Raw(content)]


def _store_report(uow: UnitOfWork, worker: str, lease: Lease, events: list[ParsedEvent]) -> Ack:
    run = uow.transaction.run(lease.run_id)
    check = _check_lease(uow, run, worker, lease)
    if run is None or check is LeaseCheck.FORGED:
        return _ack(lease, -1, "the run is not leased to this worker")
    if check is LeaseCheck.STALE:
        return _store_stale(uow, worker, run, lease, events)
    return _ack(lease, _accept_events(uow, run, events).reported)


def _accept_events(uow: UnitOfWork, run: RunRecord, events: list[ParsedEvent]) -> RunRecord:
    """Store and publish the events that come next. Return the run after the last of them."""
    accepted: list[bytes] = []
    for parsed in events:
        # Each event is taken once and in order: repeated ones and those after a gap are skipped.
        if parsed.event.seq == run.reported + 1 and run.leased:
            run = uow.apply(run, _lifecycle_event(run, parsed.event))
            accepted.append(_store_event(uow, run, parsed))
    if accepted:
        _publish_events(uow, run, accepted)
    return run


def _ack(lease: Lease, upto: int, refused: str = "") -> Ack:
    return Ack(run_id=lease.run_id, attempt=lease.attempt, upto=upto, refused=refused)


def _store_stale(
    uow: UnitOfWork, worker: str, run: RunRecord, lease: Lease, events: list[ParsedEvent]
) -> Ack:
    last = events[-1].event.seq if events else run.reported
    # A retransmission of what was accepted in time is not stale: its acknowledgement was lost.
    if lease.attempt == run.attempt and last <= run.reported:
        return _ack(lease, run.reported)
    uow.refuse(MessageRefused("stale", f"run {run.id} is {run.status.value} already"))
    order = uow.transaction.order(run.order_id)
    # What was erased does not come back in a late report.
    for parsed in events if order is None or order.erased is None else ():
        row = {
            "run_id": run.id, "attempt": lease.attempt, "seq": parsed.event.seq, "worker": worker,
            "received": uow.now_us, "body": parsed.text.decode(),
        }  # fmt: skip
        uow.transaction.add("stale_reports", row)
    return _ack(lease, last, f"stale: the run is {run.status.value}")


def _lifecycle_event(run: RunRecord, event: AnyEvent) -> LifecycleEvent:
    if isinstance(event, RunComplete):
        return Completed(
            seq=event.seq,
            at=event.timestamp,
            status=STATUS_OF_REASON[event.reason],
            error_type=_text(event.error_type, MAX_ERROR_TYPE),
            error_message=_text(event.error_message, MAX_ERROR_MESSAGE),
        )
    if run.reported < 0:
        return RunStarted(seq=event.seq, at=event.timestamp)
    return Progressed(seq=event.seq)


def _text(text: str | None, limit: int) -> str | None:
    # PostgreSQL has no text with a NUL in it.
    return text and text[:limit].replace("\0", "\ufffd")


def _store_event(uow: UnitOfWork, run: RunRecord, parsed: ParsedEvent) -> bytes:
    """Store an event, and apart from it its dataclip and what was recorded. Return the event."""
    event, text = parsed.event, parsed.text
    if parsed.recorded and uow.stores_outputs(run.project):
        uow.transaction.put_dataclip(run.id, recorded_id(run.attempt, event.seq), parsed.recorded)
    stored_id: str | None = None
    if (name := DATACLIP_FIELDS.get(event.type)) is not None:
        dataclip, dataclip_id = dataclip_of(event), dataclip_id_of(event)
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        fields.pop(name, None)
        text = wire.encode(fields)
        if dataclip_id is not None and dataclip is not None and uow.stores_outputs(run.project):
            uow.transaction.put_dataclip(run.id, dataclip_id, dataclip.text)
            stored_id = dataclip_id
    uow.transaction.put_event(
        EventRow(
            run_id=run.id,
            attempt=run.attempt,
            seq=event.seq,
            type=event.type,
            clip=stored_id,
            body=text.decode(),
        )
    )
    return text


def _publish_events(uow: UnitOfWork, run: RunRecord, events: list[bytes]) -> None:
    for part in _split(events, uow.settings.max_message_bytes - _ENVELOPE_BYTES):
        message = RunEvents(
            run_id=run.id, attempt=run.attempt, events=[msgspec.Raw(event) for event in part]
        )
        uow.publish(uow.topics.run(run.id, "events"), message)


def _split(events: list[bytes], max_bytes: int) -> list[list[bytes]]:
    """Split events into messages. One that is too large is left out: followers query it."""
    parts: list[list[bytes]] = [[]]
    room = max_bytes
    for event in events:
        if len(event) > room:
            parts.append([])
            room = max_bytes
        if len(event) <= max_bytes:
            parts[-1].append(event)
            room -= len(event) + 1
    # A message without events notifies followers that there is something to query.
    return [part for part in parts if part] or [[]]
