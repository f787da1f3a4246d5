"""``worker diff NAME@VERSION``: versions that are deployed to a fleet, without their secrets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import pytest

import worker
from worker.cli.connection import BrokerConnection
from worker.cli.diff_sources import Versions
from worker.comparison.versions import diff_versions

T = TypeVar("T")
JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


def write(folder: Path, name: str, condition: str) -> Path:
    secret = {"configuration": {"baseUrl": "https://x.example", "password": "hunter22"}}
    steps = [
        {"id": "a", **JOB, "next": {"b": {"condition": condition}}},
        {"id": "b", **JOB, **secret},
    ]
    file = folder / name
    file.write_text(json.dumps({"workflow": {"name": "intake", "steps": steps}}), "utf-8")
    return file


@dataclass(frozen=True)
class Fleet:
    """A fleet that both files were deployed to, for each request anew."""

    files: tuple[Path, ...]

    def request(self, request: Callable[[worker.Client], Awaitable[T]]) -> T:
        return asyncio.run(self._connected(request))

    async def _connected(self, request: Callable[[worker.Client], Awaitable[T]]) -> T:
        async with worker.local_fleet() as client:
            for file in self.files:
                await client.deploy(file)
            return await request(client)


@pytest.mark.slow
def test_deployed_versions_are_compared_with_files(tmp_path: Path) -> None:
    first = write(tmp_path, "first.json", "state.data.n > 5")
    second = write(tmp_path, "second.json", "state.data.n >= 5")
    fleet = Fleet((first, second))
    history = fleet.request(lambda client: client.workflow_history("intake"))
    versions = Versions(workflow=None, connection=cast(BrokerConnection, fleet), project="default")
    latest, before = (
        versions.load(f"intake@{version}") for version in ("latest", history[1]["version"][:8])
    )
    assert not diff_versions(latest, versions.load(str(second))).comparison.scenarios
    diff = diff_versions(before, latest)
    assert [change.place for change in diff.changes] == ["a->b"]
    assert diff.comparison.scenarios
    assert "hunter22" not in repr(latest)
    with pytest.raises(worker.ControlError, match="no version that begins with 0000"):
        versions.load("intake@0000")
    with pytest.raises(worker.ControlError, match="nobody"):
        versions.load("nobody@latest")


def test_what_is_neither_a_file_nor_a_version_is_named(tmp_path: Path) -> None:
    versions = Versions(
        workflow=None, connection=cast(BrokerConnection, Fleet(())), project="default"
    )
    with pytest.raises(worker.LoadError, match=r"gone@home\.yaml"):
        versions.load(str(tmp_path / "gone@home.yaml"))
