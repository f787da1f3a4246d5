"""Installation of adaptors: npm fetches them, esbuild bundles them, an engine probes them.

Only the installation needs Node and npm. It runs no script of a package, and nothing of an adaptor
outside of an engine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.lock import LockedVersion
from worker.adaptors.names import COMMON, LATEST, Specifier
from worker.errors import UsageError
from worker.util.cache_folder import root

COMMAND_TIMEOUT_S = 300
MAX_BUNDLE_BYTES = 32 * 1024 * 1024
_NPM_OPTIONS = (
    "--ignore-scripts",
    # npm prepares a package from a repository by its own .npmrc, which names programs to execute.
    "--allow-git=none",
    # For versions of npm without that option: the program that would fetch the repository.
    "--git=packages-from-git-are-not-installed",
    "--allow-file=root",
    "--allow-directory=root",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--loglevel=error",
)
_FORBIDDEN_MODULES = {
    "net": "network sockets",
    "tls": "network sockets",
    "dgram": "network sockets",
    "child_process": "other processes",
    "cluster": "other processes",
    "worker_threads": "threads",
}

Progress = Callable[[str], None]


def install(specifiers: Sequence[Specifier], folder: Path, progress: Progress) -> list[Adaptor]:
    """Install adaptors; those in the lock file of ``folder`` at their locked versions.

    Where ``latest`` was resolved, its version is added to the lock file. Raises
    :class:`UsageError` where an adaptor is unknown or needs what the sandbox forbids, or a program
    is missing; adaptors installed before the error stay.
    """
    tools = _toolchain(progress)
    locked = lock.read(folder)
    adaptors = []
    for specifier in specifiers:
        entry = locked.get(str(specifier))
        adaptor = _install(lock.resolve(specifier, locked), entry, tools, progress)
        adaptors.append(adaptor)
        # Written after each, so that an error further on does not lose the resolved versions.
        if specifier.version == LATEST and str(specifier) not in locked:
            locked[str(specifier)] = LockedVersion(
                version=adaptor.version, integrity=adaptor.integrity
            )
            lock.write(folder, locked)
    return adaptors


def install_unlocked(specifier: Specifier) -> Adaptor:
    """Install one adaptor that no lock file is about. Raises :class:`UsageError` like `install`."""
    return _install(specifier, None, _toolchain(_no_progress), _no_progress)


def require_programs() -> None:
    """Raise :class:`UsageError` where Node or npm is missing."""
    for program in ("node", "npm"):
        _program(program)


def _no_progress(text: str) -> None:
    pass


def _install(
    specifier: Specifier, locked: LockedVersion | None, tools: Path, progress: Progress
) -> Adaptor:
    known = cache.find(specifier) if specifier.version != LATEST else None
    same = known is not None and (locked is None or known.integrity == locked.integrity)
    if known is not None and same and known.toolchain == tools.name:
        progress(f"{known.specifier} is installed already")
        return known
    with tempfile.TemporaryDirectory(prefix="worker-adaptor-") as name:
        folder = Path(name)
        progress(f"fetching {specifier}")
        package = _fetch(specifier, folder)
        if locked is not None and locked.integrity != package.integrity:
            raise UsageError(
                f"{specifier}: the registry's package is not the one in {lock.NAME}"
                " (its integrity differs)"
            )
        progress(f"bundling {package.specifier}")
        return _bundle(package, folder, tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    specifier: Specifier
    integrity: str
    licence: str
    overrides: dict[str, str]


def _fetch(specifier: Specifier, folder: Path) -> _Package:
    overrides: dict[str, str] = {}
    try:
        _npm_install(specifier, folder, overrides)
    except UsageError as error:
        # A few adaptors depend on a version of common that was never published.
        if not re.search(rf"No matching version found for {COMMON}@", str(error)):
            raise
        overrides = {COMMON: LATEST}
        _npm_install(specifier, folder, overrides)
    packages = json.loads((folder / "package-lock.json").read_text("utf-8"))["packages"]
    package = packages[f"node_modules/{specifier.name}"]
    return _Package(
        specifier=Specifier(name=specifier.name, version=package["version"]),
        integrity=package.get("integrity", ""),
        licence=str(package.get("license", "unknown")),
        overrides={name: packages[f"node_modules/{name}"]["version"] for name in overrides},
    )


def _npm_install(specifier: Specifier, folder: Path, overrides: dict[str, str]) -> None:
    manifest = {"private": True, "dependencies": {specifier.name: specifier.version}}
    extra = {"overrides": overrides} if overrides else {}
    (folder / "package.json").write_text(json.dumps({**manifest, **extra}), "utf-8")
    command = [_program("npm"), "install", *_NPM_OPTIONS, "--omit=dev"]
    _run(command, folder, f"{specifier}: npm")


def _bundle(package: _Package, folder: Path, tools: Path) -> Adaptor:
    out = folder / "bundle.js"
    script = [_program("node"), "bundle.mjs", package.specifier.name, str(folder), str(out)]
    report = json.loads(_run(script, tools, f"{package.specifier} cannot be bundled"))
    if forbidden := report["forbidden"]:
        raise UsageError(_forbidden_message(package.specifier, forbidden))
    if out.stat().st_size > MAX_BUNDLE_BYTES:
        raise UsageError(
            f"{package.specifier} is too large: {out.stat().st_size / 2**20:.1f} MB bundled"
            f" (the limit is {MAX_BUNDLE_BYTES // 2**20} MB)"
        )
    code = out.read_bytes()
    # A process of its own: a bundle that crashes the engine must not end the installation.
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


def _forbidden_message(specifier: Specifier, forbidden: dict[str, str]) -> str:
    module, importer = next(iter(forbidden.items()))
    # Packages nest: the last folder in the path is the one that has the import.
    packages = re.findall(r"node_modules/((?:@[^/]+/)?[^/]+)", importer)
    by = f" ({packages[-1]} imports {module})" if packages else f" ({module})"
    return (
        f"{specifier} needs {_FORBIDDEN_MODULES[module]}{by}, which the sandbox refuses;"
        " script or stub its steps in a case (worker test)"
    )


# --- the tool chain -------------------------------------------------------------------------------


def _toolchain(progress: Progress) -> Path:
    """Install esbuild and our replacements of Node's modules, once; return their folder."""
    with resources.as_file(_source()) as source:
        folder = root() / "toolchain" / toolchain_digest()
        if folder.is_dir():
            return folder
        require_programs()
        progress("installing the tool chain (once)")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            shutil.copytree(source, draft, dirs_exist_ok=True)
            command = [_program("npm"), "install", *_NPM_OPTIONS]
            _run(command, draft, "the tool chain cannot be installed: npm")
            # It fails where another command installed the same tool chain meanwhile.
            with contextlib.suppress(OSError):
                draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def toolchain_digest() -> str:
    """Hash the tool chain: an adaptor that another one bundled is bundled again."""
    with resources.as_file(_source()) as source:
        return hashlib.sha256(b"".join(_contents(source))).hexdigest()[:16]


def _source() -> Traversable:
    return resources.files("worker.adaptors") / "toolchain"


def _contents(folder: Path) -> Iterator[bytes]:
    files = (file for file in folder.rglob("*") if file.suffix in (".js", ".mjs", ".json"))
    for file in sorted(files):
        yield file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes()


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UsageError(
            f"installing adaptors needs Node and npm, and there is no {name} on the PATH"
            " (https://nodejs.org); running workflows does not need them"
        )
    return path


def _run(command: Sequence[str], folder: Path, what: str) -> str:
    """Run a program and return its output. Raises :class:`UsageError` with its error message."""
    options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, timeout=COMMAND_TIMEOUT_S, check=False, **options)
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{what}: not finished within {COMMAND_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise UsageError(f"{what}: {_error_message(done.stderr or done.stdout)}")
    return str(done.stdout)


def _error_message(output: str) -> str:
    lines = [line.removeprefix("npm error ").strip() for line in output.splitlines()]
    # npm ends with the path of a log file in a temporary folder, which is gone by then.
    useful = [line for line in lines if line and not line.startswith(_NOISE)]
    return " ".join(useful[:4])[:500] or "no reason given"


_NOISE = ("A complete log", "npm warn")
