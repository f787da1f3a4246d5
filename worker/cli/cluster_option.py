"""Option ``--cluster``: parallel work on a Dask cluster instead of in processes."""

from __future__ import annotations

import click
from click.core import ParameterSource

from worker.cli.options import option
from worker.errors import UsageError
from worker.runner.parallel import LocalExecutor, WorkExecutor

cluster = option("--cluster", metavar="WHERE",
                 help="Work on a Dask cluster: tcp://HOST:PORT of its scheduler, a file of Dask "
                      "that names it, or local, with --jobs workers.")  # fmt: skip


def choose_executor(jobs: int, cluster: str | None) -> WorkExecutor:
    """Choose what executes the work of a command. Raises :class:`UsageError`."""
    if cluster is None:
        return LocalExecutor(jobs)
    # Only a cluster needs Dask, which takes a second to import.
    from worker.cluster.cluster_address import parse_address

    address = parse_address(cluster)
    if not address.is_local and is_spelled_out("jobs"):
        raise UsageError("--jobs is about this machine: leave it out with --cluster")
    from worker.cluster.executor import ClusterExecutor

    return ClusterExecutor(address=address, workers=jobs)


def is_spelled_out(parameter: str) -> bool:
    """Return whether a parameter is on the command line, and not of a file or by default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.COMMANDLINE
