"""Handlers of client requests: submit, cancel, retry, and queries. Each returns the JSON result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from worker.core.status import Status
from worker.errors import LoadError
from worker.fleet.control import views
from worker.fleet.control.admission import rejection
from worker.fleet.control.chunked_requests import store_client_chunk, uploaded_request
from worker.fleet.control.client_queries import (
    count_matching,
    find_order,
    find_run,
    get_dataclip,
    get_input,
    get_order,
    get_recorded,
    get_run,
    get_summary,
    list_alerts,
    list_events,
    list_orders,
    list_runs,
    list_workers,
    order_view,
)
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.inline_secrets import SecretRefused
from worker.fleet.control.lifecycle import CancelRequested
from worker.fleet.control.operator_requests import OperationsHandler, record_on_order
from worker.fleet.control.order_content import (
    check_limits,
    check_times,
    checked_input,
    conflict_message,
    content_hash,
    derived_id,
    join_tags,
)
from worker.fleet.control.placement import (
    LABEL,
    decode_words,
    encode_words,
    needed_by_plan,
    needed_credentials,
)
from worker.fleet.control.policy import ALL_RIGHTS, ClientRights, OverLimit, Policy
from worker.fleet.control.request_rights import check_projects, denial, receipt, rights_for
from worker.fleet.control.run_creation import add_run, unused_run_id
from worker.fleet.control.store import queries
from worker.fleet.control.store.deployments import deployed_names
from worker.fleet.control.triggers.deploying import (
    DeploymentHandler,
    DeploymentRules,
    present_workflow,
)
from worker.fleet.control.unique_orders import (
    RECHECK_US,
    replace_queued,
    running,
    unfinished_with_key,
)
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.control.workflow_registry import RegisteredWorkflow, WorkflowRegistry, read_plan
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import RetryRequest, RunRef, Submit, WorkflowQuery
from worker.fleet.messaging.operation_messages import PauseRequest
from worker.fleet.messaging.trigger_messages import Deploy
from worker.fleet.messaging.worker_protocol import Attempt, Command
from worker.workflow.documents.data import did_you_mean


class RequestHandler:
    """The handlers of all requests, with the policy and the workflows that they depend on."""

    def __init__(
        self, policy: Policy, registry: WorkflowRegistry, rules: DeploymentRules = DeploymentRules()
    ) -> None:
        self._policy = policy
        self._registry = registry
        self.methods: dict[str, Callable[[UnitOfWork, Any], Any]] = {
            "submit": self.submit,
            "chunk": store_client_chunk,
            "cancel": cancel,
            "retry": self.retry,
            "orders": list_orders,
            "order": get_order,
            "runs": list_runs,
            "count": count_matching,
            "run": get_run,
            "input": get_input,
            "events": list_events,
            "dataclip": get_dataclip,
            "recorded": get_recorded,
            "workers": list_workers,
            "alerts": list_alerts,
            "summary": get_summary,
            "workflows": self.list_workflows,
            **OperationsHandler(cancel=_cancel_order, retry=self._retry_order).methods,
            **DeploymentHandler(policy, registry, rules).methods,
        }

    def handle(self, uow: UnitOfWork, client: str, method: str, content: Any) -> Any:
        """Handle the request of a user of the broker. Raises :class:`RequestError`."""
        rights = self._policy.rights_of(client)
        allowing = rights_for(method, content)
        uow.client = client
        if not rights.may.intersection(allowing):
            raise RequestError("denied", denial(client, allowing[0]))
        match content:
            case Submit(content=wire.ContentRef() as ref):
                content = uploaded_request(uow, Submit, ref)
            case Deploy(content=wire.ContentRef() as ref):
                content = uploaded_request(uow, Deploy, ref)
            case PauseRequest(workflow=str() as name):
                content = replace(content, workflow=self._registry.own_name(name))
        if rights.projects is not None:
            check_projects(uow, rights.projects, method, content)
        if method == "submit":
            return self._submit_as(uow, rights, content)
        if method == "workflows":
            return self._known_workflows(uow, rights.projects, keys=content.keys)
        return self.methods[method](uow, content)

    def list_workflows(self, uow: UnitOfWork, query: WorkflowQuery) -> Any:
        return self._known_workflows(uow, None, keys=query.keys)

    def _known_names(self, uow: UnitOfWork, projects: Collection[str] | None) -> list[str]:
        """List the workflows that orders of some projects, or of all, can name."""
        deployed = deployed_names(uow.transaction.connection, projects)
        return sorted({*self._registry.workflows, *deployed})

    def _known_workflows(
        self, uow: UnitOfWork, projects: Collection[str] | None, *, keys: bool
    ) -> list[Any]:
        names = self._known_names(uow, projects)
        if not keys:
            return names
        others = self._registry.other_names()
        known = {other for keys_of_one in others.values() for other in keys_of_one}
        return [{"name": name, "keys": others.get(name, [])} for name in names if name not in known]

    # --- submit -----------------------------------------------------------------------------------

    def submit(self, uow: UnitOfWork, request: Submit) -> Any:
        """Accept or reject an order. A repeated request returns the order as it is by now."""
        return self._submit_as(uow, ALL_RIGHTS, request)

    def _submit_as(self, uow: UnitOfWork, rights: ClientRights, request: Submit) -> Any:
        if bytes(request.plan) != b"null" and "plan" not in rights.may:
            raise RequestError("denied", "a plan of your own is not allowed (policy: clients)")
        if not request.order_id:
            request = replace(request, order_id=derived_id(uow, request))
        order = uow.transaction.order(request.order_id)
        may_read = rights.may_read(request.project if order is None else order.project)
        if order is None:
            order = self._first_submitted(uow, request)
        # Else whoever guesses an id would learn what has become of somebody's order.
        elif not may_read and order.content != content_hash(request):
            raise RequestError("conflict", f"the id '{request.order_id}' is in use already")
        else:
            order = self._submitted_again(uow, order, request)
        view = order_view(uow, order)
        return view if may_read else receipt(view)

    def _first_submitted(self, uow: UnitOfWork, request: Submit) -> WorkOrder:
        if uow.transaction.run(request.order_id) is not None:
            raise RequestError("conflict", f"the id '{request.order_id}' is in use already")
        workflow = self._workflow_of(uow, request)
        check_limits(request.options)
        check_times(request)
        if request.options.record and not uow.stores_outputs(request.project):
            text = f"the project '{request.project}' stores no outputs, and thus no recordings"
            raise RequestError("invalid", f"{text} (policy: output_dataclips, keep_data)")
        # A plan of its own can have any name, so the name proves nothing.
        name = None if request.workflow is None else workflow.name
        self._check_credentials(request.project, workflow.credentials, name)
        return self._create_order(uow, request, workflow)

    def create(self, uow: UnitOfWork, request: Submit, workflow: RegisteredWorkflow) -> WorkOrder:
        """Make the order of a trigger. Raises :class:`RequestError`."""
        self._check_credentials(request.project, workflow.credentials, workflow.name)
        return self._create_order(uow, request, workflow)

    def cancel_order(self, uow: UnitOfWork, order_id: str) -> None:
        """Cancel the last run of an order, if it has one that has not ended."""
        _, run = find_order(uow, order_id)
        if run is not None and not run.final:
            cancel(uow, RunRef(id=run.id))

    def _check_credentials(
        self, project: str, credentials: Iterable[str], name: str | None
    ) -> None:
        """Raise :class:`RequestError` where a project may not name a credential.

        ``name`` is that of a registered workflow; ``None`` is a plan of an order's own.
        """
        if (refused := self._policy.first_refused(credentials, project, name)) is not None:
            place = "in an order with a plan of its own" if name is None else f"in '{name}'"
            raise RequestError(
                "denied",
                f"the project '{project}' may not name the credential"
                f" '{refused[:100]}' {place} (policy: credentials)",
            )

    def _submitted_again(self, uow: UnitOfWork, order: WorkOrder, request: Submit) -> WorkOrder:
        content = content_hash(request)
        # Orders of earlier versions have no hash.
        if order.content not in (None, content):
            raise RequestError("conflict", conflict_message(order, content))
        # A retransmission gets the rejection again: its client may have received that already.
        if order.last_run is not None or (uow.request_id and uow.request_id == order.request):
            return order
        reason = self._rejection(uow, order.project)
        if reason is None:
            return add_run(uow, order, unused_run_id(uow, order))
        order = replace(order, reason=reason, request=uow.request_id or None)
        uow.transaction.put_order(order)
        uow.publish_order_state(order)
        return order

    def _workflow_of(self, uow: UnitOfWork, request: Submit) -> RegisteredWorkflow:
        has_plan = bytes(request.plan) != b"null"
        if (request.workflow is None) is not has_plan:
            raise RequestError("invalid", "an order needs either the name of a workflow, or a plan")
        if has_plan:
            try:
                return read_plan(bytes(request.plan))
            except LoadError as error:
                raise RequestError("invalid", f"the workflow cannot be read: {error}") from error
        return self._registered(uow, request.project, request.workflow or "")

    def _registered(self, uow: UnitOfWork, project: str, name: str) -> RegisteredWorkflow:
        if (workflow := self._registry.workflows.get(name)) is not None:
            return workflow
        if (workflow := present_workflow(uow, project, name)) is not None:
            return workflow
        # Only those of the project: the client may not know of others.
        known = self._known_names(uow, [project])
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        listed = f" (there are: {', '.join(known[:20]) or 'none'}{more})"
        hint = did_you_mean(name, known) or listed
        raise RequestError("unknown", f"no workflow is named '{name}'{hint}")

    def _create_order(
        self, uow: UnitOfWork, request: Submit, workflow: RegisteredWorkflow
    ) -> WorkOrder:
        # Checked before the run is counted: a request that fails must not use up the limit.
        input_text = _sealed(uow.secrets.seal_input, checked_input(request.input))
        plan = _plan_for_store(uow, workflow)
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
            ref=request.workflow,
            content=content_hash(request),
            unique_key=request.unique,
            retry=None if request.retry is None else wire.encode(request.retry).decode(),
            tags=join_tags(request.tags),
            placement=encode_words(request.placement),
            needs=self._needs(request.project, workflow, request.placement),
        )
        over_limit = request.over_limit or self._policy.of(request.project).over_limit
        with_key = unfinished_with_key(uow, order)
        waits = over_limit == "queue" and running(with_key) is not None
        reason = self._rejection(uow, request.project, over_limit)
        if reason is None and not waits and (other := running(with_key)) is not None:
            reason = f"order {other.order_id} with the key '{request.unique}' has not ended"
        if reason is None:
            replace_queued(uow, with_key, order)
        else:
            order = replace(
                order, status=Status.REJECTED, reason=reason, request=uow.request_id or None
            )
            uow.outgoing.ended[Status.REJECTED] += 1
            uow.publish_order_state(order)
        uow.transaction.put_plan(workflow.plan_id, plan)
        uow.transaction.put_dataclip(request.order_id, "input", input_text)
        uow.transaction.put_order(order)
        if reason is None:
            order = add_run(
                uow,
                order,
                unused_run_id(uow, order),
                not_before=request.not_before or 0,
                start_by=request.start_by,
                until=uow.now_us + RECHECK_US if waits else 0,
            )
        return order

    def _needs(self, project: str, workflow: RegisteredWorkflow, labels: Iterable[str] = ()) -> str:
        labels = {*labels, *self._policy.of(project).placement}
        return encode_words(needed_by_plan(workflow.plan, workflow.credentials, labels))

    def _rejection(
        self, uow: UnitOfWork, project: str, over_limit: OverLimit | None = None
    ) -> str | None:
        """Return why one more run of a project is rejected, or ``None``."""
        limit = self._policy.of(project)
        if (over_limit or limit.over_limit) == "queue":
            return None
        # Reading a project locks its row: projects without limits need not wait for each other.
        if limit.concurrent is None and limit.per_period is None:
            return None
        since = uow.now_us - int(limit.period_s * 1e6)
        most = max(limit.per_period or 0, limit.concurrent or 0)
        counts = uow.transaction.project(project, since=since, most=most)
        return rejection(counts, limit)

    # --- retry ------------------------------------------------------------------------------------

    def retry(self, uow: UnitOfWork, request: RetryRequest) -> Any:
        """Add a run to an order, from the start or from a step. A repeated request adds none."""
        order, last = find_order(uow, request.id)
        existing = uow.transaction.run(request.run_id)
        # The request is a retransmission: its first arrival has added the run.
        if existing is not None and existing.order_id == order.id:
            return order_view(uow, order)
        self._check_retry(uow, request, order, existing)
        if order.erased is not None or uow.transaction.dataclip(order.id, "input") is None:
            raise RequestError("conflict", f"the input of order {order.id} is not stored any more")
        start, input = "", order.input
        if request.from_step is not None:
            start, input = request.from_step, _input_of_step(uow, order, last, request.from_step)
        plan_id = last.plan_id if last is not None else None
        if request.latest:
            plan_id, order = self._latest_plan(uow, order, start)
        else:
            # The policy may have changed since the order was accepted.
            self._check_credentials(order.project, needed_credentials(order.needs), order.ref)
        if reason := self._rejection(uow, order.project):
            raise RequestError("rejected", reason)
        order = add_run(uow, order, request.run_id, start=start, input=input, plan_id=plan_id)
        record_on_order(uow, "retry", order, detail=request.run_id)
        return order_view(uow, order)

    def _retry_order(self, uow: UnitOfWork, order_id: str, run_id: str) -> None:
        self.retry(uow, RetryRequest(id=order_id, run_id=run_id))

    def _latest_plan(self, uow: UnitOfWork, order: WorkOrder, start: str) -> tuple[str, WorkOrder]:
        """Store the plan of an order's workflow as it is by now.

        Return its id, and the order with what that needs.
        """
        workflow = self._registered(uow, order.project, order.ref or order.workflow)
        steps = msgspec.json.decode(workflow.plan)["workflow"]["steps"]
        if start and all(step.get("id") != start for step in steps):
            raise RequestError("invalid", f"workflow '{workflow.name}' has no step '{start}' now")
        # The order may have had a plan of its own, or the policy other rules.
        self._check_credentials(order.project, workflow.credentials, workflow.name)
        uow.transaction.put_plan(workflow.plan_id, _plan_for_store(uow, workflow))
        needs = self._needs(order.project, workflow, _own_labels(order))
        return workflow.plan_id, replace(order, needs=needs, ref=workflow.name)

    def _check_retry(
        self,
        uow: UnitOfWork,
        request: RetryRequest,
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
        if others := unfinished_with_key(uow, order):
            text = f"order {others[0].order_id} with the key '{order.unique_key}' has not ended"
            raise RequestError("conflict", text)


def _own_labels(order: WorkOrder) -> frozenset[str]:
    """Return the labels that an order was submitted with, beside those of its workflow."""
    if order.placement is not None:
        return decode_words(order.placement)
    # Of an order of an earlier version the two are not known apart.
    labels = (word for word in decode_words(order.needs) if word.startswith(LABEL))
    return frozenset(label.removeprefix(LABEL) for label in labels)


def _plan_for_store(uow: UnitOfWork, workflow: RegisteredWorkflow) -> str:
    # The plan of a deployed version was sealed when that was stored.
    return workflow.plan if workflow.sealed else _sealed(uow.secrets.seal_plan, workflow.plan)


def _sealed(seal: Callable[[str], str], text: str) -> str:
    try:
        return seal(text)
    except SecretRefused as error:
        raise RequestError("invalid", str(error)) from error


def _input_of_step(uow: UnitOfWork, order: WorkOrder, run: RunRecord | None, step: str) -> str:
    if run is None:
        raise RequestError("unknown", f"order {order.id} has no run: it was {order.status.value}")
    input = queries.input_of(uow.transaction, run, step)
    if input:
        return input
    reason = f"it did not run there, or not among the first {queries.MAX_SEARCHED:,} steps"
    if input is not None:
        reason = "it was withheld, as it was over the payload limit; retry from a step before it"
    raise RequestError("unknown", f"no input of '{step}' is stored for run {run.id}: {reason}")


# --- cancel ---------------------------------------------------------------------------------------


def cancel(uow: UnitOfWork, ref: RunRef) -> Any:
    """Cancel a waiting run, or command its worker to. A repeated request has no further effect."""
    run = find_run(uow, ref.id)
    if run.final:
        if run.status is not Status.CANCELLED:
            raise RequestError("conflict", f"run {run.id} has ended already: {run.status.value}")
        return views.run_state(run)
    run = uow.apply(run, CancelRequested(at=uow.now_us))
    order = uow.transaction.order(run.order_id)
    if order is not None:
        record_on_order(uow, "cancel", order, detail=run.id)
    if run.leased and run.worker is not None:
        command = Command(cancel=[Attempt(run_id=run.id, attempt=run.attempt)])
        uow.publish(uow.topics.worker(run.worker, "cmd"), command)
    return views.run_state(run)


def _cancel_order(uow: UnitOfWork, order_id: str, _: str) -> None:
    cancel(uow, RunRef(id=order_id))
