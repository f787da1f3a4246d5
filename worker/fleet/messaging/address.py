"""Where a broker is, and how to get in."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.errors import UsageError

PASSWORD = "WORKER_MQTT_PASSWORD"  # noqa: S105 (the name of a variable)
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A broker: its host and port, a name and a password, and certificates for TLS."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs. Raises :class:`UsageError` where a certificate cannot be read."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(one) for one in (self.ca, self.cert, self.key) if one)
            raise UsageError(f"a certificate cannot be read ({files}): {error}") from error
        return context


def address(
    url: str, *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> Address:
    """``mqtt://name:password@host:1883``, or ``mqtts://`` for TLS. The password can stand in the
    environment as ``WORKER_MQTT_PASSWORD`` instead, where no list of processes shows it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"'{url}' is no URL of a broker: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
        raise UsageError(
            f"'{_without_password(url)}' is no URL of a broker: write mqtt://HOST or mqtts://HOST"
        )
    tls = parts.scheme == "mqtts"
    if (ca or cert or key) and not tls:
        raise UsageError("certificates need TLS: write mqtts://HOST")
    if (cert is None) is not (key is None):
        raise UsageError("a client certificate needs both --cert and --key")
    return Address(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else os.environ.get(PASSWORD),
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
    )


def _without_password(url: str) -> str:
    before, at, after = url.rpartition("@")
    return f"{before.rpartition(':')[0] or before}:…{at}{after}" if at else url
