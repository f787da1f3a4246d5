"""The zygote as a process: ``python -m worker.sandbox.child.zygote_process``."""

from __future__ import annotations

import gc
import os

if __name__ == "__main__":
    # What the imports make stays: looking for garbage among it takes a tenth of the start. The
    # zygote enables it before it forks.
    gc.disable()
    from worker.util.quick_import import import_msgspec

    import_msgspec()
    from worker.sandbox.child.zygote import main

    main()
    # The interpreter's teardown takes as long as its start, and the parent waits for the end.
    os._exit(0)
