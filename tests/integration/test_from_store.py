"""Recordings of the runs that a database names, of a history, and at URLs; results at a URL."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import Done, call_worker
from tests.support.event_names import EventNames
from tests.support.helpers import workflow
from worker.cli.kept_recordings import keep_recordings
from worker.fleet import local_fleet as fleets
from worker.fleet.worker.run_executor import RunExecutor
from worker.sinks.log import stderr_logger
from worker.util.cache_folder import root
from worker.util.json import dumps
from worker.workflow.save import to_execution_plan

COMMON = "@openfn/language-common@3.3.4"
SOURCE = "fn(s => { if (s.data.x > 2) throw new Error('large'); return {...s, n: s.data.x}; })"


def plan_of(name: str) -> dict[str, Any]:
    flow = workflow({"id": "a", "adaptor": COMMON, "expression": SOURCE})
    plan = to_execution_plan(flow)
    return {**plan, "workflow": {**plan["workflow"], "name": name}}


class Recorded:
    """A fleet's database, what its worker has recorded, and its history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids: list[str] = []

    async def execute(self) -> None:
        """Execute four runs, two of which fail."""
        async with worker.local_fleet(store=f"sqlite:///{self.folder}/orders.db") as client:
            for x in range(1, 5):
                plan = plan_of("other" if x == 2 else "visits")
                order = await client.submit(plan=plan, input={"data": {"x": x}})
                self.ids.append((await client.wait(order["last_run"]))["run_id"])
            lines = [dumps(line) async for line in client.history()]
        (self.folder / "history.jsonl").write_text("\n".join(lines) + "\n")

    def replay(self, *options: str | Path) -> tuple[Done, list[dict[str, Any]]]:
        """Replay with the options; return the command, and the lines of its JSON."""
        done = call_worker("replay", *options, "--json", "-j", "1", cwd=self.folder)
        return done, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Four runs, recorded at a URL; the last has lost its recording."""
    fleet = Recorded(tmp_path_factory.mktemp("store"))
    log = stderr_logger(50)
    keeping = keep_recordings(f"file://{fleet.folder}/runs", "store", log)
    with pytest.MonkeyPatch.context() as patch, keeping as kept:
        patch.setattr(
            fleets, "RunExecutor", lambda pool, allows: RunExecutor(pool, allows, kept.start)
        )
        asyncio.run(fleet.execute())
    assert not list((root() / "recordings" / "store").iterdir())
    (fleet.folder / "runs" / f"{fleet.ids[3]}.jsonl").unlink()
    changed = workflow({"id": "a", "adaptor": COMMON, "expression": "fn(s => ({...s, n: 7}))"})
    (fleet.folder / "changed.json").write_text(dumps(to_execution_plan(changed)))
    return fleet


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [Path(row["recording"]).stem for row in rows if row["recording"]]


@pytest.mark.slow
def test_the_database_names_the_runs(recorded: Recorded) -> None:
    done, rows = recorded.replay("runs", "--from-store", "orders.db")
    assert done.returncode == 0, done.stderr
    # In the order of the database, and not of the names.
    assert names(rows) == recorded.ids[:3]
    assert rows[3] == {"recording": None, "run": recorded.ids[3], "kind": "unrecorded"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--status", "success"), [0, 1]),
        (("--status", "failed"), [2]),
        (("--workflow", "other"), [1]),
        (("--workflow", "visits", "--status", "success"), [0]),
        (("--since", "1h"), [0, 1, 2]),
    ],
)
def test_options_choose_among_the_runs(
    recorded: Recorded, options: tuple[str, ...], expected: list[int]
) -> None:
    url = f"sqlite:///{recorded.folder}/orders.db"
    _, rows = recorded.replay("runs", "--from-store", url, *options)
    assert names(rows) == [recorded.ids[n] for n in expected]


@pytest.mark.slow
def test_runs_without_a_recording_are_counted_and_named(recorded: Recorded) -> None:
    done = call_worker("replay", "runs", "--from-store", "orders.db", cwd=recorded.folder)
    assert "3 recordings: 3 the same" in done.stdout
    assert done.stdout.endswith(f"         1  have no recording: {recorded.ids[3]}\n")


@pytest.mark.slow
def test_a_recording_is_never_guessed(recorded: Recorded, tmp_path: Path) -> None:
    # Under the name of the run that has none, and of another run by its content.
    other = (recorded.folder / "runs" / f"{recorded.ids[0]}.jsonl").read_bytes()
    (tmp_path / f"{recorded.ids[3]}.jsonl").write_bytes(other)
    (tmp_path / f"{recorded.ids[1]}.jsonl").write_bytes(b"")
    done, _ = recorded.replay(tmp_path, "--from-store", "orders.db")
    assert done.returncode == 2 and "none of the 4 runs of the database" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from-store", "none.db"), "there is no database none.db"),
        (("--from-store", "mysql://h/x"), "not a database of a control plane"),
        (("--from-store", "postgresql://u:pass1234@127.0.0.1:9/x"), "cannot be read"),
        (("--from-store", "orders.db", "--status", "killed"), "no ended run that matches"),
        (("--since", "1h"), "need --from-store"),
        (("--output", "nothing://x"), "nothing://x"),
        (("--output", "no/such/folder"), "no/such/folder"),
    ],
)
def test_mistakes_are_named(recorded: Recorded, options: tuple[str, ...], message: str) -> None:
    done, _ = recorded.replay("runs", *options)
    assert done.returncode in (2, 71) and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "pass1234" not in done.stderr


@pytest.mark.slow
def test_a_history_is_replayed_without_its_import(recorded: Recorded) -> None:
    done, rows = recorded.replay("history.jsonl")
    assert done.returncode == 0 and len(rows) == 4, done.stdout
    assert sorted(row["recording"] for row in rows) == sorted(
        f"history.jsonl#{id}" for id in recorded.ids
    )
    url = f"file://{recorded.folder}/history.jsonl"
    done, rows = recorded.replay(url, "--workflow-file", "changed.json")
    assert done.returncode == 1 and len(rows) == 4
    assert {row["kind"] for row in rows} <= {"state", "outcome", "path"}
    with (recorded.folder / "history.jsonl").open() as lines:
        (recorded.folder / "bad.jsonl").write_text(next(lines) + '{"type":"run","order":{}}\n')
    done, _ = recorded.replay("bad.jsonl")
    assert done.returncode == 2 and "bad.jsonl:2" in done.stderr


@pytest.mark.slow
def test_results_go_to_a_url_as_json_lines(recorded: Recorded) -> None:
    from fsspec import filesystem

    options = ("--workflow-file", "changed.json", "--output", "memory://out/results.jsonl")
    recorded.replay("runs", *options)
    lines = filesystem("memory").cat("/out/results.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["run"] for row in rows} == set(recorded.ids[:3])
    first = min(rows, key=lambda row: recorded.ids.index(row["run"]))
    assert (first["version"], first["kind"], first["step"]) == ("changed.json", "state", "a")
    assert first["field"] == "output.n"


@pytest.mark.slow
def test_a_campaign_of_the_runs_of_a_database(recorded: Recorded) -> None:
    spec = {
        "recordings": ["runs"],
        "versions": {"deployed": "recorded"},
        "from-store": {"url": "orders.db", "since": "1h"},
    }
    (recorded.folder / "june.json").write_text(json.dumps(spec))
    command = ("campaign", "run", "june.json", "-j", "1", "--output", "out.jsonl")
    done = call_worker(*command, cwd=recorded.folder)
    assert done.returncode == 0 and "3 of 3 recorded runs are the same" in done.stdout
    assert f"1  have no recording: {recorded.ids[3]}" in done.stdout
    folder = recorded.folder / "june"
    assert recorded.ids[3] in (folder / "report.html").read_text()
    assert (folder / "unrecorded.jsonl").read_text() == f'{{"run":"{recorded.ids[3]}"}}\n'
    assert (recorded.folder / "out.jsonl").read_bytes() == (folder / "results.jsonl").read_bytes()
    for field, value in (("status", "fine"), ("since", "yesterday")):
        spec["from-store"] = {"url": "orders.db", field: value}
        (recorded.folder / "june.json").write_text(json.dumps(spec))
        done = call_worker(*command, cwd=recorded.folder)
        assert done.returncode == 2 and f"from-store.{field}: expected" in done.stderr


# --- uploads --------------------------------------------------------------------------------------


def test_what_cannot_be_uploaded_waits(recorded: Recorded, tmp_path: Path) -> None:
    spool = root() / "recordings" / "w"
    spool.mkdir(parents=True)
    file = recorded.folder / "runs" / f"{recorded.ids[0]}.jsonl"
    (spool / file.name).write_bytes(file.read_bytes())
    (tmp_path / "away").write_text("no folder")
    log = EventNames()
    with keep_recordings(f"file://{tmp_path}/away", "w", log):
        pass
    assert log.names == ["recording.waits"] and (spool / file.name).exists()
    with keep_recordings(f"file://{tmp_path}/back", "w", log) as kept:
        pass
    assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()
    assert not list(spool.iterdir()) and len(log.names) == 1
    with keep_recordings(f"file://{tmp_path}/back", "w", log) as kept:
        assert kept.erase(recorded.ids[0]) == 0, "it is at the URL alone"
    assert not (tmp_path / "back" / file.name).exists() and not list(spool.iterdir())
