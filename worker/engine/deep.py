"""Instances with a deep stack, for programs of this package that recurse along their input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import wasmtime

from worker.engine.instance import Instance, Runtime
from worker.engine.machine_code import config
from worker.engine.shared import prepared_files

SHADOW_STACK_BYTES = 12 * 1024 * 1024
# The machine's stack grows up to 4.6 times as fast as the shadow stack (machine_code.py).
MACHINE_STACK_BYTES = 56 * 1024 * 1024
THREAD_STACK_BYTES = 64 * 1024 * 1024
"""Stack of the thread that uses such an instance."""


@contextmanager
def deep_instance() -> Iterator[Instance]:
    """Yield a new instance for the calling thread, whose stack has ``THREAD_STACK_BYTES``."""
    settings = config()
    # wasmtime compares the two, though nothing here is asynchronous, and the Python package sets
    # only one of them.
    wasmtime._bindings.wasmtime_config_async_stack_size_set(settings.ptr(), MACHINE_STACK_BYTES)
    settings.max_wasm_stack = MACHINE_STACK_BYTES
    runtime = Runtime.load(prepared_files(), settings)
    try:
        instance = Instance(runtime)
        instance.deepen_stack(SHADOW_STACK_BYTES)
        yield instance
    finally:
        runtime.close()
