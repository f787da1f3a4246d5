"""Real adaptors for tests: installed once, and kept from one session of tests to the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.command import start_worker
from worker.adaptors import cache
from worker.adaptors.install import toolchain_digest
from worker.adaptors.names import parse

HTTP = "@openfn/language-http@7.2.10"
COMMON = "@openfn/language-common@3.3.4"
KEPT = Path(__file__).parents[2] / ".cache" / "adaptors"

needs_npm = pytest.mark.npm


@pytest.fixture(scope="module", autouse=True)
def real_adaptors() -> Iterator[None]:
    """Tests of the module that imports this find the adaptors that were installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKER_CACHE", str(KEPT))
        yield


def install(*specifiers: str) -> None:
    """Install adaptors; other processes of the session may be about to do the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKER_CACHE", str(KEPT))
        found = [cache.find(parse(one)) for one in specifiers]
    if all(one is not None and one.toolchain == toolchain_digest() for one in found):
        return
    KEPT.mkdir(parents=True, exist_ok=True)
    with FileLock(KEPT / ".lock"):
        done = start_worker("adaptors", "install", *specifiers, WORKER_CACHE=str(KEPT))
        assert done.returncode == 0, done.stderr
