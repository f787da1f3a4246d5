"""Records a run: its events, its dataclips, and what it asked of the world."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.http.exchange import Exchange
from worker.adaptors.http.recording_host import RecordingHost, Sender
from worker.core.events import AnyEvent
from worker.replay.recording import Writer
from worker.replay.scrub import Scrubber, stand_in
from worker.runner.prepare import Options, configurations, input_text
from worker.sandbox.clock import ClockKind
from worker.util.masking import collect_secrets
from worker.workflow.model import Workflow
from worker.workflow.save import fingerprint, to_execution_plan


class Recorder:
    """A sink and a host: give both to the run, and run it with :attr:`options` and :attr:`run_id`.

    Raises :class:`UsageError` where the folder cannot be written.
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
        self.run_id = str(uuid.uuid4())
        self.options = replace(options, clock=ClockKind.RECORDED)
        credentials = options.credentials or {}
        found, _ = configurations(workflow, credentials)
        self._scrub = Scrubber(collect_secrets(found.values()), patterns)
        self._writer = Writer(folder, self._scrub.json)
        self.host = RecordingHost(sender, self._exchange)
        header = {
            "run_id": self.run_id,
            "workflow": workflow.name,
            "fingerprint": fingerprint(workflow),
            "start": options.only or options.start,
            "end": options.only or options.end,
            "limits": asdict(options.limits),
            "credentials": {
                name: stand_in(one) for name, one in (options.credentials or {}).items()
            },
            "adaptors": {
                name: str(one.specifier) for name, one in choose_adaptors(workflow).items()
            },
            "origin": "worker",
        }
        inline = {
            step.id: stand_in(step.configuration)
            for step in workflow.steps
            if isinstance(step.configuration, Mapping)
        }
        self._writer.begin(header, to_execution_plan(workflow, inline), input_text(input))

    def receive(self, event: AnyEvent) -> None:
        self._writer.receive(event)

    def close(self) -> None:
        self._writer.close()

    def _exchange(self, one: Exchange) -> None:
        self._scrub.learn(one.reply)
        scrubbed = replace(
            one, request=self._scrub.request(one.request), reply=self._scrub.reply(one.reply)
        )
        self._writer.exchange(scrubbed)
