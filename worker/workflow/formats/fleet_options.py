"""Options of a workflow for a fleet: ``idempotent``, ``retry`` and ``placement``."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.workflow.documents.cursor import Cursor
from worker.workflow.order_retry import OrderRetry

IDEMPOTENT = "idempotent"
RETRY = "retry"
PLACEMENT = "placement"
FLEET_OPTIONS = (IDEMPOTENT, RETRY, PLACEMENT)


def read_fleet_options(node: Cursor) -> dict[str, Any]:
    """Read the keys of a workflow, or of its options, that matter to a fleet."""
    return {
        **_read_idempotent(node),
        **_read_retry(node.at(RETRY)),
        **_read_placement(node.at(PLACEMENT)),
    }


def _read_idempotent(node: Cursor) -> dict[str, Any]:
    return {IDEMPOTENT: True} if node.at(IDEMPOTENT).flag(default=False) else {}


def _read_placement(node: Cursor) -> dict[str, Any]:
    labels = [label.name() for label in node.elements()]
    return {PLACEMENT: labels} if labels else {}


def _read_retry(node: Cursor) -> dict[str, Any]:
    if node.value is None:
        return {}
    try:
        # A number of times alone is the shortest form.
        value = {"times": node.value} if isinstance(node.value, int) else node.value
        policy = msgspec.convert(value, OrderRetry)
    except msgspec.ValidationError as error:
        # Its patterns are for errors alone, and would cost each start.
        from worker.workflow.documents.mismatch import describe_mismatch

        node.fail(describe_mismatch(error, OrderRetry))
    return {RETRY: msgspec.to_builtins(policy)}
