"""Files of OpenFn's tools: deploy states, checkouts, jobs alone, exported runs, pipes, credentials."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from tests.support.workflow_files import edges_of
from worker.errors import LoadError, PlanError
from worker.runner.prepare import Options, configurations, prepare
from worker.workflow.load import load_all, workflow_names
from worker.workflow.save import to_execution_plan

COMMON = "@openfn/language-common@3.3.4"
JOB = "fn(s => ({ ...s, n: 1 }))"

# --- deploy states --------------------------------------------------------------------------------

STATE: dict[str, Any] = {
    "id": "5f9d7c2e-0000-4000-8000-000000000000",
    "name": "project",
    "project_credentials": {},
    "scheduled_deletion": None,
    "workflows": {
        "Event-based": {
            "id": "1111",
            "name": "Event based",
            "deleted_at": None,
            "lock_version": 3,
            "jobs": {
                "Get-data": {
                    "id": "aaaa",
                    "name": "Get data",
                    "adaptor": COMMON,
                    "body": JOB,
                    "project_credential_id": None,
                },
                "Send": {"id": "bbbb", "name": "Send", "adaptor": COMMON, "body": JOB},
            },
            "triggers": {
                "webhook": {
                    "id": "cccc",
                    "type": "webhook",
                    "enabled": True,
                    "webhook_reply": "before_start",
                    "webhook_response_config": None,
                    "cron_cursor_job_id": None,
                }
            },
            "edges": {
                "webhook->Get-data": {
                    "id": "dddd",
                    "source_trigger_id": "cccc",
                    "target_job_id": "aaaa",
                    "condition_type": "always",
                    "enabled": True,
                },
                "Get-data->Send": {
                    "id": "eeee",
                    "source_job_id": "aaaa",
                    "target_job_id": "bbbb",
                    "condition_type": "on_job_success",
                    "enabled": True,
                },
            },
        }
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["openfn-5f9d7c2e-state.json", ".projectState.json"])
def test_a_deploy_state_resolves_edges_by_id(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps(STATE))
    loaded = worker.load(tmp_path / name)
    assert loaded.warnings == ()
    assert [edge.id for edge in edges_of(loaded)] == ["webhook->Get-data", "Get-data->Send"]
    done = call_worker("run", tmp_path / name)
    assert done.returncode == 0 and "Get-data" in done.stdout


def test_keys_come_before_ids_and_an_unknown_id_is_an_error() -> None:
    flow = json.loads(json.dumps(STATE["workflows"]["Event-based"]))
    flow["jobs"]["bbbb"] = {"id": "ffff", "body": JOB}
    assert edges_of(worker.load(flow))[1].target == "bbbb"
    flow["edges"]["webhook->Get-data"]["source_trigger_id"] = "cccd"
    with pytest.raises(LoadError, match=r"there is no trigger 'cccd'; did you mean 'cccc'"):
        worker.load(flow)


# --- steps without ids ----------------------------------------------------------------------------


def test_steps_without_ids_are_numbered_among_themselves() -> None:
    steps = [{"expression": JOB}, {"id": "x", "expression": JOB}, {"expression": JOB, "name": "n"}]
    loaded = worker.load({"steps": steps})
    assert [step.id for step in loaded.steps] == ["job-1", "x", "job-2"]
    again = worker.load(to_execution_plan(loaded))
    assert again.steps == loaded.steps


@pytest.mark.parametrize(
    "plan",
    [
        {"steps": [{"id": "a", "expression": JOB, "next": "job-1"}, {"expression": JOB}]},
        {"start": "job-1", "steps": [{"id": "a", "expression": JOB}, {"expression": JOB}]},
    ],
    ids=["target", "start"],
)
def test_a_generated_id_cannot_be_named_in_the_file(plan: dict[str, Any]) -> None:
    with pytest.raises(PlanError) as raised:
        prepare(worker.load(plan), {}, Options(), run_id="r")
    # It is no step for the file, so the message does not offer it.
    assert "(there are: 'a', 'job-1')" not in str(raised.value)


def test_an_error_of_a_step_without_an_id_has_its_number() -> None:
    steps = [{"adaptor": COMMON, "expression": "fn(() => { throw new Error('x') })"}]
    result = worker.run(worker.load({"steps": steps}), {})
    assert list(result.final_state["errors"]) == ["job-1"]


# --- Lightning runs -------------------------------------------------------------------------------

RUN_JOB = {"id": "a", "adaptor": COMMON, "body": JOB}
RECORDED = [{"id": "s", "job_id": "a", "exit_reason": "success"}]


@pytest.mark.parametrize(
    "run",
    [
        {"id": "r", "jobs": [RUN_JOB]},
        {"jobs": [RUN_JOB]},
        {"jobs": [RUN_JOB], "steps": RECORDED},
        {"jobs": [RUN_JOB], "steps": [], "edges": [], "triggers": []},
        {"jobs": [RUN_JOB], "steps": RECORDED, "logs": [], "dataclips": [], "starting_node_id": "a"},
    ],
)  # fmt: skip
def test_a_run_with_jobs_executes_them(run: dict[str, Any]) -> None:
    loaded = worker.load(run)
    assert loaded.warnings == ()
    result = worker.run(loaded, {})
    assert [entry.step for entry in result.path] == ["a"] and result.final_state["n"] == 1


def test_a_legacy_workflow_is_still_read_as_one() -> None:
    loaded = worker.load({"start": "a", "jobs": [{"id": "a", "expression": JOB, "next": {}}]})
    assert loaded.steps[0].runs_code and loaded.start == "a"


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        {"jobs": [{"id": "a", "source": JOB}]},
        {"jobs": {"a": {"boddy": JOB}}},
        {"steps": [{"id": "a", "code": JOB}]},
        {"jobs": [{"id": "a", "body": ""}], "edges": []},
    ],
)
def test_a_workflow_without_code_is_never_silent(source: dict[str, Any], tmp_path: Path) -> None:
    assert any("no step has code" in w.message for w in worker.load(source).warnings)
    (tmp_path / "w.json").write_text(json.dumps(source))
    assert "no step has code" in call_worker("run", tmp_path / "w.json").stderr


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["tmp/creds.json", "../creds.json", "/etc/x/creds.json", "\0.json"]
)
def test_a_credential_file_that_is_not_there_is_missing_when_the_step_runs(
    tmp_path: Path, name: str
) -> None:
    step = {"id": "a", "adaptor": COMMON, "expression": JOB, "configuration": name}
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"workflow": {"steps": [step]}}))
    for command in ("graph", "validate", "explore", "lint"):
        assert call_worker(command, file).returncode == 0, command
    done = call_worker("run", file)
    assert done.returncode == 5 and "CredentialError" in done.stdout
    cases = {"workflow": "w.json", "cases": [
        {"name": "scripted", "steps": {"a": {"returns": {"x": 1}}}, "expect": {"status": "success"}},
    ]}  # fmt: skip
    (tmp_path / "c.cases.json").write_text(json.dumps(cases))
    assert call_worker("test", tmp_path / "c.cases.json").returncode == 0


def test_a_missing_credential_file_can_be_given_by_its_name(tmp_path: Path) -> None:
    job = "fn(s => ({ ...s, seen: s.configuration.user }))"
    step = {"id": "a", "adaptor": COMMON, "expression": job, "configuration": "tmp/c.json"}
    (tmp_path / "w.json").write_text(json.dumps({"workflow": {"steps": [step]}}))
    (tmp_path / "all.json").write_text(json.dumps({"tmp/c.json": {"user": "ada"}}))
    done = call_worker("run", "w.json", "--credentials", "all.json", "-O", cwd=tmp_path)
    assert json.loads(done.stdout)["seen"] == "ada"


CREDENTIALS = {"dhis2": {"user": "ada", "url": "http://d"}}


@pytest.mark.parametrize(
    ("shared", "configuration", "expected"),
    [
        ({}, None, None),
        # What is shared comes under the input's configuration, in the run itself.
        ({"token": "t"}, None, None),
        ({"token": "t"}, {"token": "u"}, {"token": "u"}),
        ({"token": "t", "user": "x"}, "dhis2", {"user": "ada", "url": "http://d"}),
        ({}, {"$CREDENTIALS$": "dhis2"}, {"user": "ada", "url": "http://d"}),
        ({}, {"$CREDENTIALS$": "dhis2", "user": "own"}, {"user": "own", "url": "http://d"}),
        ({}, {"$CREDENTIALS$": "nobody", "user": "own"}, "nobody"),
        ({"token": "t"}, "nobody", "nobody"),
    ],
)
def test_the_configuration_of_a_step(
    shared: dict[str, Any], configuration: Any, expected: dict[str, Any] | str | None
) -> None:
    step = {"id": "a", "expression": JOB, "configuration": configuration}
    plan = {"workflow": {"credentials": shared, "steps": [step]}}
    loaded = worker.load(plan)
    resolved, missing = configurations(loaded, CREDENTIALS)
    assert missing == ({"a": expected} if isinstance(expected, str) else {})
    assert resolved == ({"a": expected} if isinstance(expected, dict) else {})
    assert worker.load(to_execution_plan(loaded)).credentials == shared


def test_a_recording_masks_the_credentials_of_the_workflow(tmp_path: Path) -> None:
    step = {"id": "a", "adaptor": COMMON, "expression": JOB}
    shared = {"password": "s3cret-word-of-ada"}
    (tmp_path / "w.json").write_text(
        json.dumps({"workflow": {"credentials": shared, "steps": [step]}})
    )
    done = call_worker("run", "w.json", "--record", "rec.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    texts = [file.read_text() for file in tmp_path.rglob("*") if "rec" in file.name]
    assert texts and all("s3cret-word-of-ada" not in text for text in texts)


# --- a job alone ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["job.js", "my job (2).mjs", "é.cjs", "job.py"])
def test_a_job_alone_runs_as_with_openfns_command(tmp_path: Path, name: str) -> None:
    python = "def step(state):\n    return {**state, 'n': 1}\n"
    (tmp_path / name).write_text(python if name.endswith(".py") else JOB)
    (tmp_path / "s.json").write_text('{"data": {"x": 2}}')
    done = call_worker("run", name, "-a", "common", "-s", "s.json", "-O", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"data": {"x": 2}, "n": 1}


def test_a_job_alone_has_the_adaptors_that_are_chosen(tmp_path: Path) -> None:
    (tmp_path / "job.js").write_text(JOB)
    loaded = worker.load(tmp_path / "job.js", adaptors=["common"])
    assert worker.run(loaded, {}).final_state["n"] == 1
    assert loaded.name == "job" and loaded.steps[0].id == "job-1"


def test_an_absent_credential_file_refuses_no_workflow(tmp_path: Path) -> None:
    step = {"id": "a", "expression": JOB, "configuration": "../creds.json"}
    (tmp_path / "w.json").write_text(json.dumps({"steps": [step]}))
    loaded = worker.load(tmp_path / "w.json")
    assert worker.run(loaded, {}).error_type == "CredentialError"


@pytest.mark.slow
def test_a_job_without_an_adaptor_gets_a_hint(tmp_path: Path) -> None:
    (tmp_path / "job.js").write_text(JOB)
    done = call_worker("run", "job.js", cwd=tmp_path)
    assert done.returncode == 3 and "hint: step 'job-1' names no adaptor" in done.stderr


def test_an_adaptor_belongs_to_a_job_alone(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"steps": [{"id": "a", "expression": JOB}]}))
    done = call_worker("run", "w.json", "-a", "http", cwd=tmp_path)
    assert done.returncode == 2 and "a job alone (job.js)" in done.stderr


# --- checkouts ------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project as `openfn project checkout` writes it."""
    (tmp_path / "openfn.yaml").write_text(
        "project: {name: p, endpoint: 'https://app.openfn.org'}\n"
        "workspace: {dirs: {workflows: flows, projects: .projects}, formats: {workflow: yaml}}\n"
    )
    for name, title in (("case-referral", "Case referral"), ("nightly", "Nightly sync")):
        folder = tmp_path / "flows" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(
            f"id: {name}\nname: {title}\nstart: a\nsteps:\n"
            f"- {{id: a, adaptor: '{COMMON}', expression: ./a.js}}\n"
        )
        (folder / "a.js").write_text(f"fn(s => ({{ ...s, ran: '{name}' }}))")
        (folder / "notes.json").write_text("{}")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        (".", "--workflow", "case-referral"),
        (".", "--workflow", "Case referral"),
        ("openfn.yaml", "--workflow", "case-referral"),
        ("case-referral",),
        ("Case referral",),
        ("flows/case-referral/case-referral.yaml",),
    ],
)
def test_a_workflow_of_a_checkout_runs_by_its_name(
    checkout: Path, arguments: tuple[str, ...]
) -> None:
    done = call_worker("run", *arguments, "-O", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ran"] == "case-referral"


def test_a_workflow_of_a_checkout_is_found_by_its_names(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    for name in ("case-referral", "Case referral"):
        assert worker.load(name).id == "case-referral"
        assert worker.load(".", workflow=name) == worker.load(name)
    assert worker.run(worker.load("nightly"), {}).final_state["ran"] == "nightly"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((".",), "pick one with --workflow or workflow= ('case-referral', 'nightly')"),
        (("nightli",), "there is no file and no workflow 'nightli'; did you mean 'nightly'?"),
        (("openfm.yaml",), "openfm.yaml: there is no such file; did you mean 'openfn.yaml'?"),
        ((".", "--workflow", "x"), "(there are: 'case-referral', 'nightly')"),
    ],
)
def test_a_wrong_name_lists_those_of_the_checkout(
    checkout: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = call_worker("run", *arguments, cwd=checkout)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.slow
def test_two_workflows_of_one_name_are_refused_with_both_places(checkout: Path) -> None:
    (checkout / "flows" / "copy").mkdir()
    text = (checkout / "flows/nightly/nightly.yaml").read_text().replace("./a.js", "fn(s => s)")
    (checkout / "flows/copy/copy.yaml").write_text(text)
    done = call_worker("run", "Nightly sync", cwd=checkout)
    assert done.returncode == 2
    assert "flows/copy/copy.yaml and flows/nightly/nightly.yaml" in done.stderr
    assert call_worker("run", "copy", cwd=checkout).returncode == 0


def test_a_checkout_is_validated_and_linted_whole(checkout: Path) -> None:
    assert workflow_names(checkout) == ("case-referral", "nightly")
    assert [loaded.name for loaded in load_all(checkout)] == ["Case referral", "Nightly sync"]
    done = call_worker("validate", ".", cwd=checkout)
    assert done.returncode == 0 and "Nightly sync: 1 step, could run" in done.stdout


@pytest.mark.slow
def test_a_checkout_of_one_project_file(tmp_path: Path) -> None:
    project = {"workflows": {"w": {"jobs": {"a": {"adaptor": COMMON, "body": JOB}}}}}
    (tmp_path / "project.yaml").write_text(json.dumps(project))
    for arguments in ((".",), ("w",), (".", "--workflow", "w")):
        assert call_worker("run", *arguments, cwd=tmp_path).returncode == 0, arguments


@pytest.mark.parametrize("root", ["../outside", "/etc", 7, None])
def test_a_checkout_cannot_lead_out_of_its_folder(checkout: Path, root: Any) -> None:
    (checkout / "openfn.yaml").write_text(json.dumps({"workspace": {"dirs": {"workflows": root}}}))
    done = call_worker("run", ".", cwd=checkout)
    assert done.returncode == 2 and "this folder has no workflows" in done.stderr


def test_outside_of_a_checkout_a_name_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = call_worker("run", "nightly", cwd=tmp_path)
    assert done.returncode == 2 and "no workflow 'nightly'" in done.stderr


# --- pipes ----------------------------------------------------------------------------------------


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    plan = {"steps": [{"id": "a", "adaptor": COMMON, "expression": JOB}]}
    for name, content in (("w", json.dumps(plan)), ("s", '{"data": {"x": 1}}')):
        os.mkfifo(tmp_path / name)
        threading.Thread(target=(tmp_path / name).write_text, args=(content,), daemon=True).start()
    done = call_worker("run", tmp_path / "w", "-i", tmp_path / "s", "-O")
    assert json.loads(done.stdout) == {"data": {"x": 1}, "n": 1}


def test_a_pipe_has_the_limit_of_a_file() -> None:
    with pytest.raises(LoadError, match="larger than its size, over the limit"):
        worker.load("/dev/zero")


@pytest.mark.slow
def test_an_option_raises_the_limit_of_files(tmp_path: Path) -> None:
    (tmp_path / "job.js").write_text("fn(s => s) //" + "x" * (21 * 2**20))
    done = call_worker("validate", "job.js", cwd=tmp_path)
    assert done.returncode == 2 and "over the limit of 20 MB" in done.stderr
    done = call_worker("validate", "job.js", "--file-limit", "22", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The next command has the default again.
    assert call_worker("validate", "job.js", cwd=tmp_path).returncode == 2
