"""The dashboard at work: a server on an address, and the control plane on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from worker.errors import UsageError
from worker.fleet.client import Client
from worker.view.dashboard.app import application
from worker.view.dashboard.hosts import Hosts
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import Pictures


def bind(host: str, port: int) -> socket.socket:
    """Raises :class:`UsageError` where somebody else is there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except OSError as error:
        text = f"{host}:{port} cannot be bound: {error.strerror or error}: give another --port"
        raise UsageError(text) from error


class _Server(uvicorn.Server):
    """Leaves the signals to who runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    client: Client,
    listening: socket.socket,
    *,
    token: str,
    hosts: Hosts,
    title: str = "",
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until ``stop`` is set. Raises :class:`worker.fleet.client.NoAnswer` where there is no
    control plane when it starts."""
    async with client:
        await client.summary()
        hub, pictures = Hub(client), Pictures()
        app = application(client, hub, pictures, token=token, hosts=hosts, title=title)
        server = _Server(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
                limit_concurrency=1000,
            )
        )
        tasks = [
            asyncio.create_task(hub.run()),
            asyncio.create_task(server.serve([listening])),
            asyncio.create_task(stop.wait()),
        ]
        ready()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            hub.close()
            server.should_exit = True
            await tasks[1]
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            pictures.close()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Ctrl-C and SIGTERM end it."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
