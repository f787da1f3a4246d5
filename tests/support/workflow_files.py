"""Workflow files of tests."""

from __future__ import annotations

from pathlib import Path

import worker
from worker.workflow.model import Edge


def write_file(folder: Path, content: str, name: str = "w.yaml") -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def edges_of(workflow: worker.Workflow) -> list[Edge]:
    return [edge for step in workflow.steps for edge in step.edges]
