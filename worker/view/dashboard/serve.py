"""HTTP server of the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

import uvicorn

from worker.errors import MachineError, reason_of
from worker.fleet.client import Client
from worker.fleet.http_connection import Connection
from worker.util.listening import listen
from worker.view.dashboard.app import application
from worker.view.dashboard.hosts import AllowedHosts
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import GraphRenderer
from worker.view.dashboard.sessions import SessionStore


def bind(host: str, port: int, *, remedy: str = "try --port 0") -> socket.socket:
    """Bind a socket. Raises :class:`MachineError` with the remedy where the port is in use."""
    try:
        return listen(host, port)
    except OSError as error:
        reason = reason_of(error)
        hint = remedy if error.errno == errno.EADDRINUSE else "try another address or port"
        text = f"cannot listen on {host}:{port}: {reason} ({hint})"
        raise MachineError(text) from error


class _Server(uvicorn.Server):
    """Server that leaves signals to the caller."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    client: Client,
    listening: socket.socket,
    *,
    token: str,
    read_token: str = "",
    link: str = "",
    hosts: AllowedHosts,
    title: str = "",
    stop: asyncio.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until ``stop`` is set; :class:`SessionStore` describes the tokens.

    Raises :class:`NoAnswer` where no control plane responds at the start.
    """
    async with client:
        # Fail now, rather than show pages without a control plane.
        await client.summary()
        hub, renderer = Hub(client), GraphRenderer()
        sessions = SessionStore(token, read_token=read_token, link=link)
        app = application(client, hub, renderer, sessions=sessions, hosts=hosts, title=title)
        server = _Server(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        tasks = [
            asyncio.create_task(hub.run()),
            asyncio.create_task(server.serve([listening])),
            asyncio.create_task(hub.check_control_plane()),
            asyncio.create_task(stop.wait()),
        ]
        ready()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # Streams end first: the server waits for open responses.
            hub.close()
            server.should_exit = True
            await tasks[1]
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            renderer.close()
