"""Addresses of brokers, with credentials and certificates."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.errors import UsageError
from worker.fleet.messaging.topics import is_name
from worker.util.masking import hide_url_secrets

# An environment variable, because a password in a URL shows in the list of processes.
PASSWORD_VARIABLE = "WORKER_MQTT_PASSWORD"  # noqa: S105 (the name of a variable)
_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a broker: host and port, user name and password, certificates for TLS.

    ``websocket_path`` is the path of MQTT over WebSockets, and empty for MQTT over TCP.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    websocket_path: str = ""

    def __str__(self) -> str:
        scheme = ("ws" if self.websocket_path else "mqtt") + ("s" if self.tls else "")
        return f"{scheme}://{self.host}:{self.port}{self.websocket_path}"

    @property
    def client_user(self) -> str:
        """User name by which a policy knows a client; empty where it fits no level of a topic."""
        return self.username if self.username and is_name(self.username) else ""

    @property
    def remedy(self) -> str:
        """What to look at where a broker denies access; without the user name, maybe a token."""
        if self.username is not None and self.password is not None:
            return "check the user name and the password"
        if self.username is not None:
            return f"no password was given: {PASSWORD_VARIABLE} can hold it"
        if self.cert is not None:
            return "check the certificate of --cert"
        return "no user was named: --mqtt mqtt://NAME:PASSWORD@HOST does"

    def context(self) -> ssl.SSLContext | None:
        """Create the TLS context; ``None`` without TLS.

        Raises :class:`UsageError` where a certificate cannot be read.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in (self.ca, self.cert, self.key) if file)
            raise UsageError(f"cannot read the certificate {files}: {error.strerror}") from error
        return context


def parse_address(
    url: str, *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> Address:
    """Parse ``mqtt://name:password@host:1883``, or ``mqtts://`` for TLS.

    ``ws://host/path`` and ``wss://host/path`` are MQTT over WebSockets, for brokers behind proxies.

    A URL without a password takes it from the environment variable ``WORKER_MQTT_PASSWORD``.
    Raises :class:`UsageError` on an invalid URL, or one that does not fit the certificates.
    """
    if not isinstance(url, str):
        raise UsageError(f"expected the URL of a broker, found {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # Without its text, which can hold a part of the password.
        message = f"'{hide_url_secrets(url)}' is not a broker URL: its host or port is invalid"
        raise UsageError(message) from error
    websocket = parts.scheme in ("ws", "wss")
    has_path = bool(parts.path.strip("/"))
    if parts.scheme not in _PORTS or not parts.hostname or (has_path and not websocket):
        raise UsageError(
            f"'{hide_url_secrets(url)}' is not a broker URL (expected mqtt://HOST, mqtts://HOST, "
            "ws://HOST/PATH or wss://HOST/PATH)"
        )
    tls = parts.scheme in ("mqtts", "wss")
    if (ca or cert or key) and not tls:
        raise UsageError("certificates need TLS: write mqtts://HOST or wss://HOST/PATH")
    if (cert is None) is not (key is None):
        raise UsageError("a client certificate needs both --cert and --key")
    return Address(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else os.environ.get(PASSWORD_VARIABLE),
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
        # By convention, where a URL has no path.
        websocket_path=(parts.path if has_path else "/mqtt") if websocket else "",
    )
