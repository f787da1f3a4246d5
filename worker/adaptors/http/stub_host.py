"""Host that replies from the rules of a case: services can be down, slow or wrong."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.adaptors.http.exchange import (
    ExchangeError,
    HttpReply,
    HttpRequest,
    reply_text,
    request_of,
)
from worker.sandbox.parent.host import HostCall, HostReply, error_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """Rule: requests that match get the replies in order, and then the last one again.

    ``url`` is a pattern in which ``*`` matches anything. ``body`` is a part of a JSON body, or of a
    text. The rule applies to the first ``times`` requests; ``None``: to all. ``more_delays_s`` are
    added to the delay of its first reply, its second one, and so on, and then again.
    """

    replies: tuple[HttpReply, ...]
    url: str = "*"
    method: str = ""
    step: str = ""
    body: Any = None
    delay_s: float = 0.0
    times: int | None = None
    more_delays_s: tuple[float, ...] = ()

    def delay_of(self, reply: int) -> float:
        """Return the seconds that a reply takes, counted from 0."""
        more = self.more_delays_s
        return self.delay_s + (more[reply % len(more)] if more else 0.0)

    def matches(self, call: HostCall, request: HttpRequest) -> bool:
        return (
            self.step in ("", call.step)
            and self.method in ("", request.method)
            and fnmatch.fnmatchcase(request.url, self.url)
            and (self.body is None or _contains(self.body, request.body))
        )


class StubHost:
    """Replies from the first rule that matches."""

    def __init__(self, stubs: Sequence[Stub]) -> None:
        self._stubs = stubs
        self._used = Counter[int]()

    async def handle(self, call: HostCall) -> HostReply:
        try:
            request = request_of(call.text)
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        for index, stub in enumerate(self._stubs):
            used = self._used[index]
            if stub.times is not None and used >= stub.times:
                continue
            if stub.matches(call, request):
                self._used[index] += 1
                reply = stub.replies[min(used, len(stub.replies) - 1)]
                return HostReply(
                    text=reply_text(reply), at_us=call.now_us + int(stub.delay_of(used) * 1e6)
                )
        message = f"no stub of this case answers {request.method} {request.url} (http: ...)"
        return error_reply(call, "Error", message, "ERR_NO_STUB")


def _contains(expected: Any, body: bytes) -> bool:
    if isinstance(expected, str):
        return expected in body.decode("utf-8", "replace")
    try:
        return _is_part(expected, json.loads(body))
    except (ValueError, RecursionError):
        return False


def _is_part(expected: Any, actual: Any) -> bool:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return all(
            key in actual and _is_part(value, actual[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        pairs = zip(expected, actual, strict=False)
        return len(expected) == len(actual) and all(_is_part(*pair) for pair in pairs)
    # In Python True == 1, in JSON it is not.
    return bool(expected == actual) and isinstance(expected, bool) is isinstance(actual, bool)
