"""Compiler of the engine: writes the machine code of the WebAssembly module to standard output."""

from __future__ import annotations

import sys

import wasmtime

from worker.engine.machine_code import METERED, MODULE_FILE, config


def main() -> None:
    """Compile the module, which takes seconds of all cores; with ``--metered`` to count fuel."""
    settings = config(metered=METERED in sys.argv)
    settings.parallel_compilation = True
    module = wasmtime.Module.from_file(wasmtime.Engine(settings), str(MODULE_FILE))
    sys.stdout.buffer.write(module.serialize())


if __name__ == "__main__":
    main()
