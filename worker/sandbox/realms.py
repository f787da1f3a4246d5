"""Images of realms, made once and kept in the user's cache."""

from __future__ import annotations

from pathlib import Path

from worker.engine.image import Image
from worker.engine.machine_code import MachineCode
from worker.engine.shared import prepared_files
from worker.sandbox.javascript.engine import image_with
from worker.sandbox.protocol import RealmContents


def prepare_realm(contents: RealmContents) -> Image:
    """Return the image of a realm; it is made and kept where the cache has none.

    Raises :class:`ScriptError` where a bundle fails to load, and ``OSError`` where it is missing.
    """
    bundles = {name: Path(file).read_text("utf-8") for name, file in contents.bundles}
    return image_with(bundles, contents.libraries)


def is_engine_prepared() -> bool:
    """Return True where the machine code is in the cache, so that a start takes no seconds."""
    return MachineCode.is_prepared(prepared_files())
