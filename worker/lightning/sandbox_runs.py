"""Execution of Lightning's runs in the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.collections.settings import Collections
from worker.adaptors.http.allowlist import HostPattern, hosts_in_credentials
from worker.adaptors.http.lazy_host import LazyHost
from worker.adaptors.names import COMMON, parse_or_none
from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.lightning.run_plan import RunPlan
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.reach import reach_of
from worker.runner.run_recording import StartRecording
from worker.sandbox.parent.host import Host
from worker.sinks.base import Sink
from worker.workflow.load import load
from worker.workflow.model import Language, Workflow

MAX_CACHED_WORKFLOWS = 256
PUBLIC_HOSTS = HostPattern(host="*")
"""All hosts with a public address: a pattern never allows a private one."""


class MissingAdaptor(WorkerError):
    """An adaptor of the run is not installed here."""


class _EventSink:
    def __init__(self, receive: Callable[[AnyEvent], None]) -> None:
        self.receive = receive

    def close(self) -> None:
        """Do nothing: the events belong to the caller."""


class SandboxRuns:
    """Executes runs in a pool, with a cache of the workflows that were loaded.

    ``hosts`` are those that all runs may make requests to, beside those of their credentials.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        hosts: Sequence[HostPattern] = (PUBLIC_HOSTS,),
        start_recording: StartRecording | None = None,
    ) -> None:
        self._pool = pool
        self._hosts = tuple(hosts)
        self._start_recording = start_recording
        self._workflows: OrderedDict[str, Workflow] = OrderedDict()

    def load(self, plan: RunPlan) -> Workflow:
        """Load the workflow of a plan.

        Raises :class:`LoadError` if it is none, and :class:`MissingAdaptor`.
        """
        key = json.dumps(plan.document)
        workflow = self._workflows.get(key)
        if workflow is None:
            workflow = self._workflows[key] = load(plan.document)
            if len(self._workflows) > MAX_CACHED_WORKFLOWS:
                self._workflows.popitem(last=False)
        else:
            self._workflows.move_to_end(key)
        _check_adaptors(workflow)
        return workflow

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


def _check_adaptors(workflow: Workflow) -> None:
    chosen = choose_adaptors(workflow)
    for step in workflow.steps:
        if step.language is not Language.JAVASCRIPT or not step.source:
            continue
        for text in step.adaptors:
            # The built-in adaptor serves where common is not installed.
            if text not in chosen and not _is_common(text):
                raise MissingAdaptor(
                    f"Error installing {text}: it is not installed on this worker "
                    f"(worker adaptors install {text})"
                )


def _is_common(text: str) -> bool:
    specifier = parse_or_none(text)
    return specifier is not None and specifier.name == COMMON
