"""Rights that a request of a client needs, and the projects that it may be about."""

from __future__ import annotations

from typing import Any

from worker.core.status import Status
from worker.fleet.control.policy import OPERATOR, Right
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging.client_messages import (
    DataclipRef,
    EventQuery,
    OrderQuery,
    OrderRef,
    RecordedQuery,
    RetryRequest,
    RunRef,
    Submit,
)
from worker.fleet.messaging.operation_messages import (
    AcknowledgeRequest,
    ActionQuery,
    BulkRequest,
    EraseRequest,
    PauseRequest,
)
from worker.fleet.messaging.trigger_messages import (
    DeadLetterQuery,
    Deploy,
    DeploymentQuery,
    WorkflowRef,
)

# Everything else reads.
_RIGHTS: dict[str, Right] = {
    "submit": "submit",
    "cancel": "cancel",
    "retry": "retry",
    "pause": "operate",
    "resume": "operate",
    "acknowledge": "operate",
    "erase": "operate",
    "deploy": "deploy",
    "rollback": "deploy",
}


def rights_for(method: str, content: Any) -> tuple[Right, ...]:
    """Return the rights of which a request needs one."""
    if isinstance(content, BulkRequest):
        return (content.action,)
    if method == "chunk":
        # Orders and projects come in chunks; the request that refers to them is checked on its own.
        return ("submit", "deploy")
    return (_RIGHTS.get(method, "read"),)


def check_projects(uow: UnitOfWork, projects: frozenset[str], method: str, content: Any) -> None:
    """Raise :class:`RequestError` where a request is about another project."""
    match content:
        case (
            Submit(project=project)
            | Deploy(project=project)
            | WorkflowRef(project=project)
            | PauseRequest(project=project)
            | ActionQuery(project=project)
        ):
            allowed = project in projects
        case (
            OrderQuery(project=queried)
            | DeploymentQuery(project=queried)
            | DeadLetterQuery(project=queried)
        ):
            allowed = queried in projects
        case (
            RunRef(id=id)
            | RetryRequest(id=id)
            | EventQuery(run_id=id)
            | DataclipRef(run_id=id)
            | RecordedQuery(run_id=id)
            | OrderRef(order_id=id)
            | EraseRequest(order_id=id)
            | AcknowledgeRequest(run_id=id)
        ):
            # One that does not exist looks the same: ids of others cannot be tried out.
            allowed = _project_of(uow, id) in projects
        case _:
            # Summaries, alerts and workers are about all projects.
            allowed = method in ("workflows", "chunk")
    if not allowed:
        text = f"only for the projects {', '.join(sorted(projects))} (policy: clients)"
        raise RequestError("denied", text)


def _project_of(uow: UnitOfWork, id: str) -> str | None:
    run = uow.transaction.run(id)
    if run is not None:
        return run.project
    order = uow.transaction.order(id)
    return None if order is None else order.project


def denial(client: str, right: Right) -> str:
    """Write the refusal for a client without a right."""
    if right == "deploy":
        return (
            f"'{client}' may not deploy: that is for the user '{OPERATOR}' of the broker, and for "
            "those whose rights in the policy include deploy (clients: NAME: {may: [deploy]})"
        )
    return f"'{client}' may not {right} (policy: clients)"


def receipt(view: dict[str, Any]) -> dict[str, Any]:
    """Return what a client may know of its order that may not read orders."""
    rejected = view["status"] == Status.REJECTED.value
    status = view["status"] if rejected else Status.PENDING.value
    fields = {name: view[name] for name in ("order_id", "project", "workflow", "last_run")}
    return {**fields, "status": status, "reason": view.get("reason"), "run": None}
