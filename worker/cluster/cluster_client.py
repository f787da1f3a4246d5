"""Connections to a cluster: a scheduler somewhere, or a cluster on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from worker.cluster.cluster_address import ClusterAddress
from worker.cluster.environments import Environment, check_same, describe_process, describe_runner
from worker.errors import WorkerError, reason_of

CONNECT_S = 5.0
# A worker that is being started must have the time to connect.
WORKERS_S = 10.0

_LOCAL_CONFIG = {
    # Dask measures where tasks spend their time by sampling all threads, a tenth of the work.
    "distributed.worker.profile.enabled": False,
    # What Dask observes of its own processes is for its dashboard, which nobody opens here.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.tick.limit": "1 hour",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.client.scheduler-info-interval": "30s",
    "distributed.scheduler.active-memory-manager.start": False,
    # A chunk that has ended two workers is repeated item by item: each restart takes seconds.
    "distributed.scheduler.allowed-failures": 1,
}


@contextlib.asynccontextmanager
async def open_client(address: ClusterAddress, workers: int) -> AsyncIterator[Client]:
    """Connect to a cluster; ``workers`` is their number in a cluster on this machine.

    Raises :class:`WorkerError` with the remedy where the cluster cannot be used.
    """
    _silence_dask()
    with dask.config.set(address.config):
        opened = _open_local(workers) if address.is_local else _open_remote(address.scheduler)
        async with opened as client:
            yield client


def _silence_dask() -> None:
    """Log nothing of a lost connection: what matters of it is an error of ours."""
    # Dask gives some of its loggers levels of their own.
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.asynccontextmanager
async def _open_local(workers: int) -> AsyncIterator[Client]:
    with dask.config.set(_LOCAL_CONFIG):
        async with (
            _local_cluster(workers) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            yield client


@contextlib.asynccontextmanager
async def _local_cluster(workers: int) -> AsyncIterator[LocalCluster]:
    with ignored_interrupts():
        cluster = await LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            # The limits of runs are the sandbox's; a worker that Dask pauses would never end.
            memory_limit=0,
            host="127.0.0.1",
            # Whoever connects to a part of a cluster can execute code there, and other users of
            # this machine can connect to loopback. The keys are in memory alone.
            protocol="tls://",
            security=Security.temporary(),
            # No dashboard, and no server at a port that another cluster may have.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
            asynchronous=True,
        )
    try:
        yield cluster
    finally:
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await cluster.close(timeout=CONNECT_S)


@contextlib.contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Have the processes that are started here ignore Ctrl-C, which the command handles.

    One that is pressed meanwhile waits until the end: ignored alone, it would be lost.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:
        # Not the main thread: Ctrl-C is not handled by this program either.
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _first_cause(error: BaseException) -> str:
    """Return what failed first: the errors around it name objects of Dask."""
    while error.__cause__ is not None:
        error = error.__cause__
    # What waited for an answer was cancelled when the time was over.
    is_late = isinstance(error, asyncio.CancelledError | TimeoutError)
    return "no answer" if is_late else reason_of(error)


@contextlib.asynccontextmanager
async def _open_remote(scheduler: str) -> AsyncIterator[Client]:
    client = Client(scheduler, asynchronous=True, set_as_default=False, timeout=CONNECT_S)
    try:
        await _connect(client, scheduler)
        await _check(client, scheduler)
        yield client
    finally:
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await client.close()


async def _connect(client: Client, scheduler: str) -> None:
    try:
        # The limit of the client's own is that of a connection, and not of an answer to it.
        async with asyncio.timeout(2 * CONNECT_S):
            await client
    except (TimeoutError, OSError, ValueError) as error:
        raise WorkerError(
            f"cannot reach a Dask scheduler at {scheduler}: {_first_cause(error)}\n"
            "start one with: dask scheduler --port PORT"
        ) from error


async def _check(client: Client, scheduler: str) -> None:
    """Raise :class:`WorkerError` for a cluster without workers, or with other versions."""
    try:
        await client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        raise WorkerError(
            f"the scheduler at {scheduler} has no workers\n"
            f"start them with: dask worker {scheduler} --nthreads 1 --nworkers auto"
        ) from error
    ours = describe_here()
    check_same(f"the scheduler at {scheduler}", ours, await _on_scheduler(client))
    for worker, theirs in (await _on_workers(client)).items():
        check_same(f"the Dask worker {worker}", ours, theirs)


def describe_here() -> Environment:
    return describe_runner()


async def _on_scheduler(client: Client) -> Any:
    try:
        return await client.run_on_scheduler(describe_process)
    except Exception as error:
        return error


async def _on_workers(client: Client) -> dict[str, Any]:
    answers: dict[str, Any] = await client.run(describe_runner, on_error="return")
    return answers
