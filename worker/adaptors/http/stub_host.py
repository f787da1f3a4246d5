"""Answers calls from rules that a case gives: so a service can be down, slow, or lie."""

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
from worker.sandbox.host import HostCall, HostReply, failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A rule: requests that fit get the replies, one after the other, the last one for ever.

    ``url`` is a pattern in which ``*`` stands for anything. ``body`` is a part of a JSON body, or
    of a text. ``times`` is how many requests the rule answers; ``None``: all.
    """

    replies: tuple[HttpReply, ...]
    url: str = "*"
    method: str = ""
    step: str = ""
    body: Any = None
    delay_s: float = 0.0
    times: int | None = None

    def fits(self, call: HostCall, request: HttpRequest) -> bool:
        return (
            self.step in ("", call.step)
            and self.method in ("", request.method)
            and fnmatch.fnmatchcase(request.url, self.url)
            and (self.body is None or _holds(self.body, request.body))
        )


class StubHost:
    """A host of rules, the first that fits answers."""

    def __init__(self, stubs: Sequence[Stub]) -> None:
        self._stubs = stubs
        self._used = Counter[int]()

    async def answer(self, call: HostCall) -> HostReply:
        try:
            request = request_of(call.text)
        except ExchangeError as error:
            return failed(call, "TypeError", str(error))
        for place, stub in enumerate(self._stubs):
            used = self._used[place]
            if stub.times is not None and used >= stub.times:
                continue
            if stub.fits(call, request):
                self._used[place] += 1
                reply = stub.replies[min(used, len(stub.replies) - 1)]
                return HostReply(text=reply_text(reply), at=call.now + int(stub.delay_s * 1e6))
        message = f"no stub of this case answers {request.method} {request.url} (http: ...)"
        return failed(call, "Error", message, "ERR_NO_STUB")


def _holds(expected: Any, body: bytes) -> bool:
    if isinstance(expected, str):
        return expected in body.decode("utf-8", "replace")
    try:
        return _within(expected, json.loads(body))
    except (ValueError, RecursionError):
        return False


def _within(expected: Any, actual: Any) -> bool:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and _within(one, actual[key]) for key, one in expected.items())
    if isinstance(expected, list) and isinstance(actual, list):
        pairs = zip(expected, actual, strict=False)
        return len(expected) == len(actual) and all(_within(*pair) for pair in pairs)
    return bool(expected == actual) and isinstance(expected, bool) is isinstance(actual, bool)
