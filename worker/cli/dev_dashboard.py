"""Dashboard of ``worker dev``, in the process of its control plane and its worker."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from worker.cli.connection import BrokerConnection

if TYPE_CHECKING:
    import socket

_NEEDED = ("jinja2", "starlette", "uvicorn")
_HOST = "127.0.0.1"
_REMEDY = "is another worker dev running? try --dashboard-port 0, or --no-dashboard"


class DevDashboard:
    """Dashboard on loopback, with a new token. It takes its port before anything else starts.

    ``address`` is the URL to open, or the reason why there is none.
    """

    def __init__(self, connection: BrokerConnection, port: int) -> None:
        """Bind the port. Raises :class:`MachineError` where it is in use."""
        self._connection = connection
        self._stop = asyncio.Event()
        self._socket: socket.socket | None = None
        if not all(map(find_spec, _NEEDED)):
            self.address = "not installed (pip install 'workflow-worker[dashboard]')"
            return
        from worker.view.dashboard.serve import bind
        from worker.view.dashboard.sessions import new_secret

        self._socket = bind(_HOST, port, remedy=_REMEDY)
        self._port, self._token = self._socket.getsockname()[1], new_secret()
        self.address = f"http://{_HOST}:{self._port}/?token={self._token}"

    async def run(self) -> None:
        """Serve until :meth:`stop`."""
        if self._socket is None:
            return
        from worker.view.dashboard.hosts import allowed_hosts
        from worker.view.dashboard.serve import serve

        await serve(
            self._connection.client(),
            self._socket,
            token=self._token,
            hosts=allowed_hosts(_HOST, self._port, ()),
            title=str(self._connection),
            stop=self._stop,
        )

    def stop(self) -> None:
        """End :meth:`run`."""
        self._stop.set()
