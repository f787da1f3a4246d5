"""Runs of this project, one after another on warm processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

import worker
from tools.parity.observation import Observation, observed_here
from tools.parity.programs import Program
from worker.errors import LoadError


def run_here(programs: Iterable[Program]) -> Iterator[Observation]:
    """Run the programs in order, and yield what was observed of each."""
    with asyncio.Runner() as runner:
        pool = worker.Pool(size=1)
        runner.run(pool.__aenter__())
        try:
            for program in programs:
                yield runner.run(_run(pool, program))
        finally:
            runner.run(pool.__aexit__(None, None, None))


async def _run(pool: worker.Pool, program: Program) -> Observation:
    try:
        workflow = worker.load(dict(program.plan))
    except LoadError as error:
        return Observation(path=(), error=("LoadError", str(error)))
    return observed_here(await pool.run(workflow, program.input, timeout=10))


Runner = Callable[[Iterable[Program]], Iterator[Observation]]
