"""Poor machines and huge numbers: clear errors, and runs where they are possible."""

from __future__ import annotations

import math
import resource
import subprocess
import sys

import pytest

from tests.support.control_plane_harness import TOPICS
from worker.errors import MachineError, UsageError
from worker.fleet.client import MAX_WAIT_S, Client
from worker.fleet.messaging.in_memory import LocalBroker
from worker.sandbox.confinement.process import within_hard_limit
from worker.sandbox.parent.open_files import MIN_OPEN_FILES, check_open_files

RUN = """
import resource, worker
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
step = {{"id": "a", "adaptor": "@openfn/language-common@3.3.4", "expression": "fn(s => s)"}}
print(worker.run(worker.load({{"steps": [step]}}), {{}}).status)
"""


def _limit(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))


def test_too_few_open_files_are_an_error_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, MIN_OPEN_FILES, 4096)
    check_open_files()
    _limit(monkeypatch, 12, 4096)
    with pytest.raises(MachineError, match="the limit of open files is 12, expected at least 32"):
        check_open_files()


@pytest.mark.parametrize("hard", [64, 512, 4096, resource.RLIM_INFINITY])
def test_the_limit_of_a_run_is_never_above_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch, hard: int
) -> None:
    _limit(monkeypatch, 64, hard)
    expected = 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)
    assert within_hard_limit(1024) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "words"), [(256, "success"), (12, "the limit of open files")])
def test_a_run_with_few_open_files(limit: int, words: str) -> None:
    command = [sys.executable, "-c", RUN.format(limit=limit)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert words in ended.stdout + ended.stderr


@pytest.mark.parametrize("wait_s", [0, -1, math.nan, math.inf, 2**40])
def test_a_timeout_that_no_timer_or_message_can_hold_is_refused(wait_s: float) -> None:
    with pytest.raises(UsageError, match="wait_s: expected seconds above 0"):
        Client(LocalBroker().bus(), TOPICS, wait_s=wait_s)


def test_the_longest_timeout_fits_a_message() -> None:
    Client(LocalBroker().bus(), TOPICS, wait_s=MAX_WAIT_S)
    assert MAX_WAIT_S < 2**32
