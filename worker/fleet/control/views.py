"""The public views of orders and runs: no tokens, no states, no options with secrets in them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.messaging.state_messages import Alert, OrderState, RunState


def run_state(run: RunRecord) -> RunState:
    return RunState(
        run_id=run.id,
        order_id=run.order_id,
        number=run.number,
        project=run.project,
        workflow=run.workflow,
        status=run.status.value,
        attempt=run.attempt,
        priority=run.priority,
        created=run.created,
        worker=run.worker,
        started=run.started,
        finished=run.finished,
        start=run.start or None,
        error_type=run.error_type,
        error_message=run.error_message,
        skew=run.skew,
        revision=run.revision,
        not_before=run.not_before or None,
        start_by=run.start_by,
        retries=run.retries,
    )


def order_state(order: WorkOrder) -> OrderState:
    return OrderState(
        order_id=order.id,
        project=order.project,
        workflow=order.workflow,
        status=order.status.value,
        priority=order.priority,
        created=order.created,
        runs=order.runs,
        reason=order.reason,
        last_run=order.last_run,
        revision=order.revision,
        unique=order.unique_key,
        tags=order.tags.split(),
        erased=order.erased,
    )


def plan_without_secrets(plan: str) -> dict[str, Any]:
    """Remove the content of credentials from a plan; their names stay."""
    document: dict[str, Any] = msgspec.json.decode(plan)
    for step in document["workflow"]["steps"]:
        if isinstance(step.get("configuration"), dict):
            del step["configuration"]
    document["workflow"].pop("credentials", None)
    return document


def input_without_secrets(input: str) -> dict[str, Any]:
    """Remove the configuration from an input."""
    state: dict[str, Any] = json.loads(input)
    return {key: value for key, value in state.items() if key != "configuration"}


def alert(run: RunRecord) -> Alert:
    return Alert(
        run_id=run.id,
        order_id=run.order_id,
        project=run.project,
        workflow=run.workflow,
        status=run.status.value,
        at=run.changed,
        error_type=run.error_type,
        error_message=run.error_message,
        worker=run.worker,
    )
