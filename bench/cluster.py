"""Replays on a cluster of two workers on this machine, beside `worker replay --jobs 1`.

`python -m bench.cluster 20000` measures this alone, and shows its progress on stderr.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import worker
from bench.cores import one_core
from bench.table import row
from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.pool import background
from worker.runner.prepare import Options

RECORDINGS = 20_000
SOURCES = 50
_SAMPLE_S = 0.25
# All three commands together, on a machine that does nothing else, take half of this.
_TIMEOUT_S = 280.0
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"
CLUSTER = ("--cluster", "local", "--jobs", "2")


@dataclass
class Measured:
    """One command: its output, and seconds and memory by part.

    The parts are the command (with a cluster: client and scheduler), ``workers`` of Dask, and
    ``runs``, the processes that execute steps. ``output`` is a hash of all lines, ``first`` one of
    as many lines as were asked for, ``early_mb`` the memory after a quarter of the lines.
    """

    output: str = ""
    first: str = ""
    code: int = 0
    seconds: float = 0.0
    processor_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    early_mb: dict[str, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        return sum(self.processor_s.values())


def generate(folder: Path, count: int) -> None:
    """Write recordings: a few runs, each of them many times under another name."""
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "adaptor": "common", "expression": STEP} for n in range(3)
    ]
    for n in range(2):
        steps[n]["next"] = {f"s{n + 1}": True}
    workflow = worker.load({"workflow": {"name": "three", "steps": steps}})
    prepared = PreparedRecording(workflow, Options())
    folder.mkdir(parents=True)
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


def measure(folder: Path, count: int, *options: str, first: int = 0, kill_at: int = 0) -> Measured:
    """Replay a folder, and sample the processes that the command starts.

    After ``kill_at`` lines, one of the Dask workers is killed.
    """
    import psutil

    command = [sys.executable, "-m", "worker", "replay", folder.name, "--json", *options]
    name = " ".join(options)
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        sampler = _Sampler(psutil.Process(process.pid))
        measured = sampler.measured
        digest = hashlib.sha256()
        for number, line in enumerate(process.stdout, start=1):
            digest.update(line)
            if number == first:
                measured.first = digest.hexdigest()
            if number == kill_at:
                sampler.kill_worker()
            if number == count // 4:
                sampler.sample(psutil.Error)
                measured.early_mb = dict(measured.peak_mb)
            if time.perf_counter() >= sampler.due:
                sampler.sample(psutil.Error)
                _show(f"{name}: {number:,} of {count:,}", began)
            if time.perf_counter() - began > _TIMEOUT_S:
                process.kill()
                raise SystemExit(f"\n{name}: {number:,} of {count:,} in {_TIMEOUT_S:.0f} s: "
                                 "the machine is busy, or the number too large")  # fmt: skip
        measured.code = process.wait()
    measured.seconds = time.perf_counter() - began
    measured.output = digest.hexdigest()
    _show(f"{name}: {count:,}", began, end="\n")
    return measured


def _show(text: str, began: float, end: str = "") -> None:
    if sys.stderr.isatty() or end:
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{text} in {time.perf_counter() - began:.0f} s ", end=end, file=sys.stderr)
        sys.stderr.flush()


class _Sampler:
    """Samples a command and its processes; a process that has ended counts as last sampled."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self._spent: dict[tuple[str, int], float] = {}
        self.due = 0.0
        self.measured = Measured()

    def sample(self, error: type[Exception]) -> None:
        self.due = time.perf_counter() + _SAMPLE_S
        spent: dict[tuple[str, int], float] = defaultdict(float)
        try:
            processes = [self._own, *self._own.children(recursive=True)]
        except error:
            return
        for process in processes:
            try:
                self._add(process, spent)
            except error:
                # It has ended since it was listed.
                continue
        for key, seconds in spent.items():
            self._spent[key] = max(seconds, self._spent.get(key, 0.0))
        self.measured.processor_s = defaultdict(float)
        for (part, _), seconds in self._spent.items():
            self.measured.processor_s[part] += seconds

    def _add(self, process: Any, spent: dict[tuple[str, int], float]) -> None:
        part = "command" if process == self._own else _part(process)
        times = process.cpu_times()
        parent = process.parent()
        peak = self.measured.peak_mb
        peak[part] = max(peak.get(part, 0.0), process.memory_info().rss / 2**20)
        if part != "runs":
            spent[part, process.pid] += times.user + times.system
        elif _part(parent) == "runs":
            # Counted with who has forked it, which has its time when it has ended.
            spent[part, parent.pid] += times.user + times.system
        else:
            spent[part, process.pid] += sum(times[:4])

    def kill_worker(self) -> None:
        """Kill a Dask worker, which is the parent of a process that forks runs."""
        children = self._own.children(recursive=True)
        next(child for child in children if _part(child) == "runs").parent().kill()


def _part(process: Any) -> str:
    line = " ".join(process.cmdline())
    return "runs" if re.search(r"\bzygote\b", line) else "workers"


def main(count: int = RECORDINGS) -> None:
    """Measure, and check that the outputs are the same."""
    if find_spec("distributed") is None:
        row("replays on a cluster", "-", "needs the extra cluster")
        return
    with tempfile.TemporaryDirectory() as place:
        few, many = Path(place) / "few" / "runs", Path(place) / "many" / "runs"
        quarter = count // 4
        generate(few, quarter)
        generate(many, count)
        with one_core():
            alone = measure(many, count, "--jobs", "1", first=quarter)
        shared = measure(many, count, *CLUSTER)
        small = measure(few, quarter, *CLUSTER, kill_at=quarter // 3)
    same = (shared.output, shared.code) == (alone.output, alone.code)
    same_killed = (small.output, small.code) == (alone.first, alone.code)
    _print_rows(count, alone, shared)
    row(
        "memory of client and workers",
        " and ".join(f"{shared.peak_mb[part]:.0f} MB" for part in ("command", "workers")),
        f"after {quarter:,} recordings: "
        + " and ".join(f"{shared.early_mb[part]:.0f} MB" for part in ("command", "workers")),
    )
    row(
        "bytes of the output and exit code",
        "the same" if same else "DIFFERENT",
        f"{quarter:,} recordings with a worker killed after {quarter // 3:,}: "
        + ("the same" if same_killed else "DIFFERENT"),
    )
    if not (same and same_killed):
        raise SystemExit(1)


def _print_rows(count: int, alone: Measured, shared: Measured) -> None:
    row(
        "replays on a cluster of two workers",
        f"{count / shared.seconds:.0f} /s",
        f"{count:,} recordings; --jobs 1 on one core: {count / alone.seconds:.0f}; "
        f"{alone.seconds / shared.seconds:.2f} x; aim 1.7",
    )
    client_s, workers_s = shared.processor_s["command"], shared.processor_s["workers"]
    # Both compare and report; the worker of Dask also transfers.
    transfer_s = max(0.0, workers_s - alone.processor_s["command"])
    replays_s = workers_s + shared.processor_s["runs"] - transfer_s
    row(
        "processor time of client, scheduler and transfer",
        f"{(client_s + transfer_s) / replays_s:.0%}",
        f"client and scheduler {client_s:.1f} s, transfer and start of the workers "
        f"{transfer_s:.1f} s beside {replays_s:.1f} s of replays, aim at most 20 %; "
        f"--jobs 1: {alone.total_s:.1f} s",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RECORDINGS)
