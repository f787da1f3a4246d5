"""What clients ask: to submit, cancel and retry, and to see. Each gives the JSON of its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from worker.core.status import Status
from worker.errors import LoadError
from worker.fleet.control import lifecycle, views
from worker.fleet.control.admission import admit
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.inbound import first_run
from worker.fleet.control.policy import Policy
from worker.fleet.control.store import queries
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.control.workflow_registry import RegisteredWorkflow, WorkflowRegistry, read_plan
from worker.fleet.messaging import messages as wire


class RequestError(Exception):
    """A request that is refused. ``code`` as in :class:`messages.Failure`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class RequestHandler:
    """Answers clients, by what this control plane knows and allows."""

    def __init__(self, policy: Policy, library: WorkflowRegistry) -> None:
        self._policy = policy
        self._library = library
        self.methods: dict[str, Callable[[UnitOfWork, Any], Any]] = {
            "submit": self.submit,
            "cancel": cancel,
            "retry": self.retry,
            "orders": orders,
            "order": order,
            "run": run,
            "events": events,
            "workers": workers,
            "alerts": alerts,
            "summary": summary,
            "workflows": self.workflows,
        }

    def workflows(self, batch: UnitOfWork, _: wire.Empty) -> Any:
        """The names of the workflows that an order can name."""
        return sorted(self._library.workflows)

    def submit(self, batch: UnitOfWork, wanted: wire.Submit) -> Any:
        """Accept an order, or reject it; one that is there already is told as it is."""
        found = batch.work.order(wanted.order_id)
        if found is None:
            if batch.work.run(wanted.order_id) is not None:
                raise RequestError("conflict", f"'{wanted.order_id}' is the id of a run already")
            found = self._order(batch, wanted, self._known(wanted))
        return order_view(batch, found)

    def _known(self, wanted: wire.Submit) -> RegisteredWorkflow:
        given = bytes(wanted.plan) != b"null"
        if (wanted.workflow is None) is not given:
            raise RequestError("invalid", "an order needs either the name of a workflow, or a plan")
        if given:
            try:
                return read_plan(bytes(wanted.plan))
            except LoadError as error:
                raise RequestError("invalid", f"the workflow cannot be read: {error}") from error
        name = wanted.workflow or ""
        if name not in self._library.workflows:
            known = ", ".join(sorted(self._library.workflows)[:20]) or "none"
            raise RequestError("unknown", f"no workflow is named '{name}' (there are: {known})")
        return self._library.workflows[name]

    def _order(
        self, batch: UnitOfWork, wanted: wire.Submit, known: RegisteredWorkflow
    ) -> WorkOrder:
        found = WorkOrder(
            id=wanted.order_id,
            project=wanted.project,
            workflow=known.name,
            plan=known.plan_id,
            input=f"{wanted.order_id}/input",
            options=wire.encode(wanted.options).decode(),
            priority=wanted.priority,
            status=Status.PENDING,
            created=batch.moment(),
        )
        text = _input(wanted.input)
        reason = self._admitted(batch, wanted.project)
        if reason is not None:
            found = replace(found, status=Status.REJECTED, reason=reason)
            batch.said.ended[Status.REJECTED] += 1
            batch.announce_order(found)
        batch.work.put_plan(known.plan_id, known.plan)
        batch.work.put_clip(wanted.order_id, "input", text)
        batch.work.put_order(found)
        if reason is None:
            found = add_run(batch, found, _first_run(batch, wanted.order_id))
        return found

    def _admitted(self, batch: UnitOfWork, project: str) -> str | None:
        limit = self._policy.of(project)
        if limit.concurrent is None and limit.per_period is None:
            return None
        taken, reason = admit(batch.work.project(project), limit, batch.now)
        batch.work.put_project(taken)
        return reason

    def retry(self, batch: UnitOfWork, wanted: wire.RetryRequest) -> Any:
        """A new run of an order, from the start or from a step; saying it twice makes one."""
        last = find_run(batch, wanted.id)
        found = batch.work.order(last.order_id)
        assert found is not None
        known = batch.work.run(wanted.run_id)
        if known is not None and known.order_id == found.id:
            return order_view(batch, found)
        if known is not None or batch.work.order(wanted.run_id) is not None:
            raise RequestError("conflict", f"'{wanted.run_id}' is the id of something else already")
        newest = batch.work.run(found.last_run or "")
        if newest is not None and not newest.final:
            raise RequestError(
                "conflict", f"run {newest.id} is {newest.status.value}: cancel it, or wait for it"
            )
        start, input = "", found.input
        if wanted.from_step is not None:
            start, input = wanted.from_step, queries.input_of(batch.work, last, wanted.from_step)
            if not input:
                text = f"the input of '{start}' in run {last.id} was not kept: it did not run there"
                raise RequestError("unknown", text)
        if reason := self._admitted(batch, found.project):
            raise RequestError("rejected", reason)
        return order_view(batch, add_run(batch, found, wanted.run_id, start=start, input=input))


def _first_run(batch: UnitOfWork, order_id: str) -> str:
    """The id of an order's first run: the same whoever makes it, and nobody else's."""
    id = first_run(order_id)
    if batch.work.run(id) is None and batch.work.order(id) is None:
        return id
    return f"{order_id[:31]}-{hashlib.sha256(order_id.encode()).hexdigest()[:32]}"


def _input(raw: msgspec.Raw) -> str:
    try:
        state = msgspec.json.decode(bytes(raw))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestError("invalid", f"the input cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise RequestError("invalid", 'the input must be a JSON object, such as {"data": {}}')
    return bytes(raw).decode()


def add_run(
    batch: UnitOfWork, order: WorkOrder, run_id: str, *, start: str = "", input: str = ""
) -> WorkOrder:
    """One more run of an order, which waits from now on."""
    order = replace(order, runs=order.runs + 1, last_run=run_id, status=Status.PENDING, reason=None)
    batch.work.put_order(order)
    moment = batch.moment()
    batch.change(
        RunRecord(
            id=run_id,
            order_id=order.id,
            number=order.runs,
            project=order.project,
            workflow=order.workflow,
            priority=order.priority,
            age=moment,
            start=start,
            input=input or order.input,
            created=moment,
        )
    )
    return order


def cancel(batch: UnitOfWork, ref: wire.RunRef) -> Any:
    """End a run: at once where it waits, else its worker is told. What was cancelled stays so."""
    found = find_run(batch, ref.id)
    if found.phase is RunPhase.FINAL:
        if found.status is not Status.CANCELLED:
            raise RequestError(
                "conflict", f"run {found.id} has ended already: {found.status.value}"
            )
        return views.run_state(found)
    found = lifecycle.cancel(found, batch.now)
    batch.change(found)
    if found.leased and found.worker is not None:
        command = wire.Command(cancel=[wire.Attempt(run_id=found.id, attempt=found.attempt)])
        batch.say(batch.topics.worker(found.worker, "cmd"), command)
    return views.run_state(found)


# --- to see ---------------------------------------------------------------------------------------


def find_run(batch: UnitOfWork, id: str) -> RunRecord:
    """A run by its id, or the last run of an order by the order's."""
    found = batch.work.run(id)
    if found is None:
        order = batch.work.order(id)
        if order is None:
            raise RequestError("unknown", f"there is no run and no order '{id}'")
        if order.last_run is None:
            raise RequestError("unknown", f"order {id} has no run: it was {order.status.value}")
        found = batch.work.run(order.last_run)
    assert found is not None
    return found


def order_view(batch: UnitOfWork, order: WorkOrder) -> dict[str, Any]:
    last = batch.work.run(order.last_run) if order.last_run else None
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(order))
    return {**view, "run": None if last is None else views.run_state(last)}


def orders(batch: UnitOfWork, query: wire.OrderQuery) -> Any:
    return [views.order_state(one) for one in queries.orders(batch.work.connection, query)]


def order(batch: UnitOfWork, ref: wire.OrderRef) -> Any:
    """An order with all of its runs."""
    found = batch.work.order(ref.order_id)
    if found is None:
        raise RequestError("unknown", f"there is no order '{ref.order_id}'")
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(found))
    runs = queries.runs_of(batch.work.connection, found.id)
    return {**view, "all_runs": [views.run_state(one) for one in runs]}


def run(batch: UnitOfWork, ref: wire.RunRef) -> Any:
    """A run with its steps, the number of its last event, how many stale reports there were, and
    the workflow, without what steps are configured with."""
    found = find_run(batch, ref.id)
    order = batch.work.order(found.order_id)
    assert order is not None
    view: dict[str, Any] = msgspec.to_builtins(views.run_state(found))
    return {
        **view,
        "steps": queries.steps_of(batch.work.connection, found),
        "reported": found.reported,
        "stale_reports": queries.stale_of(batch.work.connection, found.id),
        "plan": views.plan_without_secrets(batch.work.plan(order.plan)),
    }


def events(batch: UnitOfWork, query: wire.EventQuery) -> Any:
    found = find_run(batch, query.run_id)
    listed = queries.events_of(batch.work.connection, found, query)
    return {"run": views.run_state(found), "events": listed}


def workers(batch: UnitOfWork, _: wire.Empty) -> Any:
    return queries.workers(batch.work.connection)


def alerts(batch: UnitOfWork, _: wire.Empty) -> Any:
    found = queries.alerts(batch.work.connection)
    batch.work.load_runs(found)
    runs = [run for id in found if (run := batch.work.run(id)) is not None]
    return [views.alert(one) for one in runs]


def summary(batch: UnitOfWork, _: wire.Empty) -> Any:
    return queries.summary(batch.work.connection)
