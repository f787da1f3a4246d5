"""How many generated examples a test runs: few every day, all of them in ``make test-all``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

FULL = 100
EVERYDAY = 20


def register_profiles() -> None:
    """Register the profiles ``everyday`` and ``full``, and load ``everyday``.

    ``pytest --hypothesis-profile full`` loads the other one, before any test module is imported.
    """
    # Timings never decide a test.
    settings.register_profile(
        "full",
        max_examples=FULL,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    # The same examples each time: an everyday run fails because of a change, and not by chance.
    settings.register_profile(
        "everyday",
        settings.get_profile("full"),
        max_examples=EVERYDAY,
        derandomize=True,
        database=None,
    )
    settings.load_profile("everyday")


def examples(full: int) -> int:
    """Return the number of examples of a test that has ``full`` of them in the profile ``full``."""
    current = settings().max_examples
    return full if current == FULL else max(1, min(current, full * current // FULL))
