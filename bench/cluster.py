"""Replays on a cluster of two workers on this machine, beside `worker replay --jobs 1`.

`python -m bench.cluster 20000` measures this alone.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import worker
from bench.table import row
from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.pool import background
from worker.runner.prepare import Options

Row = Callable[[str, str, str], None]
RECORDINGS = 20_000
SOURCES = 50
_SAMPLE_S = 0.25
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


@dataclass
class Measured:
    """One command: its output, seconds, and processor seconds of itself and of its children."""

    output: str = ""
    code: int = 0
    seconds: float = 0.0
    own_s: float = 0.0
    children_s: float = 0.0
    peak_mb: float = 0.0


def generate(folder: Path, count: int) -> None:
    """Write recordings: a few runs, each of them many times under another name."""
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "adaptor": "common", "expression": STEP} for n in range(3)
    ]
    for n in range(2):
        steps[n]["next"] = {f"s{n + 1}": True}
    workflow = worker.load({"workflow": {"name": "three", "steps": steps}})
    prepared = PreparedRecording(workflow, Options())
    folder.mkdir()
    for number in range(SOURCES):
        state = {"data": {"n": number, "text": "x" * 50 * number}}
        file = folder / f"r{number:06}.jsonl"
        recorder = Recorder(file, prepared, state, LazyHost(Reach()))
        background().run(
            workflow, state, prepared.options,
            sinks=[recorder], host=recorder.host, run_id=recorder.run_id,
        )  # fmt: skip
        recorder.close()
    for number in range(SOURCES, count):
        # Links: the contents are read all the same.
        (folder / f"r{number:06}.jsonl").hardlink_to(folder / f"r{number % SOURCES:06}.jsonl")


def measure(folder: Path, *options: str) -> Measured:
    """Replay a folder, and sample the processes that the command starts."""
    import psutil

    command = [sys.executable, "-m", "worker", "replay", folder.name, "--json", *options]
    measured = Measured()
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        own = psutil.Process(process.pid)
        spent: dict[int, float] = {}
        digest = hashlib.sha256()
        next_sample = 0.0
        for line in process.stdout:
            digest.update(line)
            if time.perf_counter() >= next_sample:
                next_sample = time.perf_counter() + _SAMPLE_S
                _sample(psutil, own, spent, measured)
        measured.code = process.wait()
    measured.seconds = time.perf_counter() - began
    measured.output = digest.hexdigest()
    measured.children_s = sum(spent.values())
    return measured


def _sample(psutil: Any, own: Any, spent: dict[int, float], measured: Measured) -> None:
    try:
        times = own.cpu_times()
        measured.own_s = times.user + times.system
        measured.peak_mb = max(measured.peak_mb, own.memory_info().rss / 2**20)
        for child in own.children(recursive=True):
            times = child.cpu_times()
            spent[child.pid] = times.user + times.system
    except psutil.Error:
        return


def main(row: Row, count: int = RECORDINGS) -> None:
    """Measure, and check that the outputs are the same."""
    if find_spec("distributed") is None:
        row("replays on a cluster", "-", "needs the extra cluster")
        return
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place) / "few", Path(place) / "runs"
        generate(few, count // 4)
        generate(many, count)
        small = measure(few, "--cluster", "local", "--jobs", "2")
        alone = measure(many, "--jobs", "1")
        shared = measure(many, "--cluster", "local", "--jobs", "2")
    assert (shared.output, shared.code) == (alone.output, alone.code)
    row(
        "replays on a cluster of two workers",
        f"{count / shared.seconds:.0f} /s",
        f"{count:,} recordings; --jobs 1: {count / alone.seconds:.0f}; "
        f"{alone.seconds / shared.seconds:.2f} x; aim 1.7",
    )
    row(
        "processor time of client, scheduler and transfer",
        f"{shared.own_s / shared.children_s:.0%}",
        f"{shared.own_s:.1f} s beside {shared.children_s:.1f} s of the workers; aim at most 20 %",
    )
    row(
        "memory of the client",
        f"{shared.peak_mb:.0f} MB",
        f"{small.peak_mb:.0f} MB for a quarter of the recordings",
    )


if __name__ == "__main__":
    main(row, int(sys.argv[1]) if len(sys.argv) > 1 else RECORDINGS)
