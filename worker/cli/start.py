"""``worker start``: run a worker of a fleet."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.cli.options import (
    PATH,
    allow_python,
    broker_options,
    command,
    isolation,
    max_limits,
    metrics_listen,
    option,
    permissions,
    quiet_log,
)
from worker.cli.value_types import NumberRange, WholeNumberRange
from worker.errors import UsageError
from worker.util.units import SECONDS

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection


def _hostname() -> str:
    name = "".join(
        letter if letter.isalnum() or letter in "._-" else "-" for letter in socket.gethostname()
    )
    return name.strip("._-")[:64] or "worker"


@command()
@option("--name", default=_hostname, envvar="WORKER_NAME", metavar="NAME",
        help="Name that no other worker has.  [default: of this host]")  # fmt: skip
@option("--capacity", type=WholeNumberRange(1, 1000), metavar="N",
        help="How many runs execute at once.  "
             "[default: one for each core; with --lightning 5]")  # fmt: skip
@option("--label", "labels", multiple=True, metavar="LABEL",
        help="Label by which orders are placed, such as north.")  # fmt: skip
@isolation
@permissions
@allow_python
@max_limits
@option("--outbox", type=PATH, metavar="DIR",
        help="Folder of unacknowledged reports.  [default: in the cache]")  # fmt: skip
@option("--drain", type=NumberRange(min=0, units=SECONDS), metavar="SECONDS",
        help="Time that runs have to finish at shutdown, such as 30.  "
             "[default: as long as their limits allow]")  # fmt: skip
@option("--standby", is_flag=True,
        help="Wait while another worker has this name, instead of ending.")  # fmt: skip
@option("--lightning", envvar="WORKER_LIGHTNING_SERVICE_URL", show_envvar=True,
        metavar="URL",
        help="Claim from this OpenFn Lightning, not a fleet: ws[s]://HOST/worker.")  # fmt: skip
@option("--secret-file", type=PATH, metavar="FILE",
        help="File with Lightning's WORKER_SECRET, which that variable can hold too.")  # fmt: skip
@option("--no-public-hosts", is_flag=True,
        help="Let Lightning's runs reach no other hosts than --allow-host has.")  # fmt: skip
@option("--autoinstall", is_flag=True,
        help="Install the adaptors of @openfn/ that Lightning's runs lack, from npm.")  # fmt: skip
@option("--allow-adaptor", "allow_adaptors", multiple=True, metavar="NAME",
        help="Let --autoinstall install this adaptor too.")  # fmt: skip
@option("--record", metavar="DIR|URL|on-failure[:DIR]",
        help="Record all runs there, with their requests, and mask secrets; a URL is one of "
             "fsspec, such as s3://bucket/runs. Or keep in DIR only runs that do not succeed.  "
             "[default of DIR: recordings]")  # fmt: skip
@option("--batch-logs", is_flag=True, help="Report Lightning's log lines in batches.")
@metrics_listen
@quiet_log
@broker_options
def start(
    *,
    connection: BrokerConnection,
    name: str,
    capacity: int | None,
    labels: tuple[str, ...],
    isolation: str,
    credentials: Path | None,
    allow_hosts: tuple[str, ...],
    allow_python: bool,
    no_python: bool,
    collections: str | None,
    outbox: Path | None,
    drain: float | None,
    standby: bool,
    lightning: str | None,
    secret_file: Path | None,
    no_public_hosts: bool,
    autoinstall: bool,
    allow_adaptors: tuple[str, ...],
    record: str | None,
    batch_logs: bool,
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
      worker start --mqtt mqtts://broker.example.org --name north-1 --label north
      worker start --lightning wss://lightning.example.org/worker --secret-file secret.txt
      worker start --lightning wss://lightning.example.org/worker --autoinstall
      worker start --mqtt mqtt://localhost --collections /srv/shared/collections
      worker start --mqtt mqtt://localhost --record /srv/recordings
      worker start --mqtt mqtt://localhost --record s3://bucket/recordings
      worker start --mqtt mqtt://localhost --record on-failure:/srv/recordings
    """
    # The sandbox and its pool take longer to import than the rest of the command.
    import asyncio

    from worker.cli.worker_process import WorkerOptions, allowance, run_worker
    from worker.fleet.messaging.topics import check_name
    from worker.sandbox.confinement.layers import require_layers
    from worker.sandbox.isolation import Isolation
    from worker.util.cache_folder import root

    check_name(name, "--name")
    if allow_adaptors and not autoinstall:
        raise UsageError("--allow-adaptor is about --autoinstall: add that, or leave it out")
    if lightning:
        capped = any(value is not None for value in max_limits.values())
        if allow_python or credentials or collections or capped:
            raise UsageError(
                "with --lightning, leave out --allow-python, --credentials, --collections and "
                "--max-...: Lightning sends credentials and limits, and has no Python steps"
            )
        from worker.cli.lightning_process import LightningOptions, run_lightning

        lightning_options = LightningOptions(
            url=lightning,
            name=name,
            capacity=capacity,
            secret_file=secret_file,
            isolation=Isolation(isolation),
            allow_hosts=allow_hosts,
            public_hosts=not no_public_hosts,
            outbox=outbox or root() / "lightning" / name,
            installs=allow_adaptors if autoinstall else None,
            record=record,
            batch_logs=batch_logs,
            drain_s=drain,
            metrics_listen=metrics_listen,
            quiet=quiet,
        )
        asyncio.run(run_lightning(lightning_options))
        return 0
    if secret_file or no_public_hosts or batch_logs or autoinstall:
        raise UsageError(
            "--secret-file, --no-public-hosts, --batch-logs and --autoinstall need --lightning URL"
        )
    if allow_python and no_python:
        raise UsageError("--no-python is the default: leave out --allow-python or --no-python")
    if allow_python:
        # The guard of Python steps is no boundary: only the system confines code of others.
        require_layers("--allow-python")
    options = WorkerOptions(
        name=name,
        capacity=capacity or os.cpu_count() or 2,
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
        standby=standby,
        metrics_listen=metrics_listen,
        labels=tuple(check_name(label, "--label") for label in labels),
        record=record,
    )
    asyncio.run(run_worker(connection, options, quiet=quiet))
    return 0
