"""Files that the command has written, and that somebody has damaged: an error that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.adaptors import cache, lock
from worker.errors import WorkerError
from worker.fleet.control.policy import read_policy
from worker.testing import coverage
from worker.testing.mutation import KilledBefore

CONTENTS = {
    "deep": b'{"adaptors":' + b"[" * 100_000,
    "deep and whole": b'{"workflows":' + b"[" * 300 + b"]" * 300 + b"}",
    "not UTF-8": b'{"adaptors": "\xff"}',
    "an infinite number": b'{"workflows": [{"workflow": "a", "rules": {"x": 1e999}}]}',
    "half a character": b'{"\\ud800": {}, "projects": {"\\ud800": {}}}',
    "other types": b'{"adaptors": {"common": {"version": [1], "integrity": null}}}',
    "a list": b"[1]",
    "nothing": b"",
}
READERS: dict[str, Callable[[Path], Any]] = {
    lock.NAME: lambda file: lock.read(file.parent),
    "adaptor.json": cache._read_manifest,
    "coverage.json": coverage._load,
    "policy.json": read_policy,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_bytes(CONTENTS[content])
    with pytest.raises(WorkerError, match=name):
        READERS[name](file)


@pytest.mark.parametrize("content", CONTENTS)
def test_damaged_results_of_earlier_mutants_are_forgotten(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mutants.json"
    file.write_bytes(CONTENTS[content])
    assert not KilledBefore(file, [])._killed
