"""Host that replies from a recording and collects requests that differ from it."""

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
from worker.sandbox.parent.host import HostCall, HostReply, error_reply
from worker.util.state_diff import differences

NOT_KEPT = "the requests of this run were not kept (worker submit --record keeps them)"

ExecutionKey = tuple[str, int]
"""Id of a step, and the number of its execution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDivergence:
    """A request of an execution that differs from the recorded one."""

    step: str
    execution: int
    message: str


class ReplayHost:
    """Replays exchanges. ``scrub`` removes secrets from requests, as was done in the recording.

    Without ``has_requests``, the recording was made after the run, whose requests nobody kept.
    """

    def __init__(
        self,
        exchanges: Iterable[Exchange],
        scrub: Callable[[HttpRequest], HttpRequest],
        *,
        has_requests: bool = True,
    ) -> None:
        self._scrub = scrub
        self._has_requests = has_requests
        self._left: dict[ExecutionKey, list[Exchange]] = defaultdict(list)
        for exchange in sorted(exchanges, key=lambda exchange: exchange.sent_us):
            self._left[exchange.step, exchange.execution].append(exchange)
        self.divergences: list[RequestDivergence] = []

    async def handle(self, call: HostCall) -> HostReply:
        try:
            request = self._scrub(request_of(call.text))
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        left = self._left[call.step, call.execution]
        # Concurrent requests may come in another order than before, so all open ones are compared.
        exchange = next((known for known in left if _same(known.request, request)), None)
        if exchange is None:
            self._add_divergence(call, left[0].request if left else None, request)
            if not left:
                reason = "the recording has no such request" if self._has_requests else NOT_KEPT
                message = f"{reason}: {_name(request)}"
                return error_reply(call, "Error", message)
            # The next reply is the best guess, so that one changed header does not end the replay.
            exchange = left[0]
        left.remove(exchange)
        delay = exchange.arrived_us - exchange.sent_us
        return HostReply(text=reply_text(exchange.reply), at_us=call.now_us + delay)

    def not_requested(self) -> list[RequestDivergence]:
        """List the recorded requests that were not made in the replay."""
        return [
            RequestDivergence(
                step=exchange.step,
                execution=exchange.execution,
                message=f"{_name(exchange.request)} is not requested any more",
            )
            for left in self._left.values()
            for exchange in left
        ]

    def _add_divergence(
        self, call: HostCall, recorded: HttpRequest | None, replayed: HttpRequest
    ) -> None:
        if not self._has_requests:
            message = f"{_name(replayed)}: {NOT_KEPT}"
        elif recorded is None:
            message = f"{_name(replayed)} was not requested"
        else:
            message = "; ".join(_differences(recorded, replayed))
        self.divergences.append(
            RequestDivergence(step=call.step, execution=call.execution, message=message)
        )


def _name(request: HttpRequest) -> str:
    return f"{request.method} {request.url}"


def _same(recorded: HttpRequest, replayed: HttpRequest) -> bool:
    return not any(_differences(recorded, replayed))


def _differences(recorded: HttpRequest, replayed: HttpRequest) -> list[str]:
    """List the differences of two requests."""
    lines = [
        f"{name}: expected {expected!r}, found {actual!r}"
        for name, expected, actual in (
            ("method", recorded.method, replayed.method),
            ("url", recorded.url, replayed.url),
        )
        if expected != actual
    ]
    headers = dict(_lower(recorded)), dict(_lower(replayed))
    # Headers count too: a lost one breaks a service as a lost field does.
    lines += differences("headers", *headers, exact=True)
    if recorded.body != replayed.body:
        lines += differences("body", _content(recorded.body), _content(replayed.body), exact=True)
    return lines


def _lower(request: HttpRequest) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in request.headers)


def _content(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
