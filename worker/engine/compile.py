"""Compiler of the engine: writes the machine code of the WebAssembly module to standard output."""

from __future__ import annotations

import contextlib
import sys

import wasmtime

from worker.engine.machine_code import METERED, MODULE_FILE, config


def main() -> None:
    """Compile the module, which takes seconds of all cores; with ``--metered`` to count fuel."""
    settings = config(metered=METERED in sys.argv)
    settings.parallel_compilation = True
    module = wasmtime.Module.from_file(wasmtime.Engine(settings), str(MODULE_FILE))
    write_code(module.serialize(), sys.stdout.fileno())


def write_code(code: bytes | bytearray, descriptor: int) -> None:
    """Write the code to a pipe, or nothing where its reader has ended meanwhile."""
    # A command that ends with an error or by Ctrl-C: a traceback would follow its message.
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", closefd=False) as pipe:
        pipe.write(code)


if __name__ == "__main__":
    main()
