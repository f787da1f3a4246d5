"""Machine code of the engine: compiled once per wasmtime version and processor, then loaded."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import wasmtime

from worker.sandbox.engine.cache import PreparedFiles

MODULE_FILE = Path(__file__).with_name("quickjs.wasm")

# The engine's own check ends recursion at 416 KiB of its shadow stack. Of the recursions that were
# measured (x86-64, wasmtime 50), a chain of proxies uses the machine's stack fastest: it fills
# 2 MiB at 534 KiB of shadow stack. tests/engine/test_limits.py has them all. wasmtime allows no
# more than 2 MiB without its asynchronous stacks.
MACHINE_STACK_BYTES = 2 * 1024 * 1024


class MachineCode:
    """The compiled module, in an engine of wasmtime of its own."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self.engine = engine
        self.module = module

    @classmethod
    def load(cls, files: PreparedFiles) -> MachineCode:
        """Return the code from prepared files, compiling it where it is absent."""
        descriptor = files.get(f"code-{code_key()}", compile_module)
        try:
            return cls.from_descriptor(descriptor)
        finally:
            os.close(descriptor)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> MachineCode:
        """Return the code from a file that :func:`compile_module` filled."""
        engine = wasmtime.Engine(_config())
        if sys.platform == "linux":
            # Mapped, not read: the pages are shared by all processes that load it.
            path = f"/proc/self/fd/{descriptor}"
            return cls(engine, wasmtime.Module.deserialize_file(engine, path))
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return cls(engine, wasmtime.Module.deserialize(engine, file.read()))


def compile_module() -> bytes:
    """Return the serialized machine code; takes seconds."""
    module = wasmtime.Module.from_file(wasmtime.Engine(_config()), str(MODULE_FILE))
    return bytes(module.serialize())


@cache
def module_hash() -> str:
    """The hash of the WebAssembly module."""
    return hashlib.sha256(MODULE_FILE.read_bytes()).hexdigest()


def code_key() -> str:
    """The key of this machine's code: module, wasmtime and what the processor can do."""
    parts = (module_hash(), version("wasmtime"), str(MACHINE_STACK_BYTES), *_processor())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _processor() -> tuple[str, ...]:
    features = ""
    if sys.platform == "linux":
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            named = (line for line in file if line.startswith(("flags", "Features")))
            features = next(named, "")
    return sys.platform, platform.machine(), platform.processor(), features


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = MACHINE_STACK_BYTES
    config.cranelift_opt_level = "speed"
    # The address of a memory stays the same when it grows; images are mapped there.
    config.memory_may_move = False
    return config
