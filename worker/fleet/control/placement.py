"""Placement: which workers may run what. Pure.

What a run needs and what a worker offers are sets of words: ``label:north``, ``credential:prod``,
``adaptor:@openfn/language-http@7.2.10``. A label that no worker has is waited for. A credential or
an adaptor that no worker of the fleet has does not hold up a run: it ends with the error that names
what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from worker.adaptors.names import COMMON, LATEST, parse_or_none

LABEL, CREDENTIAL, ADAPTOR = "label:", "credential:", "adaptor:"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker offers. One that does not report its credentials and adaptors may have any."""

    words: frozenset[str] = frozenset()
    reported: bool = False

    def meets(self, needs: frozenset[str]) -> bool:
        """Check that a worker may get a run with these needs."""
        missing = needs - self.words
        if self.reported:
            return not missing
        return not any(word.startswith(LABEL) for word in missing)


def build_offer(
    labels: Iterable[str], credentials: Iterable[str] | None, adaptors: Iterable[str] | None
) -> Offer:
    """Build the offer of a worker from what it reports; ``None`` where it does not."""
    words = {LABEL + name for name in labels}
    words |= {CREDENTIAL + name for name in credentials or ()}
    for text in adaptors or ():
        if (specifier := parse_or_none(text)) is not None:
            words |= {f"{ADAPTOR}{specifier}", f"{ADAPTOR}{specifier.name}@{LATEST}"}
    return Offer(frozenset(words), credentials is not None and adaptors is not None)


def needed_words(
    labels: Iterable[str], credentials: Iterable[str], adaptors: Iterable[str]
) -> frozenset[str]:
    """Return what a run needs."""
    words = {LABEL + name for name in labels} | {CREDENTIAL + name for name in credentials}
    specifiers = filter(None, map(parse_or_none, adaptors))
    # The built-in one serves where none is installed.
    words |= {f"{ADAPTOR}{each}" for each in specifiers if each.name != COMMON}
    return frozenset(words)


class _Step(msgspec.Struct, frozen=True):
    adaptors: tuple[str, ...] = ()


class _Steps(msgspec.Struct, frozen=True):
    steps: tuple[_Step, ...] = ()


class _Options(msgspec.Struct, frozen=True):
    placement: tuple[str, ...] = ()


class _PlacedPlan(msgspec.Struct, frozen=True):
    workflow: _Steps = _Steps()
    options: _Options = _Options()


def needed_by_plan(plan: str, credentials: Iterable[str], labels: Iterable[str]) -> frozenset[str]:
    """Collect what a run of a plan needs; ``labels`` are those beside the plan's own."""
    content = msgspec.json.decode(plan, type=_PlacedPlan)
    adaptors = {name for step in content.workflow.steps for name in step.adaptors}
    return needed_words({*labels, *content.options.placement}, credentials, adaptors)


def encode_words(words: Iterable[str]) -> str:
    """Encode words as they are stored; equal sets are equal texts, and the empty one is empty."""
    ordered = sorted(words)
    return msgspec.json.encode(ordered).decode() if ordered else ""


def decode_words(text: str) -> frozenset[str]:
    """Decode the words of a stored text."""
    return frozenset(msgspec.json.decode(text, type=list[str])) if text else frozenset()


def needed_credentials(text: str) -> frozenset[str]:
    """List the names of the credentials among the words of a stored text."""
    words = decode_words(text)
    return frozenset(w.removeprefix(CREDENTIAL) for w in words if w.startswith(CREDENTIAL))


class FreeSlots:
    """The free slots of workers, and what these offer. ``known`` are the offers of the fleet."""

    def __init__(
        self, demands: Mapping[str, int], offers: Mapping[str, Offer], known: Iterable[Offer]
    ) -> None:
        self._demands = demands
        self._offers = offers
        self._known = frozenset(word for offer in known for word in offer.words)
        self._taken: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return sum(self._demands.values()) - self._taken.total()

    def take(self, needs: frozenset[str]) -> str | None:
        """Take a slot for a run: of the worker with the fewest new runs that may get it."""
        binding = frozenset(word for word in needs if word in self._known or word.startswith(LABEL))
        able = [name for name in self._free() if self._offer(name).meets(binding)]
        if not able:
            return None
        worker = min(able, key=lambda name: self._taken[name])
        self._taken[worker] += 1
        return worker

    def _free(self) -> Sequence[str]:
        return [name for name, count in self._demands.items() if self._taken[name] < count]

    def _offer(self, worker: str) -> Offer:
        return self._offers.get(worker, Offer())
