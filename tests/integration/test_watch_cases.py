"""``worker test --watch``: a saved file runs the cases that it concerns, and no others."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.command import WORKER
from worker.cli.watch_cases import CaseWatch, WatchedFolders
from worker.runner.pool import Pool
from worker.testing import CaseResult


def write(folder: Path, name: str) -> Path:
    """Write a workflow with a job in a file of its own, and a case of it that passes."""
    folder.mkdir(exist_ok=True)
    job = folder / f"{name}.js"
    job.write_text("fn(state => ({ ...state, n: 1 }));", "utf-8")
    step = {"id": "a", "adaptor": "common", "expression": f"{name}.js"}
    plan = {"workflow": {"name": name, "steps": [step]}}
    (folder / f"{name}.json").write_text(json.dumps(plan), "utf-8")
    case = {"name": name, "expect": {"state": {"n": 1}}}
    cases = folder / f"{name}.cases.json"
    cases.write_text(json.dumps({"workflow": f"{name}.json", "cases": [case]}), "utf-8")
    return cases


@pytest.mark.slow
async def test_a_saved_job_runs_the_cases_of_its_workflow_alone(tmp_path: Path) -> None:
    files = [write(tmp_path, "first"), write(tmp_path, "second")]
    shown: list[CaseResult] = []
    async with Pool(size=1) as pool:
        watch = CaseWatch(pool, files, "", shown.append)
        changes = watch.folders.changes()
        await watch.run(files)
        (tmp_path / "second.js").write_text("fn(state => ({ ...state, n: 2 }));", "utf-8")
        changed = await asyncio.wait_for(anext(changes), 60)
        assert changed == {tmp_path / "second.js"}
        await watch.run(watch.concerned(changed))
    assert [result.case.name for result in shown] == ["first", "second", "second"]
    assert [bool(result.mismatches) for result in shown] == [False, False, True]


@pytest.mark.slow
async def test_a_workflow_in_another_folder_is_watched_too(tmp_path: Path) -> None:
    flows, later = tmp_path / "flows", tmp_path / "later"
    text = write(flows, "first").read_text("utf-8")
    write(later, "later")
    file = flows / "cases" / "first.cases.json"
    file.parent.mkdir()
    file.write_text(text.replace('"first.json"', '"../first.json"'), "utf-8")
    async with Pool(size=1) as pool:
        watch = CaseWatch(pool, [file], "", lambda result: None)
        changes = watch.folders.changes()
        await watch.run([file])
        (flows / "first.js").write_text("fn(state => ({ ...state, n: 2 }));", "utf-8")
        assert await names(changes) == {"first.js"}
        # The case names a workflow of another folder by now.
        file.write_text(text.replace('"first.json"', '"../../later/later.json"'), "utf-8")
        assert await names(changes) == {"first.cases.json"}
        await watch.run([file])
        (later / "later.js").write_text("fn(state => state);", "utf-8")
        assert await names(changes) == {"later.js"}


async def test_a_file_that_an_editor_has_emptied_is_not_saved_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.cli.watch_cases._EMPTY_LOOKS", 10**6)
    file = write(tmp_path, "first")
    text = file.read_text("utf-8")
    folders = WatchedFolders()
    folders.add(tmp_path)
    looks: list[set[Path]] = []
    look = folders._look

    def counted() -> set[Path]:
        looks.append(look())
        return looks[-1]

    monkeypatch.setattr(folders, "_look", counted)
    file.write_text("", "utf-8")
    changed = asyncio.ensure_future(anext(folders.changes()))
    while len(looks) < 3 and not changed.done():
        await asyncio.sleep(0.01)
    assert not changed.done()
    file.write_text(text, "utf-8")
    assert await asyncio.wait_for(changed, 60) == {file}
    assert file.read_text("utf-8") == text


async def test_a_count_of_no_cases_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "first")
    async with Pool(size=1) as pool:
        await CaseWatch(pool, [file], "no such name", lambda result: None).run([file])
    assert capsys.readouterr().out == "\nno case to run; watching\n"


async def names(changes: AsyncIterator[set[Path]]) -> set[str]:
    return {path.name for path in await asyncio.wait_for(anext(changes), 60)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "concerned"),
    [
        ("first.cases.json", ["first"]),
        ("second.json", ["second"]),
        ("other.json", []),
    ],
)
async def test_files_that_a_change_concerns(
    tmp_path: Path, changed: str, concerned: list[str]
) -> None:
    files = [write(tmp_path, "first"), write(tmp_path, "second")]
    async with Pool(size=1) as pool:
        watch = CaseWatch(pool, files, "", lambda result: None)
        await watch.run(files)
        names = [file.name.partition(".")[0] for file in watch.concerned([tmp_path / changed])]
    assert names == concerned


@pytest.mark.slow
async def test_a_file_that_cannot_be_read_runs_again_after_the_next_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "first")
    text = file.read_text("utf-8")
    shown: list[CaseResult] = []
    async with Pool(size=1) as pool:
        watch = CaseWatch(pool, [file], "", shown.append)
        file.write_text(text[:-5], "utf-8")
        await watch.run([file])
        printed = capsys.readouterr().out
        assert "error: " in printed and not shown
        assert printed.endswith("\n1 file not run; watching\n")
        file.write_text(text, "utf-8")
        # What a broken file depends on is unknown, so any change is tried.
        await watch.run(watch.concerned([tmp_path / "first.js"]))
    assert len(shown) == 1


@pytest.mark.slow
def test_the_command_watches_until_it_is_interrupted(tmp_path: Path) -> None:
    write(tmp_path, "first")
    command = [*WORKER, "test", ".", "--watch", "--jobs", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        assert next(line for line in lines if "watching" in line).startswith("1 passed")
        (tmp_path / "first.js").write_text("fn(state => state);", "utf-8")
        assert next(line for line in lines if "watching" in line).startswith("0 passed, 1 failed")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
