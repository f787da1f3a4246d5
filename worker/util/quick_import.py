"""Import of msgspec in half the time, for processes whose start somebody waits for."""

from __future__ import annotations

import sys


def import_msgspec() -> None:
    """Import msgspec, and hide ``typing_extensions`` meanwhile.

    msgspec imports it where it is installed, and takes of it what the standard library has too.
    """
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]
