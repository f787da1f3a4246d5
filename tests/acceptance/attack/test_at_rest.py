"""Attacks on what is on disk: another user of the machine reads it, or a workflow makes the worker
read what it should not."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.helpers import job, workflow
from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.errors import LoadError
from worker.fleet.control.store.store import Store
from worker.fleet.messaging.worker_protocol import Lease
from worker.fleet.worker.outbox import Outbox
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.prepare import Options

FLOW = workflow(job("fn(s => s);"))


@pytest.fixture(autouse=True)
def open_umask() -> Any:
    """The umask of many machines, or worse."""
    previous = os.umask(0)
    yield
    os.umask(previous)


def modes_below(folder: Path) -> set[str]:
    """Collect the modes of all files and folders."""
    return {stat.filemode(path.lstat().st_mode) for path in folder.rglob("*")}


PRIVATE = {"-rw-------", "drwx------"}


async def test_nobody_else_reads_what_a_run_leaves_on_disk(tmp_path: Path) -> None:
    """Tries to read the data of patients, as another user, from what the worker has written."""
    worker.Journal(tmp_path / "a" / "b" / "journal.jsonl").close()
    prepared = PreparedRecording(FLOW, Options())
    Recorder(tmp_path / "c" / "d" / "run.jsonl", prepared, {}, LazyHost(Reach())).close()
    outbox = Outbox(tmp_path / "e" / "f")
    run = outbox.open(Lease(run_id="r", attempt=1, token="token-000001"))
    run.add(b'{"type":"run:log","seq":0}', last=False)
    run.replace(b'{"type":"run:complete","seq":0}', 0, "refused")
    run.close()
    outbox.close()
    store = Store(f"sqlite:///{tmp_path}/g/h/orders.db")
    store.migrate()
    with store.transaction() as transaction:
        transaction.put_plan("p", "{}")
        assert len(list(tmp_path.rglob("orders.db*"))) == 3, "with the files of its log"
        assert modes_below(tmp_path) == PRIVATE
    store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", "e", "g"}


def test_a_mode_that_the_user_has_chosen_stays(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.touch()
    file.chmod(0o640)
    worker.Journal(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


# --- files beside a workflow ----------------------------------------------------------------------

SECRET = "TOKEN=very-secret-token"


@pytest.mark.parametrize("name", [".env", "env", "id_rsa", "creds.json", "a.yaml", "x.js.txt", ".js/.env"])  # fmt: skip
def test_a_path_reads_sources_alone(name: str, tmp_path: Path) -> None:
    """Tries to bring a secret file into a job, or into the error that quotes its source."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(SECRET)
    refuse(tmp_path, {"expression": {"path": name}}, "is of a kind that no workflow needs")


@pytest.mark.parametrize("target", [".env", "creds.json", "../outside.js"])
def test_a_link_does_not_change_what_a_file_is(target: str, tmp_path: Path) -> None:
    """Tries the same by a link with the name of a source, also out of the folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / target).write_text(SECRET)
    (folder / "job.js").symlink_to(target)
    refuse(folder, {"expression": {"path": "job.js"}})
    refuse(folder, {"expression": "job.js"})


@pytest.mark.parametrize(
    "name", ["/etc/passwd.js", "../x.js", "a/../../x.js", "a\0.js", "\\\\x.js"]
)
def test_a_path_does_not_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """Tries to read sources of others."""
    folder = tmp_path / "project"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "x.js").write_text(SECRET)
    refuse(folder, {"expression": {"path": name}})


def test_data_comes_from_json_alone(tmp_path: Path) -> None:
    """Tries to bring a source with a secret into a state, or into a credential."""
    (tmp_path / "state.json").symlink_to("secret.js")
    (tmp_path / "secret.js").write_text(json.dumps({"token": "very-secret-token"}))
    refuse(tmp_path, {"expression": "fn(s => s);", "state": "state.json"})
    (tmp_path / "flow.json").write_text(
        json.dumps({"workflow": {"steps": [{"expression": "1", "configuration": "state.json"}]}})
    )
    (step,) = worker.load(tmp_path / "flow.json").steps
    assert step.configuration == "state.json", "the name of a credential, and not its content"


def refuse(folder: Path, step: dict[str, Any], message: str = "") -> None:
    file = folder / "flow.json"
    file.write_text(json.dumps({"workflow": {"steps": [{"id": "a", **step}]}}))
    with pytest.raises(LoadError) as raised:
        worker.load(file)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value).replace("secret.js", "")


def test_what_a_workflow_needs_is_read(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.js").write_text("fn(s => s);")
    (tmp_path / "state.json").write_text('{"data": 1}')
    file = tmp_path / "flow.json"
    step = {"id": "a", "expression": {"path": "jobs/a.js"}, "state": "state.json"}
    file.write_text(json.dumps({"workflow": {"steps": [step]}}))
    (loaded,) = worker.load(file).steps
    assert (loaded.source, loaded.state) == ("fn(s => s);", {"data": 1})
