"""Versions of a workflow that ``worker diff`` reads: files, also of git, and those of a fleet."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from worker.errors import LoadError, UsageError
from worker.util.path_checks import exists
from worker.workflow.load import load
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection
    from worker.fleet.client import Client

_LATEST = "latest"
_FLEET_VERSION = re.compile(rf"(?P<name>.+)@(?P<version>[0-9a-f]{{4,64}}|{_LATEST})", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Places of versions: workflows of project files by ``workflow``, and a project of a fleet."""

    workflow: str | None
    connection: BrokerConnection
    project: str

    def load(self, source: str) -> Workflow:
        """Load ``FILE``, ``REV:PATH`` or ``NAME@VERSION``."""
        if exists(source):
            return load(source, workflow=self.workflow)
        if (match := _FLEET_VERSION.fullmatch(source)) is not None:
            return self._of_fleet(match["name"], match["version"].removeprefix(_LATEST))
        revision, colon, path = source.partition(":")
        if not (colon and revision and path):
            return load(source, workflow=self.workflow)
        return _of_revision(source, revision, path, self.workflow)

    def _of_fleet(self, name: str, version: str) -> Workflow:
        async def request(client: Client) -> Mapping[str, Any]:
            return await client.workflow_version(name, project=self.project, version=version)

        return load(self.connection.request(request)["plan"])


def _of_revision(source: str, revision: str, path: str, workflow: str | None) -> Workflow:
    # Most comparisons read no revision, and archives take long to import.
    from worker.cli.git_revision import extract

    with tempfile.TemporaryDirectory() as folder:
        file = extract(revision, path, Path(folder))
        try:
            return replace(load(file, workflow=workflow), file=source)
        except LoadError as error:
            # The file's own name: the extracted one means nothing to anybody.
            raise UsageError(str(error).replace(str(file), source)) from None
