"""All targets, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tools.fuzz import file_targets as files
from tools.fuzz.fleet_targets import ControlMessages, Outboxes, WorkerMessages
from tools.fuzz.frame_target import Frames
from tools.fuzz.fuzzer import Target

_TARGETS: tuple[Callable[[], Target], ...] = (
    Frames, ControlMessages, WorkerMessages, Outboxes, files.YamlWorkflow, files.JsonWorkflow,
    files.Cases, files.Credentials, files.Policies, files.AdaptorLock, files.Journals,
    files.Recordings,
)  # fmt: skip
TARGETS: Final[Mapping[str, Callable[[], Target]]] = {
    target.name: target  # type: ignore[attr-defined]
    for target in _TARGETS
}
