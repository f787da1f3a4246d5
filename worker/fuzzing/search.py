"""Search for inputs whose runs end in a new way: pure, and the same each time for a seed.

The samples run first, then each of their single deviations, then random ones: synthetic inputs of
the learned shape, and several deviations of an input that brought something new. An input that
comes to a new step, edge or place of an error gets all its single deviations too.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from worker.fuzzing.deviations import Deviation, Literals, apply, deviations_of
from worker.fuzzing.endings import RunEnding
from worker.fuzzing.shape import learn
from worker.fuzzing.synthetic import SyntheticInputs
from worker.util.json import dumps

Input = Mapping[str, Any]

# The deviations of a large input that are made one by one; beyond them chance decides.
_SINGLE_LIMIT = 2_000
_SYNTHETIC_SHARE = 0.3
_MOST_DEVIATIONS = 3
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedInput:
    """Input with its origin: the deviations from a sample, or ``synthetic``; none for a sample."""

    input: Input
    origin: tuple[str, ...] = ()
    is_sample: bool = False


class Search:
    """Inputs in the order in which they are to run, chosen by what earlier ones brought."""

    def __init__(self, samples: Sequence[Input], literals: Literals, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- to be repeatable, not to be secret
        self._synthetic = SyntheticInputs(learn(samples), seed)
        self._literals = literals
        self._seen: set[str] = set()
        self._features: set[object] = set()
        self._corpus = [GeneratedInput(input=sample, is_sample=True) for sample in samples]
        self._queue: deque[Iterator[GeneratedInput]] = deque([iter(self._corpus)])
        self._queue.extend(self._singles(sample) for sample in self._corpus)
        self.endings: dict[RunEnding, GeneratedInput] = {}

    def next_batch(self, size: int) -> list[GeneratedInput]:
        """Return up to ``size`` inputs that did not run before; none when they are used up."""
        return list(islice(self._new_inputs(), size))

    def _new_inputs(self) -> Iterator[GeneratedInput]:
        failed = 0
        while failed < _ATTEMPTS:
            generated = self._next()
            text = dumps(generated.input)
            if text in self._seen:
                failed += 1
                continue
            failed = 0
            self._seen.add(text)
            yield generated

    def _next(self) -> GeneratedInput:
        while self._queue:
            generated = next(self._queue[0], None)
            if generated is not None:
                return generated
            self._queue.popleft()
        return self._random_input()

    def _singles(self, base: GeneratedInput) -> Iterator[GeneratedInput]:
        for deviation in islice(deviations_of(base.input, self._literals), _SINGLE_LIMIT):
            yield _deviated(base, [deviation])

    def _random_input(self) -> GeneratedInput:
        if self._random.random() < _SYNTHETIC_SHARE:
            base = GeneratedInput(input=self._synthetic.next(), origin=("synthetic",))
            if self._random.random() < 0.5:
                return base
        else:
            base = self._random.choice(self._corpus)
        for _ in range(self._random.randint(1, _MOST_DEVIATIONS)):
            choices = deviations_of(base.input, self._literals)
            base = _deviated(base, [self._random.choice(choices)]) if choices else base
        return base

    def observe(
        self, generated: GeneratedInput, ending: RunEnding, features: frozenset[object]
    ) -> bool:
        """Take the ending of an input; return True if no input before ended so."""
        if features - self._features and not generated.is_sample:
            self._corpus.append(generated)
            self._queue.append(self._singles(generated))
        self._features |= features
        is_new = ending not in self.endings
        if is_new:
            self.endings[ending] = generated
        return is_new

    @property
    def new_endings(self) -> list[tuple[RunEnding, GeneratedInput]]:
        """The endings that no sample had, in the order of their discovery."""
        return [item for item in self.endings.items() if not item[1].is_sample]


def _deviated(base: GeneratedInput, deviations: Sequence[Deviation]) -> GeneratedInput:
    input = base.input
    for deviation in deviations:
        input = apply(input, deviation)
    words = (deviation.description for deviation in deviations)
    return GeneratedInput(input=input, origin=(*base.origin, *words))
