"""Installation of the adaptors that a workflow lacks, before its run: ``--autoinstall``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from worker.adaptors.install import install
from worker.adaptors.missing import check_allowed, missing_adaptors
from worker.cli.progress import print_stage
from worker.workflow.model import Workflow


def install_missing(workflow: Workflow, allowed: Collection[str]) -> None:
    """Install the adaptors that the steps of a workflow lack.

    Only packages of OpenFn's scope and those in ``allowed`` are fetched. Raises
    :class:`UsageError` for any other, and where an installation fails.
    """
    missing = missing_adaptors(workflow)
    if not missing:
        return
    check_allowed(missing, allowed)
    file = Path(workflow.file)
    install(missing, file.parent if file.is_file() else Path(), print_stage)
