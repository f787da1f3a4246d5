"""A change of policy and workflows at run time (SIGHUP)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, plan
from worker.cli.control_process import ControlOptions, _reload
from worker.errors import UsageError
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.deploying import DeploymentRules
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.workflow.load import load

EVERYTHING = Policy(allows_everything=True)
HOOK = {"type": "webhook", "name": "hook", "start": "a", "path": "intake"}


def version(name: str, **trigger: Any) -> dict[str, Any]:
    return {"plan": plan(name), "triggers": [{**HOOK, **trigger}] if trigger else []}


@pytest.fixture
def operator(store: Store) -> ControlPlaneHarness:
    rules = DeploymentRules(auth_methods=frozenset(("lab",)), needs_auth=True)
    return ControlPlaneHarness(store, policy=EVERYTHING, rules=rules)


def test_the_rules_of_webhooks_outlive_a_reload(operator: ControlPlaneHarness) -> None:
    operator.processor.reload(EVERYTHING, WorkflowRegistry())
    open_hook = operator.failure("deploy", workflows=[version("open", path="open")])
    assert "no authentication" in open_hook.message
    operator.call("deploy", workflows=[version("intake", auth=["lab"])])


def test_a_name_that_is_deployed_keeps_files_with_it_from_being_loaded(
    operator: ControlPlaneHarness,
) -> None:
    operator.call("deploy", workflows=[version("intake")])
    registry = WorkflowRegistry()
    registry.add(load(plan("intake")))
    with pytest.raises(UsageError, match="'intake' is deployed, and --workflows has it too"):
        operator.processor.reload(Policy(), registry)
    operator.submit(workflow="flow")
    operator.call("deploy", workflows=[version("later")])


class Log:
    """A log whose entries the test awaits."""

    def __init__(self) -> None:
        self.entries: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def warning(self, event: str, **fields: Any) -> None:
        self._loop.call_soon_threadsafe(
            self.entries.put_nowait, (event, str(fields.get("error", "")))
        )

    info = critical = warning


async def test_a_reload_that_fails_is_logged(operator: ControlPlaneHarness, tmp_path: Path) -> None:
    operator.call("deploy", workflows=[version("intake")])
    log: Any = Log()
    topics = Topics()
    bus = LocalBroker().bus(*topics.for_control())
    plane = ControlPlane(bus, operator.processor, topics=topics, log=log)
    file = tmp_path / "fresh.json"
    options = ControlOptions(store="", workflows=(file,), read_policy=lambda: EVERYTHING)
    for name, event in (("intake", "control.reload_failed"), ("fresh", "control.reloaded")):
        file.write_text(json.dumps(plan(name)))
        _reload(plane, options, log)
        async with asyncio.timeout(30):
            logged, error = await log.entries.get()
        assert logged == event, error
    plane._thread.shutdown()
    assert operator.call("workflows") == ["fresh", "intake"]
