"""Machine code of the engine: compiled once per wasmtime version and processor, then loaded."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from pathlib import Path

import wasmtime

from worker.engine.prepared_files import PreparedFiles

MODULE_FILE = Path(__file__).with_name("quickjs.wasm")

# The engine's own check ends recursion at 512 KiB of its shadow stack. The deepest machine stack
# measured at that point is 1.9 MiB (tests/engine/test_stack.py); wasmtime allows no more than 2
# MiB without its asynchronous stacks.
MACHINE_STACK_BYTES = 2 * 1024 * 1024

METERED = "--metered"
"""Argument of the compiler for code that counts its instructions."""


class MachineCode:
    """The compiled module, in an engine of wasmtime of its own.

    Metered code counts its WebAssembly instructions as fuel. The count follows from the module and
    its inputs alone, so it is the same on every machine.
    """

    def __init__(
        self, engine: wasmtime.Engine, module: wasmtime.Module, *, metered: bool = False
    ) -> None:
        self.engine = engine
        self.module = module
        self.metered = metered

    @classmethod
    def load(
        cls,
        files: PreparedFiles,
        settings: wasmtime.Config | None = None,
        *,
        metered: bool = False,
    ) -> MachineCode:
        """Return the code from prepared files, compiling it where it is absent."""
        key = f"code-{code_key(metered=metered)}"
        descriptor = files.get(key, lambda: compile_module(metered=metered))
        try:
            return cls.from_descriptor(descriptor, settings, metered=metered)
        finally:
            os.close(descriptor)

    @staticmethod
    def is_prepared(files: PreparedFiles, *, metered: bool = False) -> bool:
        """Return True where the code need not be compiled."""
        return files.has(f"code-{code_key(metered=metered)}")

    @classmethod
    def from_descriptor(
        cls,
        descriptor: int,
        settings: wasmtime.Config | None = None,
        *,
        metered: bool = False,
    ) -> MachineCode:
        """Return the code from a file that :func:`compile_module` filled."""
        engine = wasmtime.Engine(settings or config(metered=metered))
        return cls(engine, load_module(engine, descriptor), metered=metered)


def load_module(engine: wasmtime.Engine, descriptor: int) -> wasmtime.Module:
    """Return the module whose serialized machine code is in a file."""
    if sys.platform == "linux":
        # Mapped, not read: the pages are shared by all processes that load it.
        return wasmtime.Module.deserialize_file(engine, f"/proc/self/fd/{descriptor}")
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return wasmtime.Module.deserialize(engine, file.read())


def compile_module(*, metered: bool = False) -> bytes:
    """Return the serialized machine code; takes seconds."""
    import subprocess  # a start with the code in its cache does without it

    # The compiler starts threads, and the process that forks runs must have none.
    command = [sys.executable, "-I", "-m", "worker.engine.compile", *([METERED] if metered else [])]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@cache
def module_hash() -> str:
    """Compute the hash of the WebAssembly module."""
    return hashlib.sha256(MODULE_FILE.read_bytes()).hexdigest()


@cache
def code_key(*, metered: bool = False) -> str:
    """Return the key of the code: of the module, of wasmtime, and of the processor."""
    settings = (str(MACHINE_STACK_BYTES), *([METERED] if metered else []))
    parts = (module_hash(), _wasmtime_version(), *settings, *_processor())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _wasmtime_version() -> str:
    # Read from the name of its folder: importlib.metadata takes a tenth of the start of a process.
    packages = Path(wasmtime.__file__).parent.parent
    folder = next(packages.glob("wasmtime-*.dist-info"), None)
    if folder is not None:
        return folder.name
    from importlib.metadata import version

    return version("wasmtime")


def _processor() -> tuple[str, ...]:
    features = ""
    if sys.platform == "linux":
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            named = (line for line in file if line.startswith(("flags", "Features")))
            features = next(named, "")
    # Not platform.processor(), which starts a process to find out less.
    return sys.platform, platform.machine(), features


def config(*, metered: bool = False) -> wasmtime.Config:
    """Return the settings that the code is compiled and run with."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.consume_fuel = metered
    config.max_wasm_stack = MACHINE_STACK_BYTES
    config.cranelift_opt_level = "speed"
    # The address of a memory stays the same when it grows; images are mapped there.
    config.memory_may_move = False
    # The start check compiles a small module, and must not start threads either.
    config.parallel_compilation = False
    return config
