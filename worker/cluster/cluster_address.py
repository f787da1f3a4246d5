"""Places of a cluster, as ``--cluster`` names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import UsageError, name_in_message
from worker.util.path_checks import is_file
from worker.workflow.documents.document import read_document

LOCAL = "local"
EXPECTED = "local, tcp://HOST:PORT, tls://HOST:PORT, or a file of Dask"

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Address of a scheduler, empty for a cluster on this machine; ``config`` is of Dask."""

    scheduler: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        return not self.scheduler


def parse_address(text: str) -> ClusterAddress:
    """Parse the value of ``--cluster``.

    A file is a configuration of Dask with a ``scheduler-address``, or what ``dask scheduler
    --scheduler-file`` writes. Raises :class:`UsageError` for anything else.
    """
    if text == LOCAL:
        return ClusterAddress()
    if "://" in text:
        return ClusterAddress(scheduler=_scheduler(text, ""))
    file = Path(text)
    if not is_file(file):
        name = name_in_message(text)
        raise UsageError(f"--cluster {name}: there is no such file (expected {EXPECTED})")
    return _from_file(file)


def _scheduler(text: str, place: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise UsageError(
            f"{place or '--cluster'}: invalid address '{text}' (expected tcp://HOST:PORT)"
        )
    return text.rstrip("/")


def _from_file(file: Path) -> ClusterAddress:
    content = read_document(file).root
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected a configuration of Dask, which is a mapping")
    # A scheduler's file has its address beside ids and ports, a configuration beside options.
    is_scheduler_file = "address" in content
    address = content.get("address" if is_scheduler_file else "scheduler-address")
    if not isinstance(address, str):
        raise UsageError(
            f"{file}: no address of a scheduler (expected scheduler-address: tcp://HOST:PORT)"
        )
    return ClusterAddress(
        scheduler=_scheduler(address, str(file)), config={} if is_scheduler_file else content
    )
