"""Installs adaptors: npm fetches them, esbuild bundles them, an engine tries them.

Node and npm are needed here and nowhere else. No script of a package is run, and nothing of an
adaptor runs outside of an engine.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.lock import Locked
from worker.adaptors.names import COMMON, LATEST, Specifier
from worker.errors import UsageError

NPM_SECONDS = 300
_SHARED = "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"
_REFUSED = {
    "net": "network sockets",
    "tls": "network sockets",
    "dgram": "network sockets",
    "child_process": "other processes",
    "cluster": "other processes",
    "worker_threads": "threads",
}

Say = Callable[[str], None]


def install(specifiers: Sequence[Specifier], folder: Path, say: Say) -> list[Adaptor]:
    """Install adaptors, those that are locked in ``folder`` at their locked versions.

    The lock file is written anew where ``latest`` was resolved. Raises :class:`UsageError` where
    something is missing, unknown or refused; what was installed before stays.
    """
    tools = _tools(say)
    locked = lock.read(folder)
    done = []
    for wanted in specifiers:
        adaptor = _install(lock.resolve(wanted, locked), locked.get(str(wanted)), tools, say)
        done.append(adaptor)
        if wanted.version == LATEST and str(wanted) not in locked:
            locked[str(wanted)] = Locked(version=adaptor.version, integrity=adaptor.integrity)
            lock.write(folder, locked)
    return done


def _install(wanted: Specifier, locked: Locked | None, tools: Path, say: Say) -> Adaptor:
    known = cache.find(str(wanted)) if wanted.version != LATEST else None
    same = known is not None and (locked is None or known.integrity == locked.integrity)
    if known is not None and same and known.toolchain == tools.name:
        say(f"{known.specifier} is installed already")
        return known
    with tempfile.TemporaryDirectory(prefix="worker-adaptor-") as name:
        folder = Path(name)
        say(f"fetching {wanted}")
        package = _fetch(wanted, folder)
        if locked is not None and locked.integrity != package.integrity:
            raise UsageError(
                f"{wanted}: the registry's package is not the one in {lock.NAME}"
                " (its integrity differs)"
            )
        say(f"bundling {package.specifier}")
        return _bundle(package, folder, tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    specifier: Specifier
    integrity: str
    licence: str
    overrides: dict[str, str]


def _fetch(wanted: Specifier, folder: Path) -> _Package:
    overrides: dict[str, str] = {}
    try:
        _npm_install(wanted, folder, overrides)
    except UsageError as error:
        # A few adaptors ask for a version of common that was never published.
        if not re.search(rf"No matching version found for {COMMON}@", str(error)):
            raise
        overrides = {COMMON: LATEST}
        _npm_install(wanted, folder, overrides)
    listed = json.loads((folder / "package-lock.json").read_text("utf-8"))["packages"]
    found = listed[f"node_modules/{wanted.name}"]
    return _Package(
        specifier=Specifier(name=wanted.name, version=found["version"]),
        integrity=found.get("integrity", ""),
        licence=str(found.get("license", "unknown")),
        overrides={name: listed[f"node_modules/{name}"]["version"] for name in overrides},
    )


def _npm_install(wanted: Specifier, folder: Path, overrides: dict[str, str]) -> None:
    manifest = {"private": True, "dependencies": {wanted.name: wanted.version}}
    extra = {"overrides": overrides} if overrides else {}
    (folder / "package.json").write_text(json.dumps({**manifest, **extra}), "utf-8")
    _run([_program("npm"), "install", *_SHARED, "--omit=dev"], folder, f"{wanted}: npm")


def _bundle(package: _Package, folder: Path, tools: Path) -> Adaptor:
    out = folder / "bundle.js"
    script = [_program("node"), "bundle.mjs", package.specifier.name, str(folder), str(out)]
    report = json.loads(_run(script, tools, f"{package.specifier} cannot be bundled"))
    if forbidden := report["forbidden"]:
        raise UsageError(_refusal(package.specifier, forbidden))
    code = out.read_bytes()
    probe = [sys.executable, "-I", "-m", "worker.adaptors.probe", str(out)]
    exports = json.loads(_run(probe, folder, f"{package.specifier} cannot be loaded"))
    adaptor = Adaptor(
        name=package.specifier.name,
        version=package.specifier.version,
        sha256=hashlib.sha256(code).hexdigest(),
        integrity=package.integrity,
        licence=package.licence,
        size=len(code),
        exports=tuple(exports),
        overrides=package.overrides,
        toolchain=tools.name,
    )
    cache.store(adaptor, out)
    return adaptor


def _refusal(specifier: Specifier, forbidden: dict[str, str]) -> str:
    """Which package asks for what the sandbox never gives."""
    module, importer = next(iter(forbidden.items()))
    found = re.findall(r"node_modules/((?:@[^/]+/)?[^/]+)", importer)
    by = f" ({found[-1]} imports {module})" if found else f" ({module})"
    return (
        f"{specifier} needs {_REFUSED[module]}{by}, which the sandbox refuses;"
        " script or stub its steps in a case (worker test)"
    )


# --- the tool chain -------------------------------------------------------------------------------


def _tools(say: Say) -> Path:
    """The folder with esbuild and what replaces Node's modules, installed once."""
    with resources.as_file(_source()) as ours:
        folder = cache.root() / "toolchain" / toolchain()
        if folder.is_dir():
            return folder
        for program in ("node", "npm"):
            _program(program)
        say("installing the tool chain (once)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        shutil.copytree(ours, draft, dirs_exist_ok=True)
    _run([_program("npm"), "install", *_SHARED], draft, "the tool chain cannot be installed: npm")
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft)  # another command was faster
    return folder


def toolchain() -> str:
    """What names the tool chain: an adaptor that another one bundled is bundled again."""
    with resources.as_file(_source()) as ours:
        return hashlib.sha256(b"".join(_contents(ours))).hexdigest()[:16]


def _source() -> Traversable:
    return resources.files("worker.adaptors") / "toolchain"


def _contents(folder: Path) -> Iterable[bytes]:
    for file in sorted(one for one in folder.rglob("*") if one.suffix in (".js", ".mjs", ".json")):
        yield file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UsageError(
            f"installing adaptors needs Node and npm, and there is no {name} on the PATH"
            " (https://nodejs.org); running workflows does not need them"
        )
    return found


def _run(command: Sequence[str], folder: Path, what: str) -> str:
    """The output of a program. Raises :class:`UsageError` with the end of its complaint."""
    options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, timeout=NPM_SECONDS, check=False, **options)
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{what}: no answer within {NPM_SECONDS} s") from error
    if done.returncode != 0:
        raise UsageError(f"{what}: {_complaint(done.stderr or done.stdout)}")
    return str(done.stdout)


def _complaint(text: str) -> str:
    lines = [line.removeprefix("npm error ").strip() for line in text.splitlines()]
    telling = [one for one in lines if one and not one.startswith(("A complete log", "npm warn"))]
    return " ".join(telling[:4])[:500] or "no reason given"
