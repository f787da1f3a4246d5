"""Answers calls from a recording, and notices where they are not what they were."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from worker.adaptors.http.exchange import (
    Exchange,
    ExchangeError,
    HttpRequest,
    reply_text,
    request_of,
)
from worker.sandbox.host import HostCall, HostReply, failed
from worker.util.state_diff import differences

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A request of an execution that is not as it was recorded."""

    step: str
    execution: int
    message: str


class ReplayHost:
    """A host that replays. ``scrub`` does to a request what was done to the recorded ones."""

    def __init__(
        self, exchanges: Iterable[Exchange], scrub: Callable[[HttpRequest], HttpRequest]
    ) -> None:
        self._scrub = scrub
        self._left: dict[Key, list[Exchange]] = defaultdict(list)
        for one in sorted(exchanges, key=lambda one: one.asked):
            self._left[one.step, one.execution].append(one)
        self.changed: list[Changed] = []

    async def answer(self, call: HostCall) -> HostReply:
        try:
            request = self._scrub(request_of(call.text))
        except ExchangeError as error:
            return failed(call, "TypeError", str(error))
        left = self._left[call.step, call.execution]
        found = next((one for one in left if _same(one.request, request)), None)
        if found is None:
            self._note(call, left[0].request if left else None, request)
            if not left:
                shown = f"{request.method} {request.url}"
                return failed(call, "Error", f"the recording has no such request: {shown}")
            found = left[0]
        left.remove(found)
        return HostReply(text=reply_text(found.reply), at=call.now + found.arrived - found.asked)

    def unasked(self) -> list[Changed]:
        """What was recorded and never asked for."""
        return [
            Changed(
                step=one.step,
                execution=one.execution,
                message=f"{one.request.method} {one.request.url} is not requested any more",
            )
            for left in self._left.values()
            for one in left
        ]

    def _note(self, call: HostCall, before: HttpRequest | None, now: HttpRequest) -> None:
        if before is None:
            message = f"{now.method} {now.url} was not requested"
        else:
            message = "; ".join(_differences(before, now))
        self.changed.append(Changed(step=call.step, execution=call.execution, message=message))


def _same(one: HttpRequest, other: HttpRequest) -> bool:
    return not any(_differences(one, other))


def _differences(before: HttpRequest, now: HttpRequest) -> list[str]:
    """What of a request changed. Headers count too: a lost one breaks as much as a lost field."""
    found = [
        f"{name}: expected {was!r}, found {is_now!r}"
        for name, was, is_now in (
            ("method", before.method, now.method),
            ("url", before.url, now.url),
        )
        if was != is_now
    ]
    headers = dict(_lower(before)), dict(_lower(now))
    found += differences("headers", *headers, exact=True)
    if before.body != now.body:
        found += differences("body", _content(before.body), _content(now.body), exact=True)
    return found


def _lower(request: HttpRequest) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in request.headers)


def _content(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
