"""The simulation of workflows and a policy of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.command import call_worker
from worker.fleet.control.claiming import _Room
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.testing.simulation.breaches import breaches
from worker.testing.simulation.run_simulation import Simulation, simulate
from worker.workflow.load import load


def _care(**options: Any) -> dict[str, Any]:
    steps = [
        {"id": "fetch", "expression": "get('/')", "configuration": "prod", "adaptor": "http",
         "next": {"check": {"condition": "state.data.ok"}, "save": True}},
        {"id": "check", "expression": "fn(s => s)",
         "next": {"save": {"condition": "on_job_success"},
                  "report": {"condition": "on_job_failure"}}},
        {"id": "save", "expression": "fn(s => s)"},
        {"id": "report", "expression": "fn(s => s)"},
    ]  # fmt: skip
    return {"workflow": {"name": "Care", "steps": steps}, "options": options}


CARE = load(_care(placement=["north"]))
ONE = Policy(projects={"north": ProjectLimits(workflows={"Care": 1})})


@pytest.mark.slow
@pytest.mark.parametrize("planes", [1, 2])
def test_a_workflow_with_a_failure_edge_and_a_condition_is_clean(planes: int) -> None:
    for seed in range(1, 4):
        history = simulate(
            Simulation(seed=seed, duration_s=120.0, planes=planes, workflows=(CARE,))
        )
        assert list(breaches(history)) == []
        assert {step for _, step, _ in history.effects} >= {"fetch", "check", "save"}


@pytest.mark.slow
def test_an_idempotent_workflow_gets_new_runs_after_a_loss() -> None:
    workflows = (load(_care(idempotent=True)),)
    history = simulate(Simulation(seed=1, orders=30, duration_s=240.0, workflows=workflows))
    assert list(breaches(history)) == []
    repeated = [order["all_runs"] for order in history.orders.values() if order["all_runs"][1:]]
    assert repeated and all(runs[0]["status"] == "lost" for runs in repeated)


@pytest.mark.slow
def test_a_limit_that_is_ignored_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Simulation(seed=1, duration_s=60.0, faults=(), workflows=(CARE,), policy=ONE)
    assert list(breaches(simulate(limited))) == []
    monkeypatch.setattr(_Room, "has", lambda room, workflow: True)
    monkeypatch.setattr(_Room, "full", ())
    assert any("the limit is 1" in text for text in breaches(simulate(limited)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "none.yaml: there is no such file"),
        (["wrong.yaml"], "workflow: expected a mapping"),
        (["--policy", "policy.yaml"], "did you mean 'concurrent'?"),
        (["--policy", "policy.yaml", "--rate", "1/day"], "--policy is about faults"),
    ],
)
def test_a_usage_error_names_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text("workflow: 3")
    Path("policy.yaml").write_text("projects: {north: {concurent: 1}}")
    done = call_worker("simulate", *arguments)
    assert done.returncode == 2 and message in done.stderr
