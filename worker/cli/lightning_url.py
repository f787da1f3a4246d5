"""Check of the address of a Lightning."""

from __future__ import annotations

from urllib.parse import urlsplit

from worker.errors import UsageError
from worker.util.masking import hide_url_secrets


def check_url(url: str, *schemes: str, form: str) -> None:
    """Raise UsageError unless a URL has one of these schemes, and a host; ``form`` is the hint."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in schemes and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(
            f"'{hide_url_secrets(url)}' is not an address of Lightning (expected {form})"
        )
