"""A control plane, a worker and a client in one process, without a broker."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import msgspec
import pytest
from cloudevents.http import from_json
from referencing import Registry, Resource

import worker
import worker.fleet.messaging
from tests.support.command import ROOT
from tests.support.helpers import job, workflow
from worker.core.events import Dataclip, RunComplete, RunLog, RunStart, StepComplete
from worker.core.outcome import StepError
from worker.errors import LoadError
from worker.fleet.client import Client
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy, ProjectLimits, read_policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.asyncapi import document
from worker.fleet.messaging.bus import Disconnected, Inbox, Message
from worker.fleet.messaging.client_messages import OrderQuery
from worker.fleet.messaging.cloudevents import CloudEventEncoder, unwrap
from worker.fleet.messaging.in_memory import LocalBroker, LocalBus
from worker.fleet.messaging.topics import Topics, covers
from worker.fleet.messaging.worker_protocol import AssignedRun
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.worker_publisher import worker_will
from worker.sinks.log import stderr_logger
from worker.workflow.save import to_execution_plan

TOPICS = Topics()
IDLE = "fn(() => new Promise(() => {}));"
QUICK = to_execution_plan(workflow(job("fn(state => ({data: state.data.n + 1}))")))


async def test_the_objects_of_a_client_have_the_types_that_they_are_annotated_with() -> None:
    idle = workflow(job("fn(s => s);", "a", next="b"), job(IDLE, "b"))
    async with worker.local_fleet() as client:
        order = await client.submit(plan=to_execution_plan(idle), input={})
        run_id = order.last_run or ""
        async for event in client.follow(run_id):
            if event["type"] == "step:start" and event["job_id"] == "b":
                break
        [listed] = await client.workers()
        assert listed.leases
        check_types(listed)
        running = await client.run(run_id)
        assert len(running.steps) == 2
        check_types(running)
        await client.cancel(run_id)
        await client.wait(run_id)
        check_types(await client.order(order.order_id))


def check_types(value: worker.ReplyObject) -> None:
    """Check the fields of an object, and of those in it, against their annotations."""
    hints = get_type_hints(type(value))
    assert value.keys() <= hints.keys()
    for name, field in value.items():
        msgspec.convert(field, hints[name], dec_hook=as_is)
        for part in field if isinstance(field, list) else [field]:
            if isinstance(part, worker.ReplyObject):
                check_types(part)


def as_is(type: type, value: object) -> object:
    """Return a value of a type of ours."""
    assert isinstance(value, type)
    return value


async def test_an_order_runs_to_its_end() -> None:
    async with worker.local_fleet(workflows=[ROOT / "graphs"]) as client:
        order = await client.submit(plan=QUICK, input={"data": {"n": 1}})
        run = await client.wait(order["last_run"])
        assert (run["status"], run["worker"]) == ("success", "local")
        events = await client.events(run["run_id"], clips=True)
        assert events[-1]["final_state"] == {"data": 2}
        assert "referral" in await client.workflows()
        named = await client.submit(workflow="Referral", input={})
        assert (await client.wait(named["last_run"]))["status"] == "failed"
        listed = await client.orders(OrderQuery(status="failed"))
        assert [one["order_id"] for one in listed] == [named["order_id"]]
        (failed,) = await client.runs(worker.RunQuery(status="failed"))
        assert failed["run_id"] == named["last_run"]


async def test_a_workflow_that_cannot_be_read_is_refused_with_its_reason() -> None:
    async with worker.local_fleet() as client:
        with pytest.raises(ControlError, match="expected a project") as error:
            await client.submit(plan={"nothing": 1})
        assert error.value.code == "invalid"
        with pytest.raises(ControlError, match="no workflow is named 'x'"):
            await client.submit(workflow="x")
        assert await client.orders() == []


async def test_limits_reject_with_the_reason() -> None:
    policy = Policy(default=ProjectLimits(per_period=1))
    async with worker.local_fleet(policy=policy) as client:
        assert (await client.submit(plan=QUICK))["status"] == "pending"
        second = await client.submit(plan=QUICK)
        assert second["status"] == "rejected"
        assert "has had 1 run in this period" in second["reason"]


def test_a_wrong_policy_is_an_error_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("projects:\n  east: {concurrent: 1}\n  north: {concurent: 1}")
    with pytest.raises(LoadError, match=r"policy.yaml:3:\d+: projects.north: unknown .*concurent"):
        read_policy(file)
    file.write_text("projects: {north: {concurrent: 3, workflows: {referral: 1}}}")
    assert read_policy(file).concurrency("north", "referral") == 1


@pytest.mark.parametrize(
    ("filter", "topic", "covered"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/#", "a/b/c", True),
        ("a/#", "b/b/c", False),
        ("a/+", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("+", "a", True),
    ],
)
def test_filters_match_as_a_brokers_do(filter: str, topic: str, covered: bool) -> None:
    assert covers(filter, topic) is covered


async def test_an_inbox_is_bounded_and_keeps_its_order() -> None:
    inbox = Inbox(max_messages=3, max_bytes=100)
    for number, size in enumerate((60, 60, 30, 5, 1)):
        inbox.put(Message(topic=str(number), payload=b"x" * size))
    inbox.put(Disconnected("there is always room for it"))
    taken = await inbox.take()
    assert [getattr(one, "topic", "gone") for one in taken] == ["0", "2", "3", "gone"]
    assert inbox.dropped == 2
    inbox.put(Message(topic="large", payload=b"x" * 1000))
    assert len(await inbox.take()) == 1
    assert await inbox.take(0.01) == []


# --- a worker under the hands of a test -----------------------------------------------------------


class ManualExecutor:
    """An executor whose runs the test starts and ends."""

    def __init__(self) -> None:
        self.runs: asyncio.Queue[tuple[AssignedRun, Any, asyncio.Event]] = asyncio.Queue()
        self.ends: dict[tuple[str, int], asyncio.Event] = {}

    async def execute(self, run: AssignedRun, receive: Any, cancel: asyncio.Event) -> None:
        id = run.lease.run_id
        end = self.ends[id, run.lease.attempt] = asyncio.Event()
        receive(RunStart(run_id=id, seq=0, timestamp=1, workflow="test", versions={}))
        await self.runs.put((run, receive, cancel))
        await end.wait()

    def finish(self, run: AssignedRun, receive: Any, *, seq: int = 1) -> None:
        id = run.lease.run_id
        receive(RunComplete(run_id=id, seq=seq, timestamp=2, reason="success"))
        self.ends[id, run.lease.attempt].set()


class Small:
    """A broker with a control plane, one steered worker, and a client."""

    def __init__(self, tmp_path: Path, settings: Settings, encode: Any) -> None:
        self.broker = LocalBroker()
        self.store = Store("sqlite://")
        self.store.migrate()
        processor = MessageProcessor(
            self.store,
            topics=TOPICS,
            settings=settings,
            secrets_at_rest=InlineSecrets(allow=True),
        )
        log = stderr_logger(logging.CRITICAL)
        self.control = ControlPlane(
            self.broker.bus(*TOPICS.for_control()), processor, topics=TOPICS, log=log, encode=encode
        )
        self.executor = ManualExecutor()
        self.bus: LocalBus = self.broker.bus(
            *TOPICS.for_worker("w"), will=worker_will(TOPICS, "w", "1")
        )
        self.worker_ = FleetWorker(
            self.bus, self.executor, Outbox(tmp_path / "outbox"), name="w", capacity=2,
            topics=TOPICS, log=log, id="1",
        )  # fmt: skip
        self.listener = self.broker.bus("worker/v1/#")
        self.client = Client(self.broker.bus(), TOPICS)
        self.processes: list[asyncio.Task[None]] = []
        """The control plane and the worker."""


@contextlib.asynccontextmanager
async def small(
    tmp_path: Path, settings: Settings = Settings(), encode: Any = lambda message: message
) -> AsyncIterator[Small]:
    made = Small(tmp_path, settings, encode)
    async with made.listener, made.client:
        for process in (made.control, made.worker_):
            made.processes.append(asyncio.create_task(process.run()))
        try:
            yield made
        finally:
            for task in reversed(made.processes):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            made.store.close()


async def test_a_connection_that_breaks_for_a_moment_costs_nothing(tmp_path: Path) -> None:
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        made.bus.drop_connection()
        made.executor.finish(run, receive)
        made.bus.reconnect()
        assert (await made.client.wait(order["last_run"]))["status"] == "success"


async def until_started(made: Small, run_id: str) -> None:
    """Wait until the start is reported."""
    async for _ in made.client.follow(run_id):
        return


async def test_a_connection_that_stays_broken_loses_the_run(tmp_path: Path) -> None:
    quick = Settings(lease_s=2.0, disconnect_grace_s=0.2)
    async with small(tmp_path, quick) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, cancel = await made.executor.runs.get()
        await until_started(made, order["last_run"])
        made.bus.drop_connection()
        lost = await made.client.wait(order["last_run"])
        assert (lost["status"], lost["error_type"]) == ("lost", "LostAfterStart")
        made.bus.reconnect()
        async with asyncio.timeout(60):
            await cancel.wait()  # the worker abandons the run
        made.executor.finish(run, receive)
        assert (await made.client.run(order["last_run"]))["status"] == "lost"
        # There is room for another, and the outbox is empty.
        again = await made.client.retry(order["order_id"])
        made.executor.finish(*(await made.executor.runs.get())[:2])
        assert (await made.client.wait(again["last_run"]))["status"] == "success"
        async with asyncio.timeout(60):
            while list((tmp_path / "outbox").glob("*.jsonl")):
                await asyncio.sleep(0.01)


async def test_half_a_surrogate_pair_does_not_stop_a_report(tmp_path: Path) -> None:
    """JavaScript strings may contain lone surrogates."""
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        half = "a\ud800b \U0001f600 \\ud800 \x00"
        receive(
            RunLog(
                run_id=run.lease.run_id,
                seq=1,
                timestamp=1,
                source="JOB",
                level="info",
                message=half,
            )
        )
        made.executor.finish(run, receive, seq=2)
        assert (await made.client.wait(order["last_run"]))["status"] == "success"
        messages = [one.get("message") for one in await made.client.events(order["last_run"])]
        assert messages[1] == "a?b \U0001f600 \\ud800 \x00"


@pytest.mark.slow
async def test_what_is_too_large_for_a_message_is_withheld_or_cut(tmp_path: Path) -> None:
    """An event that is too large would be refused for ever."""
    async with small(tmp_path, Settings(max_payload_bytes=100_000)) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        id = run.lease.run_id
        long = "x" * 300_000
        receive(RunLog(run_id=id, seq=1, timestamp=1, source="JOB", level="info", message=long))
        receive(
            StepComplete(
                run_id=id, seq=2, timestamp=1, step_id="1", job_id="a", reason="fail",
                error=StepError(type="JobError", message=long), output_dataclip_id="c",
                output_dataclip=Dataclip.of({"data": long}),
            )
        )  # fmt: skip
        for seq in range(3, 103):
            receive(
                RunLog(
                    run_id=id, seq=seq, timestamp=1, source="JOB", level="info", message="y" * 9000
                )
            )
        receive(RunComplete(run_id=id, seq=103, timestamp=2, reason="success",
                            final_dataclip_id="d", final_state=Dataclip.of({"data": long})))  # fmt: skip
        made.executor.ends[id, 1].set()
        assert (await made.client.wait(order["last_run"]))["status"] == "success"
        events = await made.client.events(order["last_run"], clips=True)
        assert len(events) == 104
        assert events[1]["message"] == "x" * 10_000 + "…"
        assert events[2]["withheld"] and events[2]["error_message"] == "x" * 10_000 + "…"
        assert events[103]["withheld"] and "final_state" not in events[103]
        assert not made.control.publication.refused.total()


async def test_a_run_whose_report_cannot_be_read_ends_as_exception_and_is_not_repeated(
    tmp_path: Path,
) -> None:
    # On a machine under load a shorter lease would expire before the malformed report comes.
    async with small(tmp_path, Settings(lease_s=2.0, disconnect_grace_s=0.2)) as made:
        order = await made.client.submit(plan=QUICK)
        _, receive, cancel = await made.executor.runs.get()
        await until_started(made, order["last_run"])
        wrong = RunComplete(run_id=order["last_run"], seq=1, timestamp=-1, reason="success")
        receive(wrong)
        async with asyncio.timeout(60):
            await cancel.wait()
        made.executor.ends[order["last_run"], 1].set()
        run = await made.client.wait(order["last_run"])
        assert (run["status"], run["error_type"]) == ("exception", "ReportRefusedError")
        assert made.control.publication.refused["malformed"] == 1
        assert made.worker_.set_aside == 1
        (alert,) = await made.client.alerts()
        assert alert["error_type"] == "ReportRefusedError"
        assert len(list(tmp_path.rglob("dead-letter/*.reason"))) == 1
        # Others are not affected.
        order = await made.client.submit(plan=QUICK)
        made.executor.finish(*(await made.executor.runs.get())[:2])
        assert (await made.client.wait(order["last_run"]))["status"] == "success"


async def test_what_a_step_is_configured_with_is_for_its_worker_alone(tmp_path: Path) -> None:
    secret = to_execution_plan(workflow(job("fn(s => s)", configuration={"password": "hunter2"})))
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=secret)
        run, receive, _ = await made.executor.runs.get()
        assert b"hunter2" in bytes(run.plan)
        made.executor.finish(run, receive)
        told = await made.client.wait(order["last_run"])
        assert told["plan"]["workflow"]["steps"][0]["id"] == "a"
        assert "hunter2" not in json.dumps(told)


@pytest.mark.slow
async def test_an_answer_is_bounded_and_following_gets_all_the_same(tmp_path: Path) -> None:
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        id = run.lease.run_id
        for seq in range(1, 30):
            text = "z" * 900_000
            receive(
                RunLog(run_id=id, seq=seq, timestamp=1, source="JOB", level="info", message=text)
            )
        made.executor.finish(run, receive, seq=30)
        seen = [event["seq"] async for event in made.client.follow(id)]
        assert seen == list(range(31))
        assert 1 < len(await made.client.events(id)) < 12
        assert (await made.client.run(order["order_id"]))["status"] == "success"


async def test_what_the_worker_cannot_run_is_an_exception(tmp_path: Path) -> None:
    async with small(tmp_path) as made:

        async def fails(run: AssignedRun, receive: Any, cancel: asyncio.Event) -> None:
            raise OSError("no more processes")

        made.executor.execute = fails  # type: ignore[method-assign]
        order = await made.client.submit(plan=QUICK)
        run = await made.client.wait(order["last_run"])
        assert (run["status"], run["error_type"]) == ("exception", "OSError")
        assert [one["run_id"] for one in await made.client.alerts()] == [run["run_id"]]


# --- conventions ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_asyncapi_document_is_the_one_of_these_messages() -> None:
    shipped = Path(worker.fleet.messaging.__file__).parent / "asyncapi.json"
    assert json.loads(shipped.read_text()) == json.loads(json.dumps(document())), "make schema"


@pytest.mark.slow
def test_the_asyncapi_document_is_valid() -> None:
    packed = ROOT / "tests/data/asyncapi-3.0.0.schema.json.gz"
    schema = json.loads(gzip.decompress(packed.read_bytes()))
    found = document()
    jsonschema.Draft7Validator(schema).validate(found)
    broken = {**found, "operations": {"x": {"action": "shout"}}}
    assert not jsonschema.Draft7Validator(schema).is_valid(broken)


@pytest.mark.slow
async def test_messages_on_the_bus_match_the_document(tmp_path: Path) -> None:
    async with small(tmp_path) as made:
        heard: list[Message] = []

        async def listen() -> None:
            while True:
                heard.extend(
                    one for one in await made.listener.receive() if isinstance(one, Message)
                )

        listening = asyncio.create_task(listen())
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        with contextlib.suppress(ControlError):
            await made.client.cancel(order["last_run"])
        made.executor.finish(run, receive)
        await made.client.wait(order["last_run"])
        for ask in (
            made.client.workers,
            made.client.alerts,
            made.client.summary,
            made.client.orders,
        ):
            await ask()
        listening.cancel()
    checked = {check(one) for one in heard if one.payload}
    assert {"requests.submit", "replies", "workers.claim", "workers.rsp", "workers.reports",
            "workers.status", "workers.cmd", "runs.state", "runs.events"} <= checked  # fmt: skip


def check(message: Message) -> str:
    """The channel of a message, which it fits."""
    found = document()
    resource = Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
    )
    registry = Registry().with_resource("doc:", resource)
    for name, channel in found["channels"].items():
        address = channel["address"].replace("{root}", "worker")
        for parameter in channel["parameters"]:
            address = address.replace(f"{{{parameter}}}", "+")
        if covers(address, message.topic):
            refs = [f"doc:{one['payload']['$ref']}" for one in channel["messages"].values()]
            schema = {"anyOf": [{"$ref": ref} for ref in refs]}
            jsonschema.Draft202012Validator(schema, registry=registry).validate(
                json.loads(message.payload)
            )
            return str(name)
    raise AssertionError(f"no channel for {message.topic}")


async def test_cloudevents_are_read_by_others_and_by_our_own_client(tmp_path: Path) -> None:
    async with small(
        tmp_path, encode=CloudEventEncoder(TOPICS, "/worker/v1/control").encode
    ) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        made.executor.finish(run, receive)
        seen = [event["type"] async for event in made.client.follow(order["last_run"])]
        assert seen == ["run:start", "run:complete"]
        heard = [one for one in await made.listener.receive() if isinstance(one, Message)]
    states = [one for one in heard if "/runs/" in one.topic and one.topic.endswith("/state")]
    events = [from_json(one.payload) for one in states]
    assert {one["type"] for one in events} == {"org.openfn.worker.run.state"}
    assert {one["subject"] for one in events} == {order["last_run"]}
    assert len({one["id"] for one in events}) == len(events)
    assert [one.data["status"] for one in events] == ["pending", "running", "success"]
    assert all(one.content_type.startswith("application/cloudevents+json") for one in states)
    # Other messages are not encoded.
    assert all(unwrap(one.payload) == one.payload for one in heard if "/workers/" in one.topic)


@pytest.mark.slow
async def test_orders_are_placed_retried_and_erased_in_a_local_fleet() -> None:
    retry = worker.OrderRetry(times=1, after_s=0)
    async with worker.local_fleet(capacity=1, labels=["north"]) as client:
        failing = await client.submit(
            plan={"workflow": {"steps": [
                {"id": "a", "adaptor": "common", "expression": "fn(() => { throw 'no' })"},
            ]}},
            placement=["north"], retry=retry, tags=["trial"],
        )  # fmt: skip
        await client.wait(failing["last_run"])
        order = await client.order(failing["order_id"])
        assert [run["retries"] for run in order["all_runs"]] == [0, 1]
        await client.wait(order["last_run"])
        history = [line async for line in client.history(worker.OrderQuery(tag="trial"))]
        assert [line["run"]["status"] for line in history] == ["failed", "failed"]
        assert all(line["events"][-1]["type"] == "run:complete" for line in history)
        await client.erase(failing["order_id"])
        assert await client.all_events(order["last_run"]) == []
