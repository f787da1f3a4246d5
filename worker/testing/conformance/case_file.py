"""Files of conformance cases: YAML with the steps of each conversation."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

Part = Literal["worker", "control-plane"]


class MessagePattern(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of the part under test: its topic below ``{root}/v1``, and its content."""

    topic: str
    json: Any = msgspec.UNSET
    correlation: str | None = None


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    """A message that a scripted peer publishes: ``json``, or ``text`` that need not be JSON."""

    send: str
    json: Any = None
    text: str | None = None
    reply_to: str = ""
    correlation: str = ""
    retain: bool = False


class Expect(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of the part under test, before which it sends none of ``without``.

    With ``retained`` it is one that the broker has stored.
    """

    expect: str
    json: Any = msgspec.UNSET
    correlation: str | None = None
    without: list[MessagePattern] = []
    retained: bool = False

    @property
    def pattern(self) -> MessagePattern:
        return MessagePattern(self.expect, self.json, self.correlation)


class Collect(Struct, frozen=True, forbid_unknown_fields=True):
    """All events of a run, which are acknowledged as they come, without a gap and to its end.

    ``events`` are some of them in this order. None of ``without_runs`` is reported meanwhile. With
    ``in_chunks`` at least one event comes so.
    """

    collect: str
    events: list[Any]
    without_runs: list[str] = []
    in_chunks: bool = False


class Wait(Struct, frozen=True, forbid_unknown_fields=True):
    """A pause of so many times ``lease_s``, which an assignment has bound before."""

    wait_leases: float


class SetVariables(Struct, frozen=True, forbid_unknown_fields=True):
    """Variables with fixed values: contents in base64 with their hashes, for example."""

    set: dict[str, Any]


class Forget(Struct, frozen=True, forbid_unknown_fields=True):
    """Forget the messages that came before and that no step has matched."""

    forget: bool


CaseStep = Send | Expect | Collect | Wait | SetVariables | Forget


class ConformanceCase(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation, and the rule that it shows."""

    case: Annotated[str, Meta(pattern=r"^[a-z0-9-]+$", max_length=40)]
    rule: str
    steps: list[dict[str, Any]]


class ConformanceFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Cases with the steps before and after each, and sequences that a step can ``use``."""

    about: str
    setup: list[dict[str, Any]]
    cleanup: list[dict[str, Any]]
    sequences: dict[str, list[dict[str, Any]]]
    cases: list[ConformanceCase]

    def read_steps(self, steps: list[dict[str, Any]]) -> list[CaseStep]:
        """Read steps, with the sequences in the places that use them."""
        read: list[CaseStep] = []
        for step in steps:
            if "use" in step:
                read += self.read_steps(self.sequences[step["use"]])
            else:
                read.append(msgspec.convert(step, _kind(step)))
        return read


_KINDS: dict[str, type[Any]] = {
    "send": Send,
    "expect": Expect,
    "collect": Collect,
    "wait_leases": Wait,
    "set": SetVariables,
    "forget": Forget,
}


def _kind(step: dict[str, Any]) -> type[Any]:
    return next(kind for key, kind in _KINDS.items() if key in step)


def read_cases(part: Part) -> ConformanceFile:
    """Read the cases of a part of the fleet."""
    text = files(__package__).joinpath(f"{part}.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), ConformanceFile)
