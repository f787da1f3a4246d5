"""``worker doctor``: what this machine has of what the worker needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from worker.cli.options import as_json, command
from worker.sinks.terminal_text import printable
from worker.util.cache_folder import root
from worker.util.json import dumps

EXIT_MISSING = 1


class Check(NamedTuple):
    """Result of one check; ``problem`` is empty where there is none."""

    section: str
    name: str
    purpose: str
    problem: str
    is_required: bool = True


@command(
    epilog="""
\b
Exit code: 0 where nothing is missing that runs need, else 1.
"""
)
@as_json
def doctor(*, as_json: bool) -> int:
    """Check what this machine has of what the worker needs.

    Each layer of confinement is tried out. A layer that is missing leaves runs with the others;
    with --isolation strict they do not start.

    \b
    Examples:
      worker doctor
      worker doctor --json
    """
    checks = list(_checks())
    for line in map(_json, checks) if as_json else _lines(checks):
        print(line)
    return EXIT_MISSING if any(each.problem and each.is_required for each in checks) else 0


def _checks() -> Iterator[Check]:
    yield from _layers()
    yield _engine()
    yield _cache()
    for program, purpose in _PROGRAMS.items():
        problem = "" if shutil.which(program) else "not on the PATH"
        yield Check("programs", program, purpose, problem, is_required=False)


_PROGRAMS = {
    "node": "worker adaptors install",
    "npm": "worker adaptors install",
    "chromium": "worker's own tests of its pages",
    "mosquitto": "worker dev, instead of the extra [broker]",
}


def _layers() -> Iterator[Check]:
    from worker.sandbox.confinement.layers import OPTIONAL, layers

    for layer in layers():
        yield Check(
            "confinement",
            layer.name,
            layer.purpose,
            layer.missing,
            is_required=layer.name not in OPTIONAL,
        )


def _engine() -> Check:
    purpose = "JavaScript in WebAssembly"
    try:
        from worker.sandbox.realms import is_engine_prepared

        is_prepared = is_engine_prepared()
    except (ImportError, OSError) as error:
        return Check("engine", "wasmtime", purpose, str(error))
    problem = "" if is_prepared else "not prepared: run worker engine prepare, or wait at first"
    return Check("engine", "machine code", purpose, problem, is_required=False)


def _cache() -> Check:
    folder = root()
    return Check("cache", str(folder), "adaptors, the engine, outboxes", _cache_problem(folder))


def _cache_problem(folder: Path) -> str:
    # The folder is made at its first use, in the nearest one that exists.
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"cannot write to {existing}"


def _lines(checks: list[Check]) -> Iterator[str]:
    width = max(len(each.name) for each in checks)
    section = ""
    for check in checks:
        if check.section != section:
            section = check.section
            yield section
        mark = "✓" if not check.problem else "✗" if check.is_required else "-"
        reason = f" ({check.problem})" if check.problem else ""
        yield printable(f"  {mark} {check.name:<{width}}  {check.purpose}{reason}")


def _json(check: Check) -> str:
    return dumps({**check._asdict(), "ok": not check.problem})
