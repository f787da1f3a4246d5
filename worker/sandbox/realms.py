"""Images of realms, made once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from worker.engine.image import Image
from worker.engine.machine_code import MachineCode
from worker.engine.shared import prepared_files, runtime
from worker.sandbox.javascript.engine import image_with, is_image_prepared
from worker.sandbox.protocol import MAX_LOAD_CPU_S, RealmContents


def prepare_realm(contents: RealmContents) -> Image:
    """Return the image of a realm; it is made and kept where the cache has none.

    Raises :class:`ScriptError` where a bundle fails to load, and ``OSError`` where it is missing.
    """
    bundles = {name: Path(file).read_text("utf-8") for name, file in contents.bundles}
    # Before the clock starts: the engine itself takes seconds, once on a machine.
    runtime(metered=contents.metered)
    if not is_image_prepared(bundles, contents.libraries):
        # Plain code makes all images: they hold the same bytes, and metered code is slower.
        runtime()
    with _load_deadline():
        return image_with(bundles, contents.libraries)


@contextlib.contextmanager
def _load_deadline() -> Iterator[None]:
    # The default action of SIGPROF ends the process. A Python handler would not run while the
    # engine is inside a bundle, and the engine's own deadline needs a thread, which does not live
    # on in forked processes.
    signal.setitimer(signal.ITIMER_PROF, MAX_LOAD_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def is_engine_prepared(*, metered: bool = False) -> bool:
    """Return True where the machine code is in the cache, so that a start takes no seconds."""
    return MachineCode.is_prepared(prepared_files(), metered=metered)
