"""``worker engine prepare``, and what the first run on a machine prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOW = {
    "workflow": {
        "name": "sum",
        "steps": [{"id": "a", "adaptor": "common", "expression": "fn(s => ({ data: { n: 3 } }));"}],
    }
}


def worker(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "WORKER_CACHE": str(cache)},
        check=True,
    )


@pytest.mark.slow
def test_the_engine_is_prepared_once(tmp_path: Path) -> None:
    file = tmp_path / "sum.json"
    file.write_text(json.dumps(WORKFLOW))
    cold, prepared = tmp_path / "cold", tmp_path / "prepared"
    first = worker(cold, "run", str(file))
    assert first.stderr.count("preparing the engine") == 1
    assert "preparing" not in worker(cold, "run", str(file)).stderr
    output = worker(prepared, "engine", "prepare", "--workflow-file", str(file))
    assert output.stdout == "✓ the engine is prepared\n"
    assert output.stderr.splitlines()[:2] == ["preparing the engine", "preparing locale data"]
    files = {path.name: path.stat() for path in prepared.rglob("*") if path.is_file()}
    assert "preparing" not in worker(prepared, "run", str(file)).stderr
    after = {path.name: path.stat() for path in prepared.rglob("*") if path.is_file()}
    # Beside a hash stands when its file was checked; the files themselves stay.
    assert {name: after[name].st_mtime_ns for name in files if "sha256" not in name} == {
        name: state.st_mtime_ns for name, state in files.items() if "sha256" not in name
    }
    assert all(state.st_mode & 0o077 == 0 for state in files.values())


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_stops_no_run_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sum.json"
    file.write_text(json.dumps(WORKFLOW))
    nowhere = tmp_path / "a file"
    nowhere.write_text("")
    reason = f"at each start, as the cache {nowhere} cannot be written"
    assert reason in worker(nowhere, "run", str(file)).stderr
    with pytest.raises(subprocess.CalledProcessError) as raised:
        worker(nowhere, "engine", "prepare")
    assert raised.value.returncode == 71
    assert f"error: cannot write the cache {nowhere}: each start" in raised.value.stderr


@pytest.mark.slow
def test_a_bundle_is_loaded_where_nothing_is_prepared(tmp_path: Path) -> None:
    # The process that loads it is confined before, and reads no file afterwards.
    done = subprocess.run(
        [sys.executable, "-m", "worker.sandbox.child.realm_maker", str(tmp_path)],
        input=json.dumps(
            {"bundles": {"b": "globalThis.__adaptor = {fn: f => f};"}, "libraries": []}
        ).encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"") and len(done.stdout) > 1_000_000
