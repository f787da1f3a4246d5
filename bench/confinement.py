"""Cost of confinement: the processor time of runs with it, against the same runs without.

A run with Python steps has a process of its own and pays for it each time; a runner pays once for
all of its runs, and a little in each system call. ``python -m bench.confinement`` prints the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import worker
from bench.runners import TICKS_PER_S, runners_of
from bench.table import row
from worker.runner.pool import Pool

ROUNDS, RUNS = 4, {"python": 150, "common": 1000}
STEPS = {
    "python": "def step(state):\n    return {**state, 'data': {'count': 1}}\n",
    "common": "fn(state => ({ ...state, data: { count: 1 } }));",
}
UNCONFINED = """
from worker.sandbox.child import zygote
from worker.sandbox.confinement.process import Confinement
Confinement.restrict_files = Confinement.restrict_calls = lambda *_: None
zygote.close_all_but = lambda kept: None
zygote.main()
"""


@contextlib.contextmanager
def unconfined() -> Iterator[None]:
    """Have zygotes started that confine nothing."""
    start = subprocess.Popen

    def popen(line: list[str], *arguments: Any, **options: Any) -> Any:
        at = line.index("-m")
        return start([*line[:at], "-c", UNCONFINED, *line[at + 2 :]], *arguments, **options)

    with patch("subprocess.Popen", popen):
        yield


async def run_us(adaptor: str, credential: Mapping[str, str] | None = None) -> float:
    """Return the processor time of a run of three steps in the sandbox, in microseconds."""
    named = {"configuration": "keys"} if credential else {}
    steps: list[dict[str, Any]] = [
        {
            "id": f"s{n}",
            "adaptor": adaptor,
            "expression": STEPS[adaptor],
            "next": {f"s{n + 1}": True},
            **named,
        }
        for n in range(3)
    ]
    del steps[-1]["next"]
    workflow = worker.load({"workflow": {"name": "cost", "steps": steps}})
    credentials = {"keys": credential} if credential else {}
    async with Pool(size=1) as pool:
        for _ in range(20):
            await pool.run(workflow, credentials=credentials)
        before = sandbox_s(pool)
        for _ in range(RUNS[adaptor]):
            assert (await pool.run(workflow, credentials=credentials)).status == "success"
        return (sandbox_s(pool) - before) / RUNS[adaptor] * 1e6


def sandbox_s(pool: Pool) -> float:
    """Return the processor time of a pool's zygote, its runners, and all processes that ended."""
    total = 0
    for pid in (*runners_of(pool), pool.zygote_pid):
        # A process that has ended since counts as waited for.
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS_PER_S


def main() -> None:
    """Print the cost for each kind of run, on Linux."""
    asyncio.run(measure())


async def measure() -> None:
    for adaptor in STEPS:
        with_it, without = [], []
        # In turn, as the machine's other work changes from minute to minute.
        for _ in range(ROUNDS):
            with_it.append(await run_us(adaptor))
            with unconfined():
                without.append(await run_us(adaptor))
        confined_us, bare_us = min(with_it), min(without)
        share = f"{confined_us / bare_us - 1:+.1%} of {bare_us:.0f} us; aim 5%"
        kind = "Python" if adaptor == "python" else "JavaScript"
        row(f"confinement of a run of {kind}, CPU", f"{confined_us - bare_us:.0f} us", share)
    await masking()


async def masking() -> None:
    """Print the cost of masking for a run of JavaScript."""
    secrets = {f"token{n}": f"s3cr3t-{n}-" + "x" * 24 for n in range(10)}
    # Names of hosts are no secrets, so the first has as many keys and nothing to mask.
    open_keys = dict.fromkeys(("baseUrl", "url", "host", "hostUrl", "loginUrl"), "https://h.test")
    clear_us, masked_us = [
        min([await run_us("common", keys) for _ in range(ROUNDS)]) for keys in (open_keys, secrets)
    ]
    share = f"{masked_us / clear_us - 1:+.1%} of {clear_us:.0f} us; aim 10%"
    row("masking of ten secrets in a run, CPU", f"{masked_us - clear_us:.0f} us", share)


if __name__ == "__main__":
    main()
