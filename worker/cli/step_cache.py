"""Outputs of steps in a folder, as the OpenFn command has them: ``--cache-steps``.

The folder is ``.cli-cache/WORKFLOW`` in the current one, with a file ``STEP.json`` for each step.
``worker import`` makes a recording of it.
"""

from __future__ import annotations

import re
from pathlib import Path

from worker.cli.files import write_file
from worker.core.events import AnyEvent, StepComplete
from worker.errors import UsageError
from worker.workflow.model import Workflow

_ROOT = Path(".cli-cache")
_OTHER = re.compile(r"[^\w. -]")


class StepCache:
    """Sink that writes the output of each step to its file; the last execution stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, StepComplete) and event.output_dataclip is not None:
            file = _file(self._folder, event.job_id)
            # A state holds data of patients.
            write_file(file, event.output_dataclip.text.encode(), mode=0o600)

    def close(self) -> None:
        """Do nothing: each file is closed when it is written."""


def cache_folder(workflow: Workflow) -> Path:
    """Return the folder of a workflow's cached outputs.

    Raises :class:`UsageError` where a link leads it out of the current folder.
    """
    folder = _ROOT / (_plain(workflow.name) or "workflow")
    # In somebody else's checkout, a link of this name could lead anywhere.
    if not folder.resolve().is_relative_to(Path.cwd().resolve()):
        raise UsageError(f"{folder} leads out of this folder: remove the link")
    return folder


def cached_input(workflow: Workflow, step: str) -> Path:
    """Return the newest cached output of the steps that lead to ``step``.

    Raises :class:`UsageError` where there is none.
    """
    sources = [
        source.id for source in workflow.steps if any(edge.target == step for edge in source.edges)
    ]
    files = [file for id in sources if (file := _file(cache_folder(workflow), id)).is_file()]
    if not files:
        steps = " or ".join(f"'{id}'" for id in sources) or "a step before it"
        raise UsageError(
            f"{cache_folder(workflow)} has no output of {steps}, which is the input of '{step}': "
            "run all with --cache-steps first, or add --input FILE"
        )
    return max(files, key=lambda file: file.stat().st_mtime)


def _file(folder: Path, step: str) -> Path:
    return folder / f"{_plain(step)}.json"


def _plain(name: str) -> str:
    # Names are texts of a file, and must not lead out of the folder.
    return _OTHER.sub("_", name).strip(". ")[:100]
