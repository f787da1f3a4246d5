"""Parts that executors need to record a run, apart from the recorder itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from worker.adaptors.collections.local_host import CollectionsSender
from worker.adaptors.http.lazy_host import LazyHost
from worker.runner.prepare import Options
from worker.sandbox.parent.host import Host
from worker.sinks.base import Sink
from worker.workflow.model import Workflow

OpenHost: TypeAlias = LazyHost | CollectionsSender


@dataclass(frozen=True, slots=True)
class RunRecording:
    """Options, host and further sinks of a run while it is recorded."""

    options: Options
    host: Host
    sinks: tuple[Sink, ...] = ()


StartRecording: TypeAlias = Callable[
    [str, Workflow, Options, Mapping[str, Any], OpenHost], RunRecording
]
