"""``worker dashboard``: a web page over the control plane."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from worker.errors import UsageError
from worker.fleet.client import Client

TOKEN = "WORKER_DASHBOARD_TOKEN"  # noqa: S105 (the name of a variable)
SHORTEST = 16
_NEEDED = ("jinja2", "starlette", "uvicorn")
EXPOSED = (
    "warning: others can reach this dashboard, and what is sent to it is not encrypted: whoever "
    "listens on the way learns the token. An SSH tunnel to a dashboard on 127.0.0.1 is safer."
)


def dashboard(
    client: Client,
    title: str,
    *,
    host: str,
    port: int,
    token_file: Path | None,
    allow_hosts: tuple[str, ...],
) -> int:
    """Serve until Ctrl-C. Raises :class:`worker.errors.WorkerError` on wrong usage, and where no
    control plane answers."""
    if not all(map(find_spec, _NEEDED)):
        raise UsageError("the dashboard is an extra: pip install 'workflow-worker[dashboard]'")
    token = read_token(token_file)
    asyncio.run(_serve(client, title, host, port, token, allow_hosts))
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
    client: Client, title: str, host: str, port: int, token: str | None, more: tuple[str, ...]
) -> None:
    from worker.view.dashboard.hosts import allowed_hosts, is_loopback
    from worker.view.dashboard.serve import bind, serve, stop_on_signals
    from worker.view.dashboard.sessions import new_secret

    listening = bind(host, port)
    bound = listening.getsockname()[1]
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    made = token or new_secret()

    def ready() -> None:
        if not is_loopback(host):
            print(EXPOSED, file=sys.stderr)
        end = "" if token else f"?token={made}"
        print(f"http://{shown}:{bound}/{end}", flush=True)

    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(
        client,
        listening,
        token=made,
        hosts=allowed_hosts(host, bound, more),
        title=title,
        stop=stop,
        ready=ready,
    )
