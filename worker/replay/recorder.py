"""Recorder of a run: writes its events, dataclips and network requests to a folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.http.exchange import Exchange
from worker.adaptors.http.recording_host import RecordingHost, Sender
from worker.core.events import AnyEvent
from worker.replay.recording import RecordingWriter
from worker.replay.scrub import Scrubber, mask_configuration
from worker.runner.prepare import Options, configurations, input_text
from worker.sandbox.clock import ClockKind
from worker.util.masking import collect_secrets
from worker.workflow.model import Workflow
from worker.workflow.save import fingerprint, to_execution_plan


class Recorder:
    """Sink that records a run, with the :attr:`host` that records its requests.

    The run needs both, and must use :attr:`options` and :attr:`run_id`. Secrets and the texts that
    match ``patterns`` (regular expressions) are masked. Raises :class:`UsageError` if the folder
    cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        workflow: Workflow,
        input: Mapping[str, Any],
        options: Options,
        sender: Sender,
        patterns: Iterable[str] = (),
    ) -> None:
        # Ids and random numbers of a run follow from its id, so a replay needs the same one.
        self.run_id = str(uuid.uuid4())
        self.options = replace(options, clock=ClockKind.RECORDED)
        credentials = options.credentials or {}
        resolved, _ = configurations(workflow, credentials)
        self._scrub = Scrubber(collect_secrets(resolved.values()), patterns)
        self._writer = RecordingWriter(folder, self._scrub.json)
        self.host = RecordingHost(sender, self._exchange)
        header = {
            "run_id": self.run_id,
            "workflow": workflow.name,
            "fingerprint": fingerprint(workflow),
            "start": options.only or options.start,
            "end": options.only or options.end,
            "limits": asdict(options.limits),
            "credentials": {
                name: mask_configuration(credential) for name, credential in credentials.items()
            },
            "adaptors": {
                name: str(adaptor.specifier) for name, adaptor in choose_adaptors(workflow).items()
            },
            "origin": "worker",
        }
        inline = {
            step.id: mask_configuration(step.configuration)
            for step in workflow.steps
            if isinstance(step.configuration, Mapping)
        }
        self._writer.begin(header, to_execution_plan(workflow, inline), input_text(input))

    def receive(self, event: AnyEvent) -> None:
        self._writer.receive(event)

    def close(self) -> None:
        self._writer.close()

    def _exchange(self, exchange: Exchange) -> None:
        # First, so that a token is masked in the reply that brings it too.
        self._scrub.add_secrets_of(exchange.reply)
        scrubbed = replace(
            exchange,
            request=self._scrub.request(exchange.request),
            reply=self._scrub.reply(exchange.reply),
        )
        self._writer.exchange(scrubbed)
