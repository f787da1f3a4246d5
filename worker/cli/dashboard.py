"""``worker dashboard``: show a fleet in the browser."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from worker.cli.connection import BrokerConnection
from worker.cli.options import PATH, client_options, command, option
from worker.cli.services import on_signals
from worker.cli.value_types import WholeNumberRange
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.util.loopback import is_loopback
from worker.workflow.documents.document import read_text

TOKEN_VARIABLE = "WORKER_DASHBOARD_TOKEN"  # noqa: S105 (the name of a variable)
READ_TOKEN_VARIABLE = "WORKER_DASHBOARD_READ_TOKEN"  # noqa: S105
MIN_TOKEN_LENGTH = 16
_NEEDED = ("jinja2", "starlette", "uvicorn")
_REMEDY = "worker dev shows its own dashboard, at the address that it prints; or try --port 0"
EXPOSED = (
    "warning: other machines can reach this dashboard, and the connection is not encrypted: the "
    "token can be read on the way. An SSH tunnel to a dashboard on 127.0.0.1 is safer."
)


@command()
@option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
        help="Address to listen on. Other machines can reach all but loopback.")  # fmt: skip
@option("--port", type=WholeNumberRange(0, 65535), default=8420, show_default=True, metavar="PORT",
        help="Port to listen on; 0 for any that is free.")  # fmt: skip
@option("--token-file", type=PATH, metavar="FILE",
        help="File with the token to sign in with, instead of a new token each time."
             "  [env: WORKER_DASHBOARD_TOKEN, the token itself]")  # fmt: skip
@option("--read-token-file", type=PATH, metavar="FILE",
        help="File with a second token, for people who may look but not act."
             "  [env: WORKER_DASHBOARD_READ_TOKEN, the token itself]")  # fmt: skip
@option("--trusted-host", "trusted_hosts", multiple=True, metavar="NAME:PORT",
        deprecated_names=["--allow-host"],
        help="Accept requests for this name too: that of a tunnel or a proxy.")  # fmt: skip
@client_options
def dashboard(
    *,
    connection: BrokerConnection,
    host: str,
    port: int,
    token_file: Path | None,
    read_token_file: Path | None,
    trusted_hosts: tuple[str, ...],
) -> int:
    """Show a fleet in the browser; cancel and retry runs there.

    It shows orders, runs as they change, workers and alerts. It prints the address to open, which
    signs in until you sign out, and the token to sign in with again.

    \b
    Examples:
      worker dashboard --mqtt mqtt://broker.example
      worker dashboard --mqtt mqtts://broker.example --port 0 --token-file token
      worker dashboard --token-file token --read-token-file token-of-the-screen
    """
    if not all(map(find_spec, _NEEDED)):
        raise UsageError("the dashboard is an extra: pip install 'workflow-worker[dashboard]'")
    token = read_token(token_file)
    look = read_token(read_token_file, READ_TOKEN_VARIABLE)
    if token is not None and token == look:
        raise UsageError("the token that may only read must differ from the other one")
    title = str(connection)
    serving = _serve(connection.client(), title, host, port, token, look or "", trusted_hosts)
    with connection.remedies():
        asyncio.run(serving)
    return 0


def read_token(file: Path | None, variable: str = TOKEN_VARIABLE) -> str | None:
    """Return the token of a file or of the environment; None where there is neither."""
    token = os.environ.get(variable) if file is None else read_text(file)
    if token is None:
        return None
    if len(token.strip()) < MIN_TOKEN_LENGTH:
        raise UsageError(f"the token must have at least {MIN_TOKEN_LENGTH} characters")
    return token.strip()


async def _serve(
    client: Client,
    title: str,
    host: str,
    port: int,
    token: str | None,
    look: str,
    more: tuple[str, ...],
) -> None:
    from worker.view.dashboard.hosts import allowed_hosts
    from worker.view.dashboard.serve import bind, serve
    from worker.view.dashboard.sessions import new_secret

    listening = bind(host, port, remedy=_REMEDY)
    bound = listening.getsockname()[1]
    name = f"[{host.strip('[]')}]" if ":" in host else host
    secret = token or new_secret()
    # Another secret than the token: an address stays in the history of the browser.
    link = "" if token else new_secret()

    def ready() -> None:
        if not is_loopback(host):
            print(EXPOSED, file=sys.stderr)
        # A token that its owner knows is not printed.
        end = f"?token={link}" if link else ""
        print(f"http://{name}:{bound}/{end}", flush=True)
        if link:
            print(f"to sign in again after signing out: token {secret}", file=sys.stderr)

    stop = asyncio.Event()
    on_signals(stop.set)
    with listening:
        await serve(
            client,
            listening,
            token=secret,
            read_token=look,
            link=link,
            hosts=allowed_hosts(host, bound, more),
            title=title,
            stop=stop,
            ready=ready,
        )
