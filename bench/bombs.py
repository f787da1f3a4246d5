"""What a run with compression bombs costs others: the worker's memory, and the time of their limits.

A run with a memory limit of 60 MB sends 1,000 requests at once, each answered with 45 kB that
decompress to 45 MB. Meanwhile another run of the same pool has a time limit of one second.
``python -m bench.bombs`` prints the figures.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import worker
from bench.caches import own_cache
from bench.table import row
from tests.support.fake_adaptors import store_bundle
from worker.core.events import RunComplete
from worker.runner.pool import Pool
from worker.runner.result import Result

MB = 1024 * 1024
ENDLESS = "fn(() => { for (;;); })"
MEMORY_MB = 60
SAMPLE_S = 0.005
ADAPTOR = "@bench/bombs@1.0.0"
BUNDLE = """
globalThis.__adaptor = {
  fn: (f) => f,
  fire: (url, count) => async (state) => {
    const request = JSON.stringify({ method: "GET", url });
    await Promise.all(Array.from({ length: count }, () => globalThis.__host("http", request)));
    return state;
  },
};
"""
SERVER = """
import http.server, socketserver, zlib
packer = zlib.compressobj(9, zlib.DEFLATED, 31)
bomb = packer.compress(bytes(45 * 2**20)) + packer.flush()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(bomb)))
        self.end_headers()
        self.wfile.write(bomb)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def job(source: str, adaptor: str) -> worker.Workflow:
    step = {"id": "a", "adaptor": adaptor, "expression": source}
    return worker.load({"workflow": {"name": "bombs", "steps": [step]}})


def resident_bytes() -> int:
    """Return the resident memory of this process, which is the worker's."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def measure(port: int) -> tuple[int, float, str]:
    """Return the growth of memory in bytes, the lateness in seconds, and the end of the run."""
    fire = job(f"fire('http://127.0.0.1:{port}/', 1000)", ADAPTOR)
    endless = job(ENDLESS, "common")
    quick = job("fn((state) => state)", ADAPTOR)
    async with Pool(size=2) as pool:
        # Both realms are loaded, and the engine of this process is warm.
        await pool.run(quick, {})
        await pool.run(job("fn((state) => state)", "common"), {})
        before = peak = resident_bytes()
        done = threading.Event()

        def sample() -> None:
            nonlocal peak
            while not done.wait(SAMPLE_S):
                peak = max(peak, resident_bytes())

        sampler = threading.Thread(target=sample)
        sampler.start()
        other = asyncio.create_task(pool.run(endless, {}, timeout=1.0))
        bombs = pool.run(fire, {}, memory_mb=MEMORY_MB, allow_hosts=["127.0.0.1"])
        result = await bombs
        assert "installed" not in (result.error_message or ""), result.error_message
        ended = await other
        done.set()
        sampler.join()
    return peak - before, lateness_s(ended), f"{result.status.value} {result.error_type}"


async def late_alone_s() -> float:
    """Return how late a time limit of one second is on a worker that does nothing else."""
    async with Pool(size=2) as pool:
        await pool.run(job("fn((state) => state)", "common"), {})
        return lateness_s(await pool.run(job(ENDLESS, "common"), {}, timeout=1.0))


def lateness_s(result: Result) -> float:
    end = result.events[-1]
    assert isinstance(end, RunComplete) and result.error_type == "TimeoutError"
    return end.duration / 1e6 - 1.0


def main() -> None:
    """Print what the worker grew by, and how late the other run's time limit was."""
    alone_s = asyncio.run(late_alone_s())
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    try:
        # The engine is prepared anew in it.
        with own_cache():
            store_bundle(ADAPTOR, BUNDLE)
            assert server.stdout is not None
            grown, late_s, end = asyncio.run(measure(int(server.stdout.readline())))
    finally:
        server.kill()
        server.wait()
    aim = MEMORY_MB + 64
    row(
        "1,000 compression bombs, memory of the worker",
        f"+{grown / MB:.0f} MB",
        f"{end}; aim {aim}",
    )
    row(
        "  meanwhile, lateness of a 1 s time limit",
        f"{late_s * 1e3:.0f} ms",
        f"alone {alone_s * 1e3:.0f}; aim 50",
    )


if __name__ == "__main__":
    main()
