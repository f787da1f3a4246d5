"""Reasons why a connection to a broker cannot be made, with what to do. Pure."""

from __future__ import annotations

import re
import ssl

from paho.mqtt.client import WebsocketConnectionError

# X509_V_ERR_*: of OpenSSL, which Python has no names for.
_NOT_YET_VALID, _EXPIRED = 9, 10
_NAME_MISMATCH = (62, 63, 64)
TIMED_OUT = "Operation timed out"
"""What aiomqtt reports where the broker did not answer the request to connect."""


def connection_problem(error: BaseException) -> str:
    """Return why a connection failed, and what to do about it where that is known."""
    causes = _causes(error)
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                return _certificate_problem(cause)
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
                return "no TLS on this port: write mqtt:// or ws://, or the port of its TLS"
            case WebsocketConnectionError():
                return f"{cause}: no MQTT over WebSockets at this port and path"
            case _:
                pass
    # Numbers of the system's errors help nobody who reads them.
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    if text == TIMED_OUT:
        return (
            "no answer: the port may be that of another protocol (mqtt, mqtts, ws or wss), or need "
            "a client certificate (--cert and --key)"
        )
    return text


def _causes(error: BaseException | None) -> list[BaseException]:
    causes = list[BaseException]()
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    text = f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if error.verify_code in _NAME_MISMATCH:
        return f"{text}: connect by a name that the broker's certificate has"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        return f"{text}: renew the broker's certificate, or set this machine's clock"
    return f"{text}: name the authority that signed the broker's certificate with --ca"
