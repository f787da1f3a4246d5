"""Images of realms, made once and kept in the user's cache."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.engine.failures import ScriptError
from worker.engine.image import Image
from worker.engine.machine_code import MachineCode
from worker.engine.shared import prepared_files, runtime
from worker.sandbox.javascript.engine import image_with, is_image_prepared
from worker.sandbox.protocol import EXIT_UNLOADED, MAX_LOAD_CPU_S, RealmContents
from worker.util.cache_folder import root

_MAKER = "worker.sandbox.child.realm_maker"


def prepare_realm(contents: RealmContents) -> Image:
    """Return the image of a realm; it is made and kept where the cache has none.

    Raises :class:`ScriptError` where a bundle fails to load, and ``OSError`` where it is missing.
    """
    bundles = {name: Path(file).read_text("utf-8") for name, file in contents.bundles}
    runtime(metered=contents.metered)
    if contents.metered and not is_image_prepared(bundles, contents.libraries):
        # Plain code makes all images: they hold the same bytes, and metered code is slower.
        runtime()
    # Bundles are code of others: they never run in a process that forks runs, or in the command.
    return image_with(bundles, contents.libraries, make=_make_apart if bundles else None)


def _make_apart(bundles: Mapping[str, str], libraries: Sequence[str]) -> bytes:
    """Return the image of a realm that a confined process loads. Raises :class:`ScriptError`."""
    # Once for each set of bundles on a machine: other starts do without the module.
    import subprocess

    done = subprocess.run(
        [sys.executable, "-I", "-X", "utf8", "-m", _MAKER, str(root().absolute())],
        input=json.dumps({"bundles": bundles, "libraries": list(libraries)}).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    raise ScriptError(_reason(done.returncode, done.stdout))


def _reason(code: int, output: bytes) -> str:
    match code:
        case code if code == EXIT_UNLOADED:
            return output.decode()
        case code if code == -signal.SIGPROF:
            return f"it took more than {MAX_LOAD_CPU_S:g} s of processor time"
        case code if code == -signal.SIGSYS:
            return "it made a system call that is forbidden"
        case _:
            return f"the process that loads it ended with {code}"


def is_engine_prepared(*, metered: bool = False) -> bool:
    """Return True where the machine code is in the cache, so that a start takes no seconds."""
    return MachineCode.is_prepared(prepared_files(), metered=metered)


def can_keep_engine() -> bool:
    """Return True where the cache can be written, so that later starts take no seconds."""
    return prepared_files().can_keep()
