"""Attacks by the machine: full disks, closed streams, readers that go, missing permissions.
Each test says what is tried."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import ROOT, TIMEOUT_S, WORKER
from worker.sandbox.javascript.engine import realm_image
from worker.util.whole_files import write_whole

PLAN = {
    "workflow": {
        "steps": [
            {
                "id": "a",
                "adaptor": "common",
                "expression": "fn((state) => ({ data: 'x'.repeat(4000) }))",
                "next": {"b": {"condition": "always"}},
            },
            {"id": "b", "adaptor": "common", "expression": "fn((state) => { throw new Error() })"},
        ]
    }
}
DEFECTS = ("defect", "Traceback", "never retrieved", "Exception ignored")
FULL_AFTER = 3000  # bytes: within the first events


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    # With a full disk it would be made in each process anew, in files of memory, which count here.
    realm_image()


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(PLAN))
    return file


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AFTER, FULL_AFTER))


def start(*arguments: str | Path, before: Callable[[], None] | None = None, shell: str = "") -> subprocess.CompletedProcess[str]:  # fmt: skip
    command = [*WORKER, *map(str, arguments)]
    if shell:
        command = ["bash", "-c", shell, "bash", *command]
    # Python itself writes bytecode files in part where the disk is full.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONUNBUFFERED", None)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        preexec_fn=before,
    )
    assert not any(text in done.stderr for text in DEFECTS), done.stderr
    return done


@pytest.mark.parametrize(
    "option",
    ["--journal", pytest.param("--record", marks=pytest.mark.slow), pytest.param("-o", marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_disk_is_full(flow: Path, option: str) -> None:
    """Tries to keep a run from reporting its own status, and to leave half a file behind."""
    target = flow.with_name("out.json")
    done = start("run", flow, option, target, before=full_disk)
    assert done.returncode == 1 and "failed" in done.stdout
    if option == "-o":
        assert done.stderr == "" or not target.exists()
    else:
        assert f"{target}: File too large (the run ended as failed)" in done.stderr
        lines = target.read_text().splitlines()
        assert all(json.loads(line) for line in lines)
    assert {file.name for file in flow.parent.iterdir()} <= {"flow.json", "out.json"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["run", "FLOW", "--json", "-q"], 1),
        (["run", "FLOW"], 1),
        pytest.param(["graph", "FLOW"], 71, marks=pytest.mark.slow),
        pytest.param(["explore", "FLOW"], 71, marks=pytest.mark.slow),
        pytest.param(["lint", "graphs/referral.yaml"], 71, marks=pytest.mark.slow),
        pytest.param(["--help"], 71, marks=pytest.mark.slow),
        pytest.param(["engine", "--help"], 71, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_stdout_is_full(flow: Path, command: list[str], expected: int) -> None:
    """Tries to have what a command prints lost without a word."""
    parts = [str(flow) if part == "FLOW" else part for part in command]
    done = start(*parts, shell='"$@" > /dev/full')
    assert done.returncode == expected
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["run", "FLOW", "--json", "-q"], 1),
        pytest.param(["run", "FLOW"], 1, marks=pytest.mark.slow),
        pytest.param(["graph", "FLOW"], None, marks=pytest.mark.slow),
        pytest.param(["explore", "FLOW", "--json"], None, marks=pytest.mark.slow),
        pytest.param(["lint", "graphs/referral.yaml"], None, marks=pytest.mark.slow),
        pytest.param(["validate", "FLOW"], None, marks=pytest.mark.slow),
        pytest.param(["completion", "bash"], None, marks=pytest.mark.slow),
        pytest.param(["--help"], None, marks=pytest.mark.slow),
        pytest.param(["adaptors", "list"], None, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_reader_goes(flow: Path, command: list[str], expected: int | None) -> None:
    """Tries ``| head -1``: a reader that has seen enough is no failure, of the run or of ours."""
    parts = [str(flow) if part == "FLOW" else part for part in command]
    done = start(*parts, shell='"$@" | true; exit ${PIPESTATUS[0]}')
    assert done.stderr == ""
    if expected is not None:
        assert done.returncode == expected


@pytest.mark.parametrize(
    "closed", [">&-", pytest.param("2>&-", marks=pytest.mark.slow), pytest.param(">&- 2>&- <&-", marks=pytest.mark.slow)]
)  # fmt: skip
def test_a_stream_is_closed(flow: Path, closed: str) -> None:
    """Tries to have a file or a socket take the number of a standard stream."""
    journal = flow.with_name("out.jsonl")
    done = start("run", flow, "--journal", journal, shell=f'"$@" {closed}')
    assert done.returncode == 1 and done.stderr == ""
    assert [json.loads(line)["type"] for line in journal.read_text().splitlines()][
        -1
    ] == "run:complete"


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "state.json", tmp_path / "link"
    write_whole(target, b"old")
    target.chmod(0o644)
    link.symlink_to(target)
    write_whole(link, b"new", mode=0o600)
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o644
    write_whole(tmp_path / "secret", b"new", mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    write_whole(Path(os.devnull), b"lost")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        write_whole(target, b"newer")
    assert target.read_bytes() == b"new"
    assert {file.name for file in tmp_path.iterdir()} == {"state.json", "link", "secret"}


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_cannot_be_written(flow: Path) -> None:
    """Tries to lose the status of a run for a permission that is missing."""
    locked = flow.with_name("locked")
    locked.mkdir(mode=0o500)
    done = start("run", flow, "-o", locked / "out.json")
    assert done.returncode == 1 and "failed" in done.stdout
    assert "cannot be written: Permission denied (the run ended as failed)" in done.stderr
