"""Check of the address of a Lightning."""

from __future__ import annotations

from urllib.parse import urlsplit

from worker.errors import UsageError
from worker.util.masking import hide_url_secrets


def check_url(url: str, *schemes: str, form: str) -> None:
    """Raise UsageError unless a URL has one of these schemes, a host, and no query or fragment.

    ``form`` is the hint.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Paths and the token come behind it. The host is encoded as for a look-up of its name.
        is_whole = not {"?", "#"} & set(url) and bool(host.encode("idna"))
        is_address = is_whole and parts.scheme in schemes and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(
            f"'{hide_url_secrets(url)}' is not an address of Lightning (expected {form})"
        )
