"""``worker start``: run a worker of a fleet."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.cli.options import (
    PATH,
    allow_python,
    broker_options,
    capacity,
    command,
    isolation,
    max_limits,
    metrics_listen,
    option,
    permissions,
    quiet_log,
)
from worker.cli.values import SECONDS, NumberRange
from worker.errors import UsageError

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection


def _hostname() -> str:
    name = "".join(
        letter if letter.isalnum() or letter in "._-" else "-" for letter in socket.gethostname()
    )
    return name.strip("._-")[:64] or "worker"


@command()
@option("--name", default=_hostname, metavar="NAME",
        help="Name that no other worker has.  [default: of this host]")  # fmt: skip
@capacity
@isolation
@permissions
@allow_python
@max_limits
@option("--outbox", type=PATH, metavar="DIR",
        help="Folder of unacknowledged reports.  [default: in the cache]")  # fmt: skip
@option("--drain", type=NumberRange(min=0, units=SECONDS), metavar="SECONDS",
        help="Time that runs have to finish at shutdown, such as 30.  "
        "[default: as long as their limits allow]")  # fmt: skip
@metrics_listen
@quiet_log
@broker_options
def start(
    *,
    connection: BrokerConnection,
    name: str,
    capacity: int,
    isolation: str,
    credentials: Path | None,
    allow_hosts: tuple[str, ...],
    allow_python: bool,
    no_python: bool,
    collections: str | None,
    outbox: Path | None,
    drain: float | None,
    metrics_listen: str | None,
    quiet: bool,
    **max_limits: Any,
) -> int:
    """Run a worker: claim runs, execute them and report them.

    On SIGTERM or Ctrl-C it claims nothing more, finishes its runs, hands back those that have not
    started, and exits. A second signal exits at once. Runs with Python steps end as SecurityError
    unless --allow-python is given.

    \b
    Examples:
      worker start --mqtt mqtt://localhost --capacity 4
      worker start --mqtt mqtts://broker.example.org --name north-1 --isolation process
      worker start --mqtt mqtt://localhost --collections /srv/shared/collections
    """
    # The sandbox and its pool take longer to import than the rest of the command.
    import asyncio

    from worker.cli.worker_process import WorkerOptions, allowance, run_worker
    from worker.fleet.messaging.topics import check_name
    from worker.sandbox.confinement.layers import require_layers
    from worker.sandbox.isolation import Isolation
    from worker.util.cache_folder import root

    check_name(name, "--name")
    if allow_python and no_python:
        raise UsageError("--no-python is the default: leave out --allow-python or --no-python")
    if allow_python:
        # The guard of Python steps is no boundary: only the system confines code of others.
        require_layers("--allow-python")
    options = WorkerOptions(
        name=name,
        capacity=capacity,
        isolation=Isolation(isolation),
        outbox=outbox or root() / "outbox" / name,
        allowance=allowance(
            credentials=credentials,
            allow_hosts=allow_hosts,
            allow_python=allow_python,
            collections=collections,
            **max_limits,
        ),
        drain_s=drain,
        metrics_listen=metrics_listen,
    )
    asyncio.run(run_worker(connection, options, quiet=quiet))
    return 0
