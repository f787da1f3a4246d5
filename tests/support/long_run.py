"""End of a long run of a fleet: its figures are printed, or the folder of its logs is named."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path


def print_figures(name: str, run: Callable[[Path], Awaitable[Mapping[str, object]]]) -> None:
    """Do a run in a folder of its own, print its figures, and remove the folder if it succeeds."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))

    async def figures() -> Mapping[str, object]:
        return await run(folder)

    try:
        lines = asyncio.run(figures())
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    for label, value in lines.items():
        print(f"{label:>34}  {value}")
    shutil.rmtree(folder, ignore_errors=True)
