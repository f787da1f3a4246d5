"""What all tests share."""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.databases", "tests.support.benches"]

# Timings never decide a test.
settings.register_profile("worker", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("worker")

# What this machine's user has installed must not decide one either.
os.environ["WORKER_CACHE"] = tempfile.mkdtemp(prefix="worker-tests-cache-")
