"""Handlers of client requests: submit, cancel, retry, and queries. Each returns the JSON result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from worker.core.status import Status
from worker.errors import LoadError, UsageError
from worker.fleet.control import views
from worker.fleet.control.admission import admit
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.inbound import first_run_id
from worker.fleet.control.inline_secrets import SecretRefused
from worker.fleet.control.lifecycle import CancelRequested
from worker.fleet.control.policy import ALL_RIGHTS, ClientRights, Policy, Right
from worker.fleet.control.store import queries
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.control.workflow_registry import RegisteredWorkflow, WorkflowRegistry, read_plan
from worker.fleet.messaging import messages as wire
from worker.sandbox.limits import resolve_limits


class RequestError(Exception):
    """A request that is refused. ``code`` as in :class:`messages.Failure`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


# Everything else reads.
_RIGHTS: dict[str, Right] = {"submit": "submit", "cancel": "cancel", "retry": "retry"}


class RequestHandler:
    """The handlers of all requests, with the policy and the workflows that they depend on."""

    def __init__(self, policy: Policy, registry: WorkflowRegistry) -> None:
        self._policy = policy
        self._registry = registry
        self.methods: dict[str, Callable[[UnitOfWork, Any], Any]] = {
            "submit": self.submit,
            "cancel": cancel,
            "retry": self.retry,
            "orders": list_orders,
            "order": get_order,
            "runs": list_runs,
            "run": get_run,
            "events": list_events,
            "workers": list_workers,
            "alerts": list_alerts,
            "summary": get_summary,
            "workflows": self.list_workflows,
        }

    def handle(self, uow: UnitOfWork, client: str, method: str, content: Any) -> Any:
        """Handle the request of a user of the broker. Raises :class:`RequestError`."""
        rights = self._policy.rights_of(client)
        right = _RIGHTS.get(method, "read")
        if right not in rights.may:
            raise RequestError("denied", f"'{client}' may not {right} (policy: clients)")
        if rights.projects is not None:
            _check_projects(uow, rights.projects, method, content)
        if method == "submit":
            return self._submit_as(uow, rights, content)
        return self.methods[method](uow, content)

    def list_workflows(self, uow: UnitOfWork, _: wire.Empty) -> Any:
        return sorted(self._registry.workflows)

    # --- submit -----------------------------------------------------------------------------------

    def submit(self, uow: UnitOfWork, request: wire.Submit) -> Any:
        """Accept or reject an order. A repeated request returns the order as it is by now."""
        return self._submit_as(uow, ALL_RIGHTS, request)

    def _submit_as(self, uow: UnitOfWork, rights: ClientRights, request: wire.Submit) -> Any:
        if bytes(request.plan) != b"null" and "plan" not in rights.may:
            raise RequestError("denied", "a plan of your own is not allowed (policy: clients)")
        order = uow.transaction.order(request.order_id)
        if order is None:
            if uow.transaction.run(request.order_id) is not None:
                raise RequestError("conflict", f"the id '{request.order_id}' is in use already")
            workflow = self._workflow_of(request)
            _check_limits(request.options)
            self._check_credentials(request, workflow)
            order = self._create_order(uow, request, workflow)
        # Else whoever guesses an id would learn what has become of somebody's order.
        elif not rights.may_read(order.project) and not self._is_repeated(uow, request, order):
            raise RequestError("conflict", f"the id '{request.order_id}' is in use already")
        view = order_view(uow, order)
        return view if rights.may_read(order.project) else _receipt(view)

    def _is_repeated(self, uow: UnitOfWork, request: wire.Submit, order: WorkOrder) -> bool:
        """Return True if an order was submitted by this very request."""
        stored = uow.transaction.dataclip(order.id, "input") or ""
        return (
            request.project == order.project
            and wire.encode(request.options).decode() == order.options
            and self._workflow_of(request).plan_id == order.plan_id
            and _same_json(uow.secrets.open_input(stored), bytes(request.input))
        )

    def _check_credentials(self, request: wire.Submit, workflow: RegisteredWorkflow) -> None:
        # A plan of its own can have any name, so the name proves nothing.
        name = None if request.workflow is None else workflow.name
        for credential in sorted(workflow.credentials):
            if not self._policy.may_name(credential, request.project, name):
                place = "in an order with a plan of its own" if name is None else f"in '{name}'"
                raise RequestError(
                    "denied",
                    f"the project '{request.project}' may not name the credential"
                    f" '{credential[:100]}' {place} (policy: credentials)",
                )

    def _workflow_of(self, request: wire.Submit) -> RegisteredWorkflow:
        has_plan = bytes(request.plan) != b"null"
        if (request.workflow is None) is not has_plan:
            raise RequestError("invalid", "an order needs either the name of a workflow, or a plan")
        if has_plan:
            try:
                return read_plan(bytes(request.plan))
            except LoadError as error:
                raise RequestError("invalid", f"the workflow cannot be read: {error}") from error
        name = request.workflow or ""
        if name not in self._registry.workflows:
            names = ", ".join(sorted(self._registry.workflows)[:20]) or "none"
            raise RequestError("unknown", f"no workflow is named '{name}' (there are: {names})")
        return self._registry.workflows[name]

    def _create_order(
        self, uow: UnitOfWork, request: wire.Submit, workflow: RegisteredWorkflow
    ) -> WorkOrder:
        order = WorkOrder(
            id=request.order_id,
            project=request.project,
            workflow=workflow.name,
            plan_id=workflow.plan_id,
            input=f"{request.order_id}/input",
            options=wire.encode(request.options).decode(),
            priority=request.priority,
            status=Status.PENDING,
            created=uow.next_timestamp(),
        )
        # Checked before the run is counted: a request that fails must not use up the limit.
        try:
            input_text = uow.secrets.seal_input(_checked_input(request.input))
            plan = uow.secrets.seal_plan(workflow.plan)
        except SecretRefused as error:
            raise RequestError("invalid", str(error)) from error
        reason = self._rejection(uow, request.project)
        if reason is not None:
            order = replace(order, status=Status.REJECTED, reason=reason)
            uow.outgoing.ended[Status.REJECTED] += 1
            uow.publish_order_state(order)
        uow.transaction.put_plan(workflow.plan_id, plan)
        uow.transaction.put_dataclip(request.order_id, "input", input_text)
        uow.transaction.put_order(order)
        if reason is None:
            order = add_run(uow, order, _first_run_id(uow, request.order_id))
        return order

    def _rejection(self, uow: UnitOfWork, project: str) -> str | None:
        """Count one more run of a project. Return why it is rejected, or ``None``."""
        limit = self._policy.of(project)
        # Reading a project locks its row: projects without limits need not wait for each other.
        if limit.concurrent is None and limit.per_period is None:
            return None
        counted, reason = admit(uow.transaction.project(project), limit, uow.now_us)
        uow.transaction.put_project(counted)
        return reason

    # --- retry ------------------------------------------------------------------------------------

    def retry(self, uow: UnitOfWork, request: wire.RetryRequest) -> Any:
        """Add a run to an order, from the start or from a step. A repeated request adds none."""
        last = find_run(uow, request.id)
        order = uow.transaction.order(last.order_id)
        assert order is not None
        existing = uow.transaction.run(request.run_id)
        # The request is a retransmission: its first arrival has added the run.
        if existing is not None and existing.order_id == order.id:
            return order_view(uow, order)
        self._check_retry(uow, request, order, existing)
        start, input = "", order.input
        if request.from_step is not None:
            start, input = request.from_step, _input_of_step(uow, last, request.from_step)
        if reason := self._rejection(uow, order.project):
            raise RequestError("rejected", reason)
        return order_view(uow, add_run(uow, order, request.run_id, start=start, input=input))

    def _check_retry(
        self,
        uow: UnitOfWork,
        request: wire.RetryRequest,
        order: WorkOrder,
        existing: RunRecord | None,
    ) -> None:
        if existing is not None or uow.transaction.order(request.run_id) is not None:
            raise RequestError("conflict", f"'{request.run_id}' is in use as another id")
        newest = uow.transaction.run(order.last_run or "")
        if newest is not None and not newest.final:
            raise RequestError(
                "conflict", f"run {newest.id} is {newest.status.value}: cancel it, or wait for it"
            )


def _check_projects(uow: UnitOfWork, projects: frozenset[str], method: str, content: Any) -> None:
    """Raise :class:`RequestError` where a request is about another project."""
    match content:
        case wire.Submit(project=project):
            allowed = project in projects
        case wire.OrderQuery(project=queried):
            allowed = queried in projects
        case wire.RunRef(id=id) | wire.RetryRequest(id=id) | wire.EventQuery(run_id=id):
            # One that does not exist looks the same: ids of others cannot be tried out.
            allowed = _project_of(uow, id) in projects
        case wire.OrderRef(order_id=id):
            allowed = _project_of(uow, id) in projects
        case _:
            # Summaries, alerts and workers are about all projects.
            allowed = method == "workflows"
    if not allowed:
        text = f"only for the projects {', '.join(sorted(projects))} (policy: clients)"
        raise RequestError("denied", text)


def _project_of(uow: UnitOfWork, id: str) -> str | None:
    run = uow.transaction.run(id)
    if run is not None:
        return run.project
    order = uow.transaction.order(id)
    return None if order is None else order.project


def _receipt(view: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may know of its order that may not read orders."""
    rejected = view["status"] == Status.REJECTED.value
    status = view["status"] if rejected else Status.PENDING.value
    fields = {name: view[name] for name in ("order_id", "project", "workflow", "last_run")}
    return {**fields, "status": status, "reason": view.get("reason"), "run": None}


def _same_json(stored: str, submitted: bytes) -> bool:
    return bool(msgspec.json.decode(stored) == msgspec.json.decode(submitted))


def _check_limits(options: wire.RunOptions) -> None:
    try:
        resolve_limits({}, options.limits())
    except UsageError as error:
        raise RequestError("invalid", f"options.{error}") from error


def _input_of_step(uow: UnitOfWork, run: RunRecord, step: str) -> str:
    input = queries.input_of(uow.transaction, run, step)
    if not input:
        text = f"no input of '{step}' is stored for run {run.id}: it did not run there"
        raise RequestError("unknown", text)
    return input


def _first_run_id(uow: UnitOfWork, order_id: str) -> str:
    """Choose an unused id for an order's first run: the same on every control plane."""
    id = first_run_id(order_id)
    if uow.transaction.run(id) is None and uow.transaction.order(id) is None:
        return id
    return f"{order_id[:31]}-{hashlib.sha256(order_id.encode()).hexdigest()[:32]}"


def _checked_input(raw: msgspec.Raw) -> str:
    try:
        state = msgspec.json.decode(bytes(raw))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestError("invalid", f"the input cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise RequestError("invalid", 'the input must be a JSON object, such as {"data": {}}')
    return bytes(raw).decode()


def add_run(
    uow: UnitOfWork, order: WorkOrder, run_id: str, *, start: str = "", input: str = ""
) -> WorkOrder:
    """Add a run to an order and to the queue. Return the order with the run as its last."""
    order = replace(order, runs=order.runs + 1, last_run=run_id, status=Status.PENDING, reason=None)
    uow.transaction.put_order(order)
    created = uow.next_timestamp()
    uow.add_run(
        RunRecord(
            id=run_id,
            order_id=order.id,
            number=order.runs,
            project=order.project,
            workflow=order.workflow,
            priority=order.priority,
            age=created,
            start=start,
            input=input or order.input,
            created=created,
        )
    )
    return order


# --- cancel ---------------------------------------------------------------------------------------


def cancel(uow: UnitOfWork, ref: wire.RunRef) -> Any:
    """Cancel a waiting run, or command its worker to. A repeated request has no further effect."""
    run = find_run(uow, ref.id)
    if run.final:
        if run.status is not Status.CANCELLED:
            raise RequestError("conflict", f"run {run.id} has ended already: {run.status.value}")
        return views.run_state(run)
    run = uow.apply(run, CancelRequested(at=uow.now_us))
    if run.leased and run.worker is not None:
        command = wire.Command(cancel=[wire.Attempt(run_id=run.id, attempt=run.attempt)])
        uow.publish(uow.topics.worker(run.worker, "cmd"), command)
    return views.run_state(run)


# --- queries --------------------------------------------------------------------------------------


def find_run(uow: UnitOfWork, id: str) -> RunRecord:
    """Find the run with an id, or the last run of the order with that id."""
    run = uow.transaction.run(id)
    if run is None:
        order = uow.transaction.order(id)
        if order is None:
            raise RequestError("unknown", f"there is no run and no order '{id}'")
        if order.last_run is None:
            raise RequestError("unknown", f"order {id} has no run: it was {order.status.value}")
        run = uow.transaction.run(order.last_run)
    assert run is not None
    return run


def order_view(uow: UnitOfWork, order: WorkOrder) -> dict[str, Any]:
    last = uow.transaction.run(order.last_run) if order.last_run else None
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(order))
    return {**view, "run": None if last is None else views.run_state(last)}


def list_orders(uow: UnitOfWork, query: wire.OrderQuery) -> Any:
    orders = queries.orders(uow.transaction.connection, query)
    return [views.order_state(order) for order in orders]


def get_order(uow: UnitOfWork, ref: wire.OrderRef) -> Any:
    """Return an order with all of its runs."""
    order = uow.transaction.order(ref.order_id)
    if order is None:
        raise RequestError("unknown", f"there is no order '{ref.order_id}'")
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(order))
    runs = queries.runs_of(uow.transaction.connection, order.id)
    return {**view, "all_runs": [views.run_state(run) for run in runs]}


def list_runs(uow: UnitOfWork, query: wire.RunQuery) -> Any:
    return [views.run_state(run) for run in queries.runs(uow.transaction.connection, query)]


def get_run(uow: UnitOfWork, ref: wire.RunRef) -> Any:
    """Return a run with its steps, its plan, and the number of the last event reported."""
    run = find_run(uow, ref.id)
    order = uow.transaction.order(run.order_id)
    assert order is not None
    connection = uow.transaction.connection
    view: dict[str, Any] = msgspec.to_builtins(views.run_state(run))
    return {
        **view,
        "steps": queries.steps_of(connection, run),
        "reported": run.reported,
        "stale_reports": queries.count_stale_reports(connection, run.id),
        "plan": views.plan_without_secrets(uow.transaction.plan(order.plan_id)),
    }


def list_events(uow: UnitOfWork, query: wire.EventQuery) -> Any:
    run = find_run(uow, query.run_id)
    events = queries.events_of(uow.transaction.connection, run, query)
    return {"run": views.run_state(run), "events": events}


def list_workers(uow: UnitOfWork, _: wire.Empty) -> Any:
    return queries.workers(uow.transaction.connection)


def list_alerts(uow: UnitOfWork, _: wire.Empty) -> Any:
    run_ids = queries.alerts(uow.transaction.connection)
    uow.transaction.load_runs(run_ids)
    runs = [run for id in run_ids if (run := uow.transaction.run(id)) is not None]
    return [views.alert(run) for run in runs]


def get_summary(uow: UnitOfWork, _: wire.Empty) -> Any:
    return queries.summary(uow.transaction.connection)
