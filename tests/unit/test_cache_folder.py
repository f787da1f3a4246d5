"""The folder of the cache, by the variables and the user of the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.util.cache_folder import root

VARIABLES = ("WORKER_CACHE", "XDG_CACHE_HOME", "HOME")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"HOME": "/home/ann"}, "/home/ann/.cache/workflow-worker"),
        ({"HOME": "/home/ann", "XDG_CACHE_HOME": "/c"}, "/c/workflow-worker"),
        ({"XDG_CACHE_HOME": "/c", "WORKER_CACHE": "/own"}, "/own"),
    ],
)
def test_variables_choose_the_folder(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert root() == Path(expected)


def test_a_user_without_a_home_gets_no_folder_named_after_the_tilde(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container may run as a user who is in no list of users."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with pytest.raises(RuntimeError, match="WORKER_CACHE"):
        root()
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert root() == Path("/c/workflow-worker")
