"""The zygote as a process: ``python -m worker.sandbox.child.zygote_process``."""

from __future__ import annotations

import gc
import os
import sys

if __name__ == "__main__":
    # What the imports make stays: looking for garbage among it takes a tenth of the start. The
    # zygote enables it before it forks.
    gc.disable()
    # Where it is installed, msgspec imports it, which takes a tenth of the start, and makes no use
    # of what it adds to the standard library.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]
    from worker.sandbox.child.zygote import main

    main()
    # The interpreter's teardown takes as long as its start, and the parent waits for the end.
    os._exit(0)
