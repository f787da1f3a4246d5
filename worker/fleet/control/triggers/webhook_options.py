"""Options of the HTTP server of webhooks."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.errors import MachineError, UsageError, reason_of
from worker.fleet.control.triggers.webhook_auth import AuthMethod
from worker.util.listening import listen
from worker.util.loopback import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """Options of the server. ``open``: calls without authentication come from anywhere."""

    host: str
    port: int
    auth: Mapping[str, AuthMethod] = field(default_factory=dict)
    open: bool = False

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def needs_auth(self) -> bool:
        """True where a trigger without authentication may not be called."""
        return not self.loopback and not self.open

    def bind(self) -> socket.socket:
        """Bind a socket. Raises :class:`MachineError` where the address is in use."""
        try:
            return listen(self.host, self.port, backlog=1024)
        except OSError as error:
            text = f"cannot listen on {self.host}:{self.port}: {reason_of(error)}"
            raise MachineError(text) from error


def webhook_options(address: str, *, auth: Mapping[str, AuthMethod], open: bool) -> WebhookOptions:
    """Build options from ``HOST:PORT``. Raises :class:`UsageError`."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise UsageError(f"'{address}' is not an address for webhooks (expected HOST:PORT)")
    return WebhookOptions(
        host=host.strip("[]") or "127.0.0.1", port=int(port), auth=auth, open=open
    )
