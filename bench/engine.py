"""Figures of the engine: instances, restoring, calls, and JavaScript against other engines.

``python -m bench.engine`` prints them. Ratios come from the same minutes of the same machine.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench.table import row
from worker.engine.failures import Interrupted
from worker.engine.instance import Instance, Runtime
from worker.engine.machine_code import MachineCode, compile_module
from worker.engine.shared import prepared_files, runtime
from worker.sandbox.javascript.engine import image_with, realm_image

MIB = 2**20

SCRIPTS = {
    "loop": "let n = 0; for (let i = 0; i < 3000000; i++) n = (n + i * 7) | 0; n",
    "objects": "let a = []; for (let i = 0; i < 200000; i++) a.push({id: i, name: 'n' + i, even: i % 2 == 0}); a.filter((x) => x.even).map((x) => ({...x, b: x.id * 2})).length",
    "json parse": "const t = JSON.stringify(Array.from({length: 30000}, (_, i) => ({id: i, name: 'patient ' + i, tags: ['a', 'b'], value: i / 3, nested: {x: [1, 2, i]}}))); let n = 0; for (let k = 0; k < 3; k++) n += JSON.parse(t).length; n",
    "json stringify": "const a = Array.from({length: 30000}, (_, i) => ({id: i, name: 'patient ' + i, tags: ['a', 'b'], value: i / 3, nested: {x: [1, 2, i]}})); let n = 0; for (let k = 0; k < 3; k++) n += JSON.stringify(a).length; n",
    "sort": "let s = 42; const a = Array.from({length: 150000}, () => (s = (s * 1103515245 + 12345) & 0x7fffffff)); a.sort((x, y) => x - y); a[0] + a[149999]",
    "regular expressions": "let n = 0; for (let i = 0; i < 60000; i++) { const m = /^(\\w+)-(\\d+)@([a-z.]+)$/.exec('user-' + i + '@example.org'); n += m[2].length; } 'a1b22c333'.repeat(20000).replace(/\\d+/g, (d) => d.length).length + n",
    "strings": "let s = ''; for (let i = 0; i < 300000; i++) s += String.fromCharCode(97 + i % 26); s.split('a').map((x) => x.toUpperCase()).join('-').length",
}  # fmt: skip

NATIVE = """
import sys, time
import _quickjs
times = []
for _ in range(3):
    context = _quickjs.Context()
    began = time.process_time()
    context.eval(sys.argv[1])
    times.append(time.process_time() - began)
print(min(times))
"""

NODE = """
const vm = require("node:vm");
const times = [];
for (let i = 0; i < 3; i++) {
  const began = process.cpuUsage();
  vm.runInNewContext(process.argv[1]);
  const used = process.cpuUsage(began);
  times.push((used.user + used.system) / 1e6);
}
console.log(Math.min(...times));
"""


def median_us(work: Callable[[], object], times: int) -> float:
    figures = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        figures.append(time.perf_counter() - began)
    return statistics.median(figures) * 1e6


def startup() -> None:
    began = time.perf_counter()
    compile_module()
    row("compile the module", f"{time.perf_counter() - began:.2f} s")
    MachineCode.load(prepared_files())
    load_us = median_us(lambda: MachineCode.load(prepared_files()), 10)
    row("load the machine code, hash checked", f"{load_us / 1000:.1f} ms")
    began = time.perf_counter()
    image_with({"nothing": f"globalThis.__adaptor = {{}}; // {time.time()}"})
    row("make an image of the realm", f"{time.perf_counter() - began:.2f} s")


def instances() -> None:
    image = realm_image()
    row("image of the realm", f"{image.size / MIB:.1f} MiB")
    row("new instance", f"{median_us(lambda: Instance(runtime(), image), 200):.0f} us")
    instance = Instance(runtime(), image)
    row("call without work", f"{median_us(lambda: instance.used_bytes, 2000):.1f} us")
    row("evaluate '1 + 1'", f"{median_us(lambda: instance.evaluate('1 + 1'), 1000):.1f} us")
    instance.restore()
    instance.evaluate("JSON.stringify({a: [1, 2, 3]})")
    row("restore after a tiny script", f"{median_us(instance.restore, 1000):.0f} us")

    def run() -> None:
        instance.limit_memory(64 * MIB)
        instance.evaluate("JSON.stringify({a: [1, 2, 3]})")
        instance.restore()

    row("limit, tiny script, restore", f"{median_us(run, 1000):.0f} us")


def overshoot() -> None:
    late_ms = []
    for _ in range(50):
        instance = Instance(runtime(), realm_image())
        deadline_s = time.monotonic() + 0.01
        try:
            with instance.run_until(deadline_s):
                instance.evaluate("for (;;);")
        except Interrupted:
            late_ms.append((time.monotonic() - deadline_s) * 1000)
    late_ms.sort()
    row("time limit exceeded by, p50 / p99", f"{late_ms[25]:.2f} / {late_ms[-1]:.2f} ms")


def scripts() -> None:
    blank = Instance(runtime()).snapshot()
    for name, source in SCRIPTS.items():
        ours = min(_wasm_s(runtime(), blank, source) for _ in range(3))
        native = float(_output([sys.executable, "-c", NATIVE, source]))
        compared = f"{ours / native:.2f} x native quickjs-ng"
        if shutil.which("node"):
            compared += f", {ours / float(_output(['node', '-e', NODE, source])):.1f} x node"
        row(f"JavaScript: {name}", f"{ours * 1000:.0f} ms", compared)


def _wasm_s(shared: Runtime, blank: object, source: str) -> float:
    instance = Instance(shared, blank)  # type: ignore[arg-type]
    instance.limit_memory(512 * MIB)
    began = time.process_time()
    assert instance.evaluate(source), instance.call("read_register")
    return time.process_time() - began


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print all figures of the engine."""
    startup()
    instances()
    overshoot()
    scripts()


if __name__ == "__main__":
    main()
