"""Content of a recording as far as it can be read, whatever the version of its format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.adaptors.http.exchange import Exchange
from worker.core.events import AnyEvent, Dataclip, dataclip_of, with_dataclip
from worker.replay.recording_lines import RecordingHeader, dataclip_id

MAX_DAMAGE = 100
"""Problems of a recording that are listed."""
_PROBLEM_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingContent:
    """What a recording holds, and a sentence for each damage.

    ``header``, ``plan`` and ``input`` (JSON text) are None where they could not be read.
    """

    header: RecordingHeader | None
    plan: Mapping[str, Any] | None
    input: str | None
    events: tuple[AnyEvent, ...]
    exchanges: tuple[Exchange, ...]
    damage: tuple[str, ...]


def unreadable_content(damage: str) -> RecordingContent:
    """Return the content of a recording of which nothing could be read."""
    return RecordingContent(
        header=None, plan=None, input=None, events=(), exchanges=(), damage=(damage,)
    )


class Dataclips:
    """Dataclips by id, each checked against its content; ``damage`` receives what is wrong."""

    def __init__(self, damage: list[str]) -> None:
        self._damage = damage
        # None is a dataclip that was reported, so that each is reported once.
        self._texts: dict[str, str | None] = {}

    def add(self, id: str, content: bytes) -> None:
        """Add a dataclip. Raises ``ValueError`` if its content is not what was written."""
        # A dataclip that was edited would make the replay differ, and nobody would see why.
        if dataclip_id(content) != id:
            self._texts[id] = None
            raise ValueError(f"dataclip {id[:12]} was changed: its hash is another")
        self._texts[id] = content.decode("utf-8", "surrogatepass")

    def text(self, id: str) -> str | None:
        """Return the text of a dataclip; None where it could not be read."""
        if id not in self._texts:
            self._damage.append(f"dataclip {id[:12]} is missing")
            self._texts[id] = None
        return self._texts[id]

    def resolve(self, event: AnyEvent) -> AnyEvent:
        """Replace the id of a dataclip by its content."""
        dataclip = dataclip_of(event)
        if dataclip is None or not dataclip.text.startswith('"'):
            return event
        text = self.text(json.loads(dataclip.text))
        return with_dataclip(event, None if text is None else Dataclip(text))


def build_content(
    header: RecordingHeader | None,
    plan: Mapping[str, Any] | None,
    dataclips: Dataclips,
    events: Iterable[AnyEvent],
    exchanges: Iterable[Exchange],
    damage: list[str],
) -> RecordingContent:
    """Put the states into the events, and add what is missing to the damage."""
    if header is not None and plan is None:
        damage.append("the workflow is missing")
    input = None if header is None else dataclips.text(header.input)
    resolved = tuple(map(dataclips.resolve, events))
    return RecordingContent(
        header=header,
        plan=plan,
        input=input,
        events=resolved,
        exchanges=tuple(exchanges),
        damage=tuple(_listed(damage)),
    )


def _listed(damage: list[str]) -> Iterator[str]:
    """Yield the first problems, shortened: a recording can have one for each of its events."""
    # Not only the damaged lines: a dataclip that is missing has no line.
    for problem in damage[: MAX_DAMAGE + 1]:
        yield problem[:_PROBLEM_CHARACTERS]
    if len(damage) > MAX_DAMAGE + 1:
        yield f"and {len(damage) - MAX_DAMAGE - 1:,} more problems"
