"""The engine of a process: its prepared files, machine code, and an image without a realm."""

from __future__ import annotations

from functools import cache

from worker.engine.image import Image
from worker.engine.instance import Instance, Runtime
from worker.engine.prepared_files import PreparedFiles, default_folder


@cache
def prepared_files() -> PreparedFiles:
    """Return the prepared files of this user."""
    return PreparedFiles(default_folder())


@cache
def runtime(*, metered: bool = False) -> Runtime:
    """Return the runtime of this process; a metered one counts instructions."""
    return Runtime.load(prepared_files(), metered=metered)


@cache
def _blank_image() -> Image:
    return Instance(runtime()).snapshot()


def blank_instance() -> Instance:
    """Make an instance that has the language alone: no realm, no libraries."""
    return Instance(runtime(), _blank_image())
