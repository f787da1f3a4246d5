"""Attacks on where requests may go: whoever writes a workflow, an order or an input tries to lead
requests, and credentials with them, to hosts that the operator did not name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.helpers import job, workflow
from tests.support.services import Asked, Service, call, get, resolve_to, serving
from worker.adaptors.http.allowlist import hosts_in_credentials, parse_host_pattern
from worker.adaptors.http.lazy_host import LazyHost
from worker.adaptors.http.live_host import LiveHost
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.reach import local_reach
from worker.workflow.load import load
from worker.workflow.model import Workflow

PASSES = "fn(s => s);"
REFUSED = "as no credential of the step names that host (--allow-host {place} lets it through)"
PRIVATE = "has the private address 127.0.0.1, which neither a pattern nor a configuration"


def greet(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, b"inside"


def three_steps(inline: Mapping[str, Any]) -> Workflow:
    """Step ``own`` has the credential prod, ``inline`` a configuration, ``none`` neither."""
    return workflow(
        job(PASSES, "own", configuration="prod", next="inline"),
        job(PASSES, "inline", configuration=dict(inline), next="none"),
        job(PASSES, "none"),
    )


@asynccontextmanager
async def door(
    name: str, flow: Workflow, credentials: Mapping[str, Any], input: dict[str, Any], *hosts: str
) -> AsyncIterator[LiveHost]:
    """Open the host of a run, as the command, the API or a worker of a fleet do."""
    if name == "fleet":
        allowed = tuple(map(parse_host_pattern, hosts))
        executor = RunExecutor(Pool(), Allowance(credentials=credentials, hosts=allowed))
        from worker.workflow.save import to_execution_plan

        plan = json.dumps(to_execution_plan(flow)).encode()
        assigned: Any = SimpleNamespace(plan_id="p", plan=plan)
        async with executor._loaded(assigned) as loaded, executor._host(loaded, input, "") as host:
            assert isinstance(host, LazyHost)
            yield await host._host()
        await executor.close()
    else:
        options = Options(credentials=credentials, allow_hosts=hosts)
        local = LazyHost(local_reach(flow, input, options))
        yield await local._host()
        await local.close()


async def answer_of(host: LiveHost, url: str, step: str) -> str:
    reply = await get(host, url, call(step, step))
    return reply.error.get("message", "") or reply.body.decode()


@pytest.mark.parametrize("name", ["local", "fleet"])
async def test_a_step_reaches_the_hosts_of_its_own_credential_alone(name: str) -> None:
    """Tries to send what one step's credential opens, from another step of the plan."""
    with serving(greet) as service:
        prod = {"prod": {"baseUrl": service.url(), "password": "S3cret"}}
        async with door(name, three_steps({"user": "x"}), prod, {}) as host:
            assert await answer_of(host, service.url(), "own") == "inside"
            for step in ("inline", "none", "unknown"):
                expected = REFUSED.format(place=f"127.0.0.1:{service.port}")
                assert expected in await answer_of(host, service.url(), step)
        assert len(service.asked) == 1


@pytest.mark.parametrize("name", ["local", "fleet"])
@pytest.mark.parametrize("key", ["url", "baseUrl", "host", "server", "anything"])
async def test_a_configuration_in_the_workflow_opens_nothing_private(name: str, key: str) -> None:
    """Tries server-side request forgery: the workflow itself names the host to attack."""
    with serving(greet) as service:
        value = service.url() if key in ("url", "baseUrl", "anything") else "127.0.0.1"
        async with door(name, three_steps({key: value}), {}, {}) as host:
            answer = await answer_of(host, service.url(), "inline")
            assert PRIVATE in answer
            assert f"(--allow-host 127.0.0.1:{service.port})" in answer
        # What the operator allows is open, to every step.
        place = f"127.0.0.1:{service.port}"
        async with door(name, three_steps({key: value}), {}, {}, place) as host:
            assert await answer_of(host, service.url(), "inline") == "inside"
            assert await answer_of(host, service.url(), "none") == "inside"
        assert len(service.asked) == 2


@pytest.mark.parametrize("name", ["local", "fleet"])
async def test_a_marked_name_opens_what_the_credential_names_and_no_more(name: str) -> None:
    """Tries to open a private host by a field of one's own beside the name of a credential."""
    with serving(greet) as prod, serving(greet) as private:
        own = {"$CREDENTIALS$": "prod", "url": private.url()}
        async with door(name, three_steps(own), {"prod": {"baseUrl": prod.url()}}, {}) as host:
            assert await answer_of(host, prod.url(), "inline") == "inside"
            assert PRIVATE in await answer_of(host, private.url(), "inline")
        assert private.asked == []


@pytest.mark.parametrize("name", ["local", "fleet"])
async def test_credentials_of_a_workflow_open_public_hosts_to_every_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to open a private host by what a workflow merges under all configurations."""
    with serving(greet) as service:
        url = f"http://api.example.org:{service.port}/"
        steps = [job(PASSES, "a", next="b"), job(PASSES, "b", configuration="prod")]
        shared = {"baseUrl": url, "server": "127.0.0.1"}
        flow = load({"workflow": {"credentials": shared, "steps": steps}})
        resolve_to(monkeypatch)
        async with door(name, flow, {"prod": {}}, {}) as host:
            for step in ("a", "b"):
                assert PRIVATE in await answer_of(host, service.url(), step)
                assert PRIVATE in await answer_of(host, url, step)
            assert service.asked == []
            monkeypatch.setattr("worker.adaptors.http.connections.is_public", lambda address: True)
            for step in ("a", "b"):
                assert await answer_of(host, url, step) == "inside"


@pytest.mark.parametrize(("name", "is_open"), [("local", True), ("fleet", False)])
async def test_an_input_opens_private_hosts_to_its_user_alone(name: str, is_open: bool) -> None:
    """Tries to reach a private host by the ``configuration`` of an order's input."""
    with serving(greet) as service:
        state = {"configuration": {"baseUrl": service.url()}}
        async with door(name, three_steps({}), {}, state) as host:
            answer = await answer_of(host, service.url(), "own")
            assert answer == "inside" if is_open else PRIVATE in answer
            # The input's configuration reaches the first step, and so does what it opens.
            assert "no credential of the step" in await answer_of(host, service.url(), "none")


@pytest.mark.parametrize("name", ["local", "fleet"])
async def test_a_public_host_that_a_workflow_names_is_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries the honest case, and a name that resolves to a private address only later."""
    with serving(greet) as service:
        resolve_to(monkeypatch)
        monkeypatch.setattr("worker.adaptors.http.connections.is_public", lambda address: True)
        url = f"http://api.example.org:{service.port}/"
        async with door(name, three_steps({"baseUrl": url}), {}, {}) as host:
            assert await answer_of(host, url, "inline") == "inside"
            monkeypatch.setattr("worker.adaptors.http.connections.is_public", lambda address: False)
            await host._client._transport._pools.popitem()[1].aclose()  # type: ignore[attr-defined]
            assert PRIVATE in await answer_of(host, url, "inline")


async def test_a_connection_of_one_step_serves_no_other() -> None:
    """Tries to use the open connection of a step that may reach a private host."""
    with serving(greet) as service:
        flow = workflow(
            job(PASSES, "own", configuration="prod", next="inline"),
            job(PASSES, "inline", configuration={"baseUrl": service.url()}),
        )
        async with door("local", flow, {"prod": {"baseUrl": service.url()}}, {}) as host:
            # Both steps claim the same credential, by which connections are pooled.
            for step, expected in (("own", "inside"), ("inline", PRIVATE), ("own", "inside")):
                reply = await get(host, service.url(), call(step, "same"))
                assert expected in (reply.error.get("message", "") or reply.body.decode())


@pytest.mark.parametrize("text", ["http://[", "http://[::1", "https://[x]/", "http://h:99999/"])
async def test_a_value_that_only_looks_like_a_url_stops_no_run(text: str) -> None:
    """Tries to end every run as exception, and to wake the superuser, by a wrong URL."""
    patterns = hosts_in_credentials([{"password": text, "baseUrl": "http://h/"}])
    assert [pattern.host for pattern in patterns][-1] == "h"


async def test_a_redirect_leads_no_step_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to come to another step's host by a redirect of one's own service."""
    with serving(greet) as inner:
        outer_service: Service

        def redirect(asked: Asked) -> tuple[int, dict[str, str], bytes]:
            return 302, {"location": inner.url()}, b""

        with serving(redirect) as outer_service:
            flow = workflow(
                job(PASSES, "own", configuration="prod", next="b"),
                job(PASSES, "b", configuration="other"),
            )
            credentials = {"prod": {"url": inner.url()}, "other": {"url": outer_service.url()}}
            async with door("fleet", flow, credentials, {}) as host:
                reply = await get(host, outer_service.url(), call("b", "b"), redirects=3)
                assert "was refused, as no credential of the step" in reply.error["message"]
        assert inner.asked == []
