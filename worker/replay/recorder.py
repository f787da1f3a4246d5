"""Recorder of a run: writes its events, dataclips and network requests to a file."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.http.exchange import Exchange
from worker.adaptors.http.recording_host import RecordingHost, Sender
from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.replay.recording_lines import RecordingHeader, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.replay.scrub import Scrubber, mask_configuration, scrub_exchange
from worker.runner.prepare import (
    Options,
    collections_of,
    configurations,
    input_text,
    limits_for,
    secret_configurations,
)
from worker.sandbox.clock import ClockKind
from worker.util.masking import collect_input_secrets, collect_secrets
from worker.workflow.model import Step, Workflow
from worker.workflow.save import to_execution_plan


class PreparedRecording:
    """Content that all recordings of a workflow with the same options share.

    Secrets of its credentials and texts that match ``patterns`` (regular expressions) are masked.
    """

    def __init__(self, workflow: Workflow, options: Options, patterns: Iterable[str] = ()) -> None:
        # A replay waits for timers and replies on a clock of its own, as the run did.
        self.options = replace(options, clock=ClockKind.RECORDED)
        credentials = options.credentials or {}
        resolved, _ = configurations(workflow, credentials)
        collections = collections_of(workflow, options)
        secrets = secret_configurations(workflow, resolved)
        secrets += collections.secrets if collections else ()
        self.scrubber = Scrubber(collect_secrets(secrets), patterns)
        self.header = RecordingHeader(
            run_id="",
            workflow=workflow.name,
            start=options.only or options.start,
            end=options.only or options.end,
            limits=limits_for(workflow, options),
            collections=collections.url if collections else "",
            credentials={
                name: mask_configuration(credential) for name, credential in credentials.items()
            },
            adaptors={
                name: str(adaptor.specifier) for name, adaptor in choose_adaptors(workflow).items()
            },
        )
        inline = {
            step.id: mask_configuration(step.configuration)
            for step in workflow.steps
            if isinstance(step.configuration, Mapping)
        }
        masked = replace(
            workflow,
            credentials=mask_configuration(workflow.credentials),
            steps=tuple(map(_without_secrets, workflow.steps)),
        )
        self.workflow = workflow_line(to_execution_plan(masked, inline))


def _without_secrets(step: Step) -> Step:
    configuration = step.state.get("configuration")
    if not isinstance(configuration, Mapping):
        return step
    return replace(step, state={**step.state, "configuration": mask_configuration(configuration)})


class Recorder:
    """Sink that records a run, with the :attr:`host` that records its requests.

    The run needs both, and must use the options of ``prepared`` and :attr:`run_id`. ``path`` is
    that of a :class:`RecordingWriter`, which raises :class:`WorkerError` if it cannot write there.
    Where writing fails later, the run goes on, and :meth:`close` raises it.
    """

    def __init__(
        self,
        path: Path,
        prepared: PreparedRecording,
        input: Mapping[str, Any],
        sender: Sender,
        run_id: str | None = None,
    ) -> None:
        """Create the file. ``run_id`` is the id of a run that has one already."""
        # Ids and random numbers of a run follow from its id, so a replay needs the same one.
        self.run_id = run_id or str(uuid.uuid4())
        self._scrub = prepared.scrubber.with_secrets(collect_input_secrets(input))
        header = replace(prepared.header, run_id=self.run_id)
        text = input_text(input)
        self._writer = RecordingWriter(path, header, prepared.workflow, text, self._scrub.json)
        self.host = RecordingHost(sender, self._exchange)
        self._flush_is_due = False
        self._failure: WorkerError | None = None

    @property
    def file(self) -> Path:
        """The file of the recording."""
        return self._writer.file

    def receive(self, event: AnyEvent) -> None:
        # Lines after a failure would follow a gap.
        if self._failure is None:
            self._writer.receive(event)
            self._flush_soon()

    def close(self) -> None:
        self._writer.close()
        if self._failure is not None:
            raise self._failure

    def _flush_soon(self) -> None:
        # The events of a short run arrive together: one write for all of them costs a tenth.
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        try:
            self._writer.flush()
        except WorkerError as error:
            self._failure = self._failure or error

    def _exchange(self, exchange: Exchange) -> None:
        if self._failure is not None:
            return
        self._scrub, scrubbed = scrub_exchange(self._scrub, exchange)
        self._writer.mask = self._scrub.json
        self._writer.exchange(scrubbed)
        self._flush_soon()
