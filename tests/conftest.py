"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Timings never decide a test.
settings.register_profile("worker", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("worker")
