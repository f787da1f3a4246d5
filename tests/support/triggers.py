"""Project files whose workflow is started by triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def triggered_workflow(
    name: str, body: str, triggers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Build a workflow of one job, ``check``, that each of the triggers starts."""
    edges = {
        f"{trigger}->check": {
            "source_trigger": trigger,
            "target_job": "check",
            "condition_type": "always",
        }
        for trigger in triggers
    }
    jobs = {"check": {"adaptor": "common", "body": body}}
    return {"name": name, "jobs": jobs, "triggers": dict(triggers), "edges": edges}
