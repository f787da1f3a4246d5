"""Fleet and dashboard in a thread: control plane, workers, and a real socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tests.support.triggers import triggered_workflow
from worker.fleet.client import Client
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Bus
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.runner.pool import Pool
from worker.view.dashboard.hosts import allowed_hosts
from worker.view.dashboard.serve import bind, serve
from worker.workflow.load import load
from worker.workflow.save import to_execution_plan

GRAPHS = Path(__file__).parents[2] / "graphs"
TOKEN = "a-token-for-tests-alone"
READ_TOKEN = "a-token-to-look-with"
LINK = "a-secret-of-an-address"
TOPICS = Topics()
T = TypeVar("T")


class DiscardingLog:
    """A log without output."""

    def critical(self, event: str, **fields: Any) -> None: ...

    def warning(self, event: str, **fields: Any) -> None: ...

    def info(self, event: str, **fields: Any) -> None: ...


def plan(name: str, pick: str | None = None) -> dict[str, Any]:
    """A sample as an execution plan."""
    return to_execution_plan(load(GRAPHS / name, workflow=pick))


def sample_input(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GRAPHS / name).read_text())
    return content


class DashboardFleet:
    """Control plane, workers and dashboard on one event loop. ``call`` runs a coroutine on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bus: Callable[..., Bus]) -> None:
        self.loop = loop
        self.bus = bus
        self.store = Store("sqlite://")
        self.store.migrate()
        policy = Policy(allows_everything=True)
        self.processor = MessageProcessor(self.store, topics=TOPICS, policy=policy)
        self.client = Client(self.bus(), TOPICS)
        self.tasks: list[asyncio.Task[Any]] = []
        self.workers: dict[str, asyncio.Task[None]] = {}
        self.serving: list[asyncio.Task[None]] = []
        self.folder = tempfile.TemporaryDirectory(prefix="worker-fleet-")
        self.stop = asyncio.Event()
        self.url = ""
        self.port = 0

    def call(self, work: Coroutine[Any, Any, T], within: float = 120) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within)

    async def open(self) -> None:
        bus = self.bus(*TOPICS.for_control())
        self.control = ControlPlane(bus, self.processor, topics=TOPICS, log=DiscardingLog())
        self.tasks.append(asyncio.create_task(self.control.run()))
        await self.control.connected.wait()
        await self.client.__aenter__()

    async def add_worker(self, name: str, executor: Any, capacity: int = 2) -> FleetWorker:
        bus = self.bus(*TOPICS.for_worker(name))
        outbox = Outbox(Path(self.folder.name) / name)
        worker_ = FleetWorker(
            bus, executor, outbox, name=name, capacity=capacity, topics=TOPICS, log=DiscardingLog()
        )
        self.workers[name] = asyncio.create_task(worker_.run())
        await worker_.connected.wait()
        return worker_

    async def dismiss(self, name: str) -> None:
        """Stop a worker at once."""
        task = self.workers.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def serve(self) -> None:
        """Start a dashboard on a free port."""
        listening = bind("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        client = Client(self.bus(), TOPICS, wait_s=5)
        hosts = allowed_hosts("127.0.0.1", self.port)
        going = serve(
            client,
            listening,
            token=TOKEN,
            read_token=READ_TOKEN,
            link=LINK,
            hosts=hosts,
            title="mqtt://fleet",
            stop=self.stop,
        )
        self.serving.append(asyncio.create_task(going))

    async def run(self, **submitted: Any) -> dict[str, Any]:
        """Submit an order, and wait for the end of its run."""
        order = await self.client.submit(**submitted)
        return await self.client.wait(order["last_run"])

    async def close(self) -> None:
        self.stop.set()
        for task in self.serving:
            await task
        for name in list(self.workers):
            await self.dismiss(name)
        await self.client.__aexit__()
        for task in reversed(self.tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)  # connections close in the loop's next turns
        self.folder.cleanup()


async def deploy_triggers(fleet: DashboardFleet) -> None:
    """Deploy a workflow with a trigger of each kind, and let one message be a dead letter."""
    triggers: dict[str, dict[str, Any]] = {
        "messages": {"type": "mqtt", "topic": "clinic/+/in"},
        "calls": {"type": "webhook", "custom_path": "in"},
        "nightly": {
            "type": "cron", "cron_expression": "0 2 * * *", "timezone": "Africa/Nairobi",
        },
        "old": {"type": "webhook", "custom_path": "old", "enabled": False},
    }  # fmt: skip
    workflow = triggered_workflow("Clinic", "fn(s => s)", triggers)
    file = Path(fleet.folder.name) / "project.json"
    file.write_text(json.dumps({"workflows": {"w": workflow}}))
    await fleet.client.deploy(file)
    # By the control plane's own thread: a database in memory has one connection.
    (trigger,) = await fleet.control.live_triggers("mqtt")
    letter = DeadLetter(
        trigger=trigger,
        reason="not_json",
        message="the content is not JSON",
        topic="clinic/north/in",
        payload=b"<script>alert(1)</script> " + b"x" * 500,
    )
    await fleet.control.fire([letter])


@contextmanager
def dashboard_fleet(url: str = "") -> Iterator[DashboardFleet]:
    """Open a fleet in a thread of its own; tests drive browsers from the main thread.

    With a ``url`` the parts communicate over that broker.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = asyncio.run_coroutine_threadsafe(_made(loop, url), loop).result(120)
    try:
        yield made
    finally:
        made.call(made.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _made(loop: asyncio.AbstractEventLoop, url: str) -> DashboardFleet:
    fleet = DashboardFleet(loop, partial(MqttBus, parse_address(url)) if url else LocalBroker().bus)
    await fleet.open()
    return fleet


@contextmanager
def real_worker(
    on: DashboardFleet, name: str = "north-1", capacity: int = 2
) -> Iterator[FleetWorker]:
    """Start a worker with a real process pool."""
    stack = AsyncExitStack()

    async def enter() -> FleetWorker:
        pool = await stack.enter_async_context(Pool(size=capacity))
        return await on.add_worker(name, RunExecutor(pool, Allowance()), capacity)

    worker_ = on.call(enter())
    try:
        yield worker_
    finally:
        on.call(on.dismiss(name))
        on.call(stack.aclose())
