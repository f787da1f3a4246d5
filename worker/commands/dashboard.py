"""``worker dashboard``: a web page over the control plane."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from worker.commands.connect import client, place
from worker.errors import UsageError
from worker.transports.address import Address
from worker.transports.topics import Topics

TOKEN = "WORKER_DASHBOARD_TOKEN"  # noqa: S105 (the name of a variable)
SHORTEST = 16
_NEEDED = ("jinja2", "starlette", "uvicorn")
EXPOSED = (
    "warning: others can reach this dashboard, and what is sent to it is not encrypted: whoever "
    "listens on the way learns the token. An SSH tunnel to a dashboard on 127.0.0.1 is safer."
)


def dashboard(
    *, host: str, port: int, token_file: Path | None, allow_hosts: tuple[str, ...], **broker: Any
) -> int:
    """Serve until Ctrl-C. Raises :class:`worker.errors.WorkerError` on wrong usage, and where no
    control plane answers."""
    if not all(map(find_spec, _NEEDED)):
        raise UsageError("the dashboard is an extra: pip install 'workflow-worker[dashboard]'")
    token = read_token(token_file)
    where, topics = place(**broker)
    asyncio.run(_serve(where, topics, host, port, token, allow_hosts))
    return 0


def read_token(file: Path | None) -> str | None:
    """The token of a file, or of the environment; ``None`` where a fresh one is to be made."""
    try:
        given = os.environ.get(TOKEN) if file is None else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    if given is None:
        return None
    if len(given.strip()) < SHORTEST:
        raise UsageError(f"the token must have at least {SHORTEST} characters")
    return given.strip()


async def _serve(
    where: Address, topics: Topics, host: str, port: int, token: str | None, more: tuple[str, ...]
) -> None:
    from worker.dashboard.door import fresh
    from worker.dashboard.hosts import hosts_of, is_loopback
    from worker.dashboard.serve import bind, serve, stop_on_signals

    listening = bind(host, port)
    bound = listening.getsockname()[1]
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    made = token or fresh()

    def ready() -> None:
        if not is_loopback(host):
            print(EXPOSED, file=sys.stderr)
        end = "" if token else f"?token={made}"
        print(f"http://{shown}:{bound}/{end}", flush=True)

    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(
        client(where, topics),
        listening,
        token=made,
        hosts=hosts_of(host, bound, more),
        title=f"{where} · {topics.root}",
        stop=stop,
        ready=ready,
    )
