"""HTTP server of webhooks: calls of ``POST /i/PATH`` become orders."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers import webhook_orders
from worker.fleet.control.triggers.call_input import (
    Call,
    CallRefused,
    body_limit_bytes,
    input_of,
    no_webhook,
    too_large,
)
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.firing_queue import FiringQueue
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.triggers.result_waiter import ResultHost, ResultWaiter
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.triggers.webhook_admission import Admission, AdmittedBody
from worker.fleet.control.triggers.webhook_auth import (
    AuthMethod,
    is_authentic,
    needs_body,
    secret_headers,
)
from worker.fleet.control.triggers.webhook_options import WebhookOptions
from worker.fleet.control.triggers.webhook_orders import CallResponse
from worker.fleet.http_connection import Connection
from worker.fleet.messaging.trigger_messages import WebhookTrigger
from worker.sinks.log import LeveledLogger

REFRESH_S = 1.0
BODY_TIMEOUT_S = 30.0
STOP_S = 3.0
MAX_HEADER_BYTES = 32 * 1024
MAX_CONCURRENT = 1000
_FOUND = "the webhook is here: send a POST request to start its workflow"


class WebhookHost(ResultHost, Protocol):
    """The part of a control plane that webhooks use."""

    triggers_changed: Signal

    async def fire(self, items: Sequence[Firing | DeadLetter]) -> list[Fired]: ...

    async def live_triggers(self, *kinds: str) -> list[LiveTrigger]: ...


class _WebhookServer(uvicorn.Server):
    """Server that leaves signals to the caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebhookService:
    """The HTTP server of a control plane's webhooks."""

    def __init__(self, host: WebhookHost, options: WebhookOptions, log: LeveledLogger) -> None:
        self._host = host
        self._options = options
        self._log = log
        # Bound now, so that an address in use is an error of the start.
        self._listening = options.bind()
        self._changed = host.triggers_changed.listen()
        self._by_path: dict[str, LiveTrigger] = {}
        self._queue = FiringQueue(host.fire)
        self._waiter = ResultWaiter(host)
        self._admission = Admission()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._refresh()
        address = f"{self._options.host}:{self._listening.getsockname()[1]}"
        self._log.info("webhooks.listening", address=address)
        server = _WebhookServer(
            uvicorn.Config(
                self,
                ws="none",
                lifespan="off",
                http=Connection,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                limit_concurrency=MAX_CONCURRENT,
                timeout_graceful_shutdown=1,
            )
        )
        tasks = [
            asyncio.create_task(each)
            for each in (
                server.serve([self._listening]),
                self._follow_triggers(),
                self._queue.run(),
                self._waiter.run(),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.should_exit = True
            await asyncio.wait(tasks[:1], timeout=STOP_S)
            self._listening.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_triggers(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S):
                    await self._changed.wait()
            self._changed.clear()
            await self._refresh()

    async def _refresh(self) -> None:
        triggers = await self._host.live_triggers("webhook")
        self._by_path = {_definition(trigger).path: trigger for trigger in triggers}

    # --- calls ------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI defines."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except CallRefused as refusal:
            response = webhook_orders.refused(refusal)
        except ClientDisconnect:
            return
        headers = {**response.headers, "x-content-type-options": "nosniff"}
        if response.code == 401:
            headers["www-authenticate"] = 'Basic realm="webhook"'
        await Response(
            response.body, response.code, headers=headers, media_type=response.content_type
        )(scope, receive, send)

    async def _respond(self, request: Request) -> CallResponse:
        trigger = self._trigger_at(_path(request))
        definition = _definition(trigger)
        if request.method not in ("POST", "GET"):
            raise CallRefused(405, "method_not_allowed", "expected a POST request")
        headers = _headers(request)
        self._check_origin(definition, headers)
        methods = [
            self._options.auth[name] for name in definition.auth if name in self._options.auth
        ]
        signed = bool(definition.auth) and needs_body(methods)
        if definition.auth and not signed:
            # Before the body is read: nobody else may fill the memory.
            _check_authentic(methods, headers, b"")
        limit_bytes = body_limit_bytes(definition)
        with contextlib.ExitStack() as admitted:
            proven = bool(definition.auth) and not signed
            received = admitted.enter_context(self._admission.body(proven=proven))
            body = await _body(request, headers, limit_bytes, received)
            if signed:
                _check_authentic(methods, headers, body)
                received.prove()
            # Only for whole calls of those who may call: senders of a byte a second, and senders
            # without a proof, must not take the places of these.
            admitted.enter_context(self._admission.call(trigger.id))
            return await self._accept(request, trigger, body, methods)

    async def _accept(
        self, request: Request, trigger: LiveTrigger, body: bytes, methods: list[AuthMethod]
    ) -> CallResponse:
        """Make the order of a call whose sender may make it."""
        if request.method == "GET":
            return CallResponse(code=200, body=b'{"message":"%b"}' % _FOUND.encode())
        call = Call(
            method=request.method,
            path=_path(request),
            query=request.scope["query_string"].decode("latin-1"),
            headers=_headers(request),
            body=body,
        )
        return await self._fire(trigger, _definition(trigger), call, secret_headers(methods))

    def _trigger_at(self, path: str) -> LiveTrigger:
        trigger = self._by_path.get(path.removeprefix("/i/")) if path.startswith("/i/") else None
        if trigger is None:
            raise no_webhook()
        return trigger

    def _check_origin(self, definition: WebhookTrigger, headers: Mapping[str, str]) -> None:
        """Refuse calls that only their address speaks for, where that is not enough."""
        if definition.auth or self._options.open:
            return
        loopback = self._options.loopback
        if not loopback:
            text = "the trigger has no authentication, and this address is not loopback"
            raise CallRefused(403, "forbidden", text)
        if webhook_orders.is_from_a_page(headers, loopback=loopback):
            raise CallRefused(403, "forbidden", "a page of the web may not call this webhook")

    async def _fire(
        self,
        trigger: LiveTrigger,
        definition: WebhookTrigger,
        call: Call,
        secrets: frozenset[str],
    ) -> CallResponse:
        input = input_of(call, secrets)
        firing = Firing(trigger=trigger, input=input, topic=f"/i/{definition.path}")
        fired = await self._queue.fire(firing)
        if not webhook_orders.waits_for_run(definition, fired):
            return webhook_orders.accepted(fired)
        try:
            async with asyncio.timeout(definition.timeout_s):
                result = await self._waiter.wait(fired.order_id)
        except TimeoutError:
            return webhook_orders.timed_out(definition, fired)
        return webhook_orders.completed(definition, result)


def _definition(trigger: LiveTrigger) -> WebhookTrigger:
    assert isinstance(trigger.definition, WebhookTrigger)
    return trigger.definition


def _path(request: Request) -> str:
    # Not that of `request.url`, which begins with what the header Host says.
    path: str = request.scope["path"]
    return path


def _headers(request: Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _check_authentic(methods: list[AuthMethod], headers: Mapping[str, str], body: bytes) -> None:
    # A trigger whose methods this control plane does not have lets nobody in.
    if not is_authentic(methods, headers, body):
        raise CallRefused(401, "unauthorized", "the authentication is missing or wrong")


async def _body(
    request: Request, headers: Mapping[str, str], limit: int, admitted: AdmittedBody
) -> bytes:
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit)
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large(limit)
                admitted.take(len(part))
                parts.append(part)
    except TimeoutError as error:
        raise CallRefused(408, "timeout", "the body did not come in time") from error
    return b"".join(parts)
