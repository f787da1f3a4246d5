"""Errors of Phoenix channels: refused by the server, closed, or left without a reply."""

from __future__ import annotations

from typing import Any

from worker.errors import WorkerError
from worker.lightning.serializer import encode_json


class ReplyLost(WorkerError):
    """No reply came. ``written`` is false where the request was not sent.

    ``timed_out`` is true where the server had its time, and false where a connection was lost.
    """

    def __init__(self, message: str, *, written: bool = True, timed_out: bool = False) -> None:
        super().__init__(message)
        self.written, self.timed_out = written, timed_out


class RequestRefused(WorkerError):
    """The server replied with an error: ``response``."""

    def __init__(self, event: str, response: Any) -> None:
        text = response if isinstance(response, str) else encode_json(response).decode()
        super().__init__(f"[{event}] {text}")
        self.response = response


class ChannelClosed(WorkerError):
    """The server closed the channel, or refused to join it again."""


class ConnectionRefused(WorkerError):
    """The server does not accept the worker's token."""
