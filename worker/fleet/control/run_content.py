"""Plans and inputs of assigned runs: in the assignment where there is room, else in chunks."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.fleet.control.entities import RunRecord
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import chunk_at
from worker.fleet.messaging.worker_protocol import AssignedRun, Assignment, Fetch, Fetched, Lease

ASSIGNED_BYTES = 768
"""The size of an assigned run without its plan, its input and its options."""
MAX_INLINE_BYTES = 64 * 1024
"""The largest plan or input that is part of an assignment."""


def assigned_bytes(uow: UnitOfWork, run: RunRecord) -> int:
    """Estimate what a run takes of an assignment, at least."""
    order = uow.transaction.order(run.order_id)
    assert order is not None
    return ASSIGNED_BYTES + len(order.options.encode())


def assign(uow: UnitOfWork, worker: str, claim_id: str, runs: Iterable[RunRecord]) -> None:
    """Publish the response to a claim, with plans and inputs as far as there is room.

    A plan is in the first response to a worker that needs it: where that is lost, it is fetched.
    """
    run_list = list(runs)
    room = uow.settings.max_message_bytes - sum(assigned_bytes(uow, run) for run in run_list)
    assigned = []
    for run in run_list:
        view = _assigned(uow, run, room)
        room -= len(bytes(view.plan)) + len(bytes(view.input))
        assigned.append(view)
    assignment = Assignment(claim_id=claim_id, runs=assigned)
    uow.publish(uow.topics.worker(worker, "rsp"), assignment)


def _assigned(uow: UnitOfWork, run: RunRecord, room: int) -> AssignedRun:
    order = uow.transaction.order(run.order_id)
    assert order is not None and run.token is not None
    options = wire.decode(wire.RunOptions, order.options.encode())
    # A retry from a step starts there, whatever the order requested.
    if run.start:
        options = msgspec.structs.replace(options, start=run.start)
    plan_id = run.plan_id or order.plan_id
    is_new = uow.run_contents.is_first(run.incarnation or "", plan_id)
    plan = _inline_plan(uow, plan_id, room) if is_new else wire.NULL
    return AssignedRun(
        lease=Lease(run_id=run.id, attempt=run.attempt, token=run.token),
        lease_s=uow.settings.lease_s,
        payload_limit=uow.settings.max_payload_bytes,
        order_id=run.order_id,
        plan_id=plan_id,
        plan=plan,
        input=_inline_input(uow, run, room - len(bytes(plan))),
        options=options,
    )


def _inline_plan(uow: UnitOfWork, plan_id: str, room: int) -> msgspec.Raw:
    plan = uow.secrets.open_plan(uow.transaction.plan(plan_id)).encode()
    return msgspec.Raw(plan) if len(plan) <= min(room, MAX_INLINE_BYTES) else wire.NULL


def _inline_input(uow: UnitOfWork, run: RunRecord, room: int) -> msgspec.Raw:
    room = min(room, MAX_INLINE_BYTES)
    stored = uow.transaction.short_dataclip(*input_of(run), max(0, room))
    if stored is None:
        return wire.NULL
    input = uow.secrets.open_input(stored or "{}").encode()
    return msgspec.Raw(input) if len(input) <= room else wire.NULL


def input_of(run: RunRecord) -> tuple[str, str]:
    owner, _, dataclip = run.input.partition("/")
    return owner, dataclip


def fetch(uow: UnitOfWork, worker: str, request: Fetch, run: RunRecord) -> None:
    """Publish a chunk of the plan or the input of a leased run."""
    # By the token, as an id may be used again after its run was deleted.
    key = request.lease.token, request.part
    content, ref = uow.run_contents.get(key) or uow.run_contents.put(
        key, _content_of(uow, run, request.part)
    )
    chunk = chunk_at(content, ref, request.offset, uow.settings.max_message_bytes)
    fetched = Fetched(run_id=run.id, attempt=request.lease.attempt, part=request.part, chunk=chunk)
    uow.publish(uow.topics.worker(worker, "rsp"), fetched, bulk=True)


def _content_of(uow: UnitOfWork, run: RunRecord, part: str) -> bytes:
    if part == "input":
        return uow.secrets.open_input(uow.transaction.dataclip(*input_of(run)) or "{}").encode()
    order = uow.transaction.order(run.order_id)
    assert order is not None
    return uow.secrets.open_plan(uow.transaction.plan(run.plan_id or order.plan_id)).encode()
