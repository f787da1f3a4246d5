"""Webhooks: HTTP calls that become orders, and the responses to them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

import worker
from tests.support.triggers import triggered_workflow
from worker.errors import LoadError
from worker.fleet.client import Client
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.triggers.webhook_auth import read_webhook_auth
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.broker import free_port

AUTH = {
    "lab": {"type": "api_key", "key": "key-of-the-lab"},
    "ministry": {"type": "basic", "username": "dhis2", "password": "district-1"},
    "hub": {"type": "hmac", "secret": "shared-secret"},
}
OWN = "fn(() => ({ webhookResponse: { status: 418, body: { tea: true } } }))"
ECHO = "fn((state) => ({ data: state.data, request: state.request }))"


def project(folder: Path, code: str = ECHO, **trigger: Any) -> Path:
    fields = {"type": "webhook", "custom_path": "in", **trigger}
    workflow = triggered_workflow("Hooked", code, {"hook": fields})
    file = folder / "project.yaml"
    file.write_text(yaml.safe_dump({"workflows": {"hooked": workflow}}))
    return file


@asynccontextmanager
async def served(
    folder: Path, address: str = "127.0.0.1", *, open: bool = False, **options: Any
) -> AsyncIterator[tuple[Client, httpx.AsyncClient]]:
    file = folder / "auth.yaml"
    file.write_text(yaml.safe_dump(AUTH))
    port = free_port()
    webhooks = f"{address}:{port}"
    async with (
        worker.local_fleet(
            webhooks=webhooks, webhook_auth=file, open_webhooks=open, **options
        ) as client,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        await client.summary()
        yield client, http


async def deployed(client: Client, http: httpx.AsyncClient, file: Path) -> None:
    """Deploy, and wait until the server knows the trigger."""
    await client.deploy(file)
    async with asyncio.timeout(30):
        while (await http.get("/i/in")).status_code == 404:
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_call_becomes_an_order_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, http):
        await deployed(client, http, project(tmp_path))
        response = await http.post(
            "/i/in?from=north",
            json={"id": 7},
            headers={"authorization": "Bearer s3cr3t", "x-lab": "4"},
        )
        assert response.status_code == 200
        ids = response.json()
        assert response.headers["x-work-order-id"] == ids["work_order_id"]
        assert response.headers["x-run-id"] == ids["run_id"]
        async for _ in client.follow(ids["run_id"]):
            pass
        state = await client.final_state(ids["run_id"])
        assert state["data"] == {"id": 7}
        request = state["request"]
        assert (request["method"], request["path"], request["query_params"]) == (
            "POST", ["i", "in"], {"from": "north"},
        )  # fmt: skip
        assert (request["headers"]["authorization"], request["headers"]["x-lab"]) == ("***", "4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "config", "status", "body"),
    [
        (
            "fn(() => ({ data: { done: 1 } }))",
            {"success_code": 201},
            201,
            {"data": {"data": {"done": 1}}},
        ),
        (OWN, {}, 418, {"tea": True}),
        ("fn(() => { throw new Error('no'); })", {"error_code": 422}, 422, "JobError"),
    ],
    ids=["state", "own response", "failure"],
)
async def test_after_completion(
    tmp_path: Path, code: str, config: dict[str, int], status: int, body: Any
) -> None:
    async with served(tmp_path) as (client, http):
        file = project(
            tmp_path, code, webhook_reply="after_completion", webhook_response_config=config
        )
        await deployed(client, http, file)
        response = await http.post("/i/in", json={})
        content = response.json()
        assert response.status_code == status, content
        if body == "JobError":
            assert content["meta"]["state"] == "failed"
            assert content["meta"]["error_type"] == body
        else:
            assert {name: content[name] for name in body} == body


@pytest.mark.slow
async def test_refusals(tmp_path: Path) -> None:
    limits = Policy(allows_everything=True, default=ProjectLimits(concurrent=0))
    async with served(tmp_path, policy=limits) as (client, http):
        await deployed(client, http, project(tmp_path, max_mb=0.01))

        async def status(**options: Any) -> int:
            return (await http.post("/i/in", **options)).status_code

        json = {"content-type": "application/json"}
        assert (await http.post("/i/nobody", json={})).status_code == 404
        assert (await http.put("/i/in", json={})).status_code == 405
        assert (await http.get("/i/in")).json() == {
            "message": "the webhook is here: send a POST request to start its workflow"
        }
        assert await status(content=b"{", headers=json) == 400
        assert await status(content=b"[" * 3000 + b"]" * 3000, headers=json) == 400
        assert await status(content=b"<xml/>", headers={"content-type": "text/xml"}) == 415
        assert await status(content=b'"%b"' % (b"x" * 20_000), headers=json) == 413
        assert await status(content=_pieces(), headers=json) == 413
        assert await status(json={}, headers={"sec-fetch-site": "cross-site"}) == 403
        assert await status(json={}, headers={"host": "evil.example.org"}) == 403
        assert not await client.orders()
        rejected = await http.post("/i/in", json={})
        assert rejected.status_code == 429
        assert "its limit is 0" in rejected.json()["message"]
        (order,) = await client.orders()
        assert order["status"] == "rejected"


async def _pieces() -> AsyncIterator[bytes]:
    # Without a length: the server has to count.
    for _ in range(20):
        yield b"x" * 1000


@pytest.mark.slow
async def test_a_run_that_does_not_end_in_time(tmp_path: Path) -> None:
    code = "fn(() => new Promise(done => setTimeout(() => done({}), 60000)))"
    async with served(tmp_path) as (client, http):
        await deployed(
            client, http, project(tmp_path, code, webhook_reply="after_completion", timeout_s=0.2)
        )
        response = await http.post("/i/in", json={})
        assert (response.status_code, response.json()["error"]) == (504, "timeout")
        assert response.json()["work_order_id"] == response.headers["x-work-order-id"]


def _basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def _signed(body: bytes, secret: str = "shared-secret") -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256="
        + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    }


@pytest.mark.slow
async def test_authentication(tmp_path: Path) -> None:
    body = b'{"id": 1}'
    json = {"content-type": "application/json"}
    async with served(tmp_path) as (client, http):
        await deployed(client, http, project(tmp_path, auth=["lab", "ministry", "hub"]))
        for headers, code in (
            ({}, 401),
            ({"x-api-key": "key-of-the-lab"}, 200),
            ({"x-api-key": "key-of-the-laB"}, 401),
            (_basic("dhis2:district-1"), 200),
            (_basic("dhis2:district-2"), 401),
            ({"authorization": "Basic ???"}, 401),
            (_signed(body), 200),
            (_signed(b"other"), 401),
            ({"x-hub-signature-256": "sha256="}, 401),
        ):
            response = await http.post("/i/in", content=body, headers={**json, **headers})
            assert response.status_code == code, headers
        assert len(await client.orders()) == 3
        everything = msgspec.json.encode([await client.orders(), await client.deployments()])
        for method in AUTH.values():
            for secret in ("key", "password", "secret"):
                assert method.get(secret, "key-of-the-lab").encode() not in everything


@pytest.mark.slow
async def test_an_open_address_needs_authentication(tmp_path: Path) -> None:
    async with served(tmp_path, "0.0.0.0") as (client, http):
        with pytest.raises(ControlError, match="has no authentication"):
            await client.deploy(project(tmp_path))
        await deployed(client, http, project(tmp_path, auth="lab"))
    async with served(tmp_path, "0.0.0.0", open=True) as (client, http):
        await deployed(client, http, project(tmp_path))
        assert (await http.post("/i/in", json={})).status_code == 200


def test_mistakes_in_the_file_quote_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "auth.yaml"
    file.write_text("lab: {type: api_key, key: 12345678, header: 'x y'}")
    with pytest.raises(LoadError, match=r":1:27: lab\.key: expected text") as error:
        read_webhook_auth(file)
    assert "12345678" not in str(error.value)
