"""Fixtures and markers that all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import suppress

import pytest

from tests.support.examples import register_profiles
from worker.engine.prepared_files import default_folder
from worker.util.cores import usable_cores

pytest_plugins = [
    "tests.support.databases",
    "tests.support.control_plane_harness",
    "tests.support.lightning_fixtures",
]

register_profiles()

# A shell starts a background job with SIGINT ignored, and the commands that tests interrupt with
# SIGINT would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Likewise nohup, with SIGHUP.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What this machine's user has installed must not decide one either.
_engine = default_folder()
os.environ["WORKER_CACHE"] = tempfile.mkdtemp(prefix="worker-tests-cache-")
# But for the engine, whose preparation takes seconds: its files are named by what they are made of.
# Linked, as they are many and large. None is written in place: a new content is a new file.
with suppress(OSError, shutil.Error):
    shutil.copytree(_engine, default_folder(), copy_function=os.link)


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for ``-n auto``: tests wait for half of their time."""
    return 2 * usable_cores()


def pytest_unconfigure() -> None:
    """Remove the cache of this process: it holds some 100 MB."""
    shutil.rmtree(os.environ["WORKER_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need what this machine does not have."""
    # Imported late: pytest rewrites the assertions of its plugins, tests.support.databases too.
    from tests.support.needs import missing

    for marker, reason in missing().items():
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
