"""Execution of Lightning's runs in the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.collections.settings import Collections
from worker.adaptors.http.allowlist import HostPattern, hosts_in_credentials
from worker.adaptors.http.lazy_host import LazyHost
from worker.adaptors.names import COMMON, parse_or_none
from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.lightning.adaptor_installer import AdaptorInstaller
from worker.lightning.run_plan import RunPlan
from worker.lightning.serializer import encode_json
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.reach import reach_of
from worker.runner.run_recording import StartRecording
from worker.sandbox.parent.host import Host
from worker.sinks.base import Sink
from worker.sinks.terminal_text import shell_word
from worker.util.bounded_cache import BoundedCache
from worker.workflow.load import load
from worker.workflow.model import Language, Workflow

MAX_CACHED_BYTES = 64 * 1024 * 1024
PUBLIC_HOSTS = HostPattern(host="*")
"""All hosts with a public address: a pattern never allows a private one."""


class MissingAdaptor(WorkerError):
    """An adaptor of the run is not installed here, or cannot be."""


class _EventSink:
    def __init__(self, receive: Callable[[AnyEvent], None]) -> None:
        self.receive = receive

    def close(self) -> None:
        """Do nothing: the events belong to the caller."""


class SandboxRuns:
    """Executes runs in a pool, with a cache of the workflows that were loaded.

    ``hosts`` are those that all runs may make requests to, beside those of their credentials.
    Without an ``installer``, runs whose adaptors are missing cannot be loaded.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        hosts: Sequence[HostPattern] = (PUBLIC_HOSTS,),
        start_recording: StartRecording | None = None,
        installer: AdaptorInstaller | None = None,
    ) -> None:
        self._pool = pool
        self.installer = installer
        self._hosts = tuple(hosts)
        self._start_recording = start_recording
        self._load = BoundedCache(_load, MAX_CACHED_BYTES, _size_of)

    def load(self, plan: RunPlan) -> Workflow:
        """Load the workflow of a plan. Raises :class:`LoadError` if it is none."""
        return self._load(encode_json(plan.document))

    async def install_missing(self, workflow: Workflow) -> None:
        """Install the adaptors that a workflow lacks. Raises :class:`MissingAdaptor`."""
        assert self.installer is not None
        try:
            await self.installer.install_missing(workflow)
        except WorkerError as error:
            raise MissingAdaptor(str(error)) from error

    async def execute(
        self,
        run_id: str,
        workflow: Workflow,
        plan: RunPlan,
        input: Mapping[str, Any],
        credentials: Mapping[str, Mapping[str, Any]],
        receive: Callable[[AnyEvent], None],
        cancel: asyncio.Event,
        collections: Collections | None = None,
    ) -> None:
        """Execute a run and pass its events to ``receive``."""
        service = hosts_in_credentials([collections.configuration] if collections else [])
        # A private address is reached only where the run's own credential names its host.
        host = LazyHost(
            reach_of(workflow, credentials=credentials, allowed=[*self._hosts, *service])
        )
        # Python steps have no boundary but the system's, and Lightning's users write none.
        options = Options(
            limits=plan.limits,
            credentials=credentials,
            allow_python=False,
            collections=collections,
        )
        sinks: list[Sink] = [_EventSink(receive)]
        performing: Host = host
        if self._start_recording is not None:
            recording = self._start_recording(run_id, workflow, options, input, host)
            options, performing = recording.options, recording.host
            sinks += recording.sinks
        try:
            await self._pool.run(
                workflow, input, options, sinks=sinks, cancel=cancel, run_id=run_id, host=performing
            )
        finally:
            for sink in sinks:
                sink.close()
            await host.close()


def _load(document: bytes) -> Workflow:
    return load(json.loads(document))


def _size_of(workflow: Workflow, document: bytes) -> int:
    # The text is the key. A workflow holds it once more, and its objects take about as much.
    return 3 * len(document)


def check_adaptors(workflow: Workflow) -> None:
    """Raise :class:`MissingAdaptor` where an adaptor of the workflow is not installed."""
    chosen = choose_adaptors(workflow)
    for step in workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.source:
            continue
        for text in step.adaptors:
            # The built-in adaptor serves where common is not installed.
            if text not in chosen and not _is_common(text):
                raise MissingAdaptor(
                    f"Error installing {text}: it is not installed on this worker "
                    f"(worker adaptors install {shell_word(text)})"
                )


def _is_common(text: str) -> bool:
    specifier = parse_or_none(text)
    return specifier is not None and specifier.name == COMMON
