"""The cache of bundles: ``<cache>/adaptors/<name>/<version>/{bundle.js, manifest.json}``.

A bundle that is not what its manifest says is refused: it runs before the sandbox is closed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.adaptors.names import LATEST, Specifier, order_of, parse, parsed
from worker.errors import UsageError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptor:
    """An adaptor that is installed. ``integrity`` is npm's of the package, ``sha256`` ours of the
    bundle; ``exports`` are what jobs find in it, ``toolchain`` is what bundled it, and
    ``overrides`` are packages that npm was told to take in another version."""

    name: str
    version: str
    sha256: str
    integrity: str
    licence: str
    size: int
    exports: tuple[str, ...]
    overrides: Mapping[str, str]
    toolchain: str

    @property
    def specifier(self) -> Specifier:
        return Specifier(name=self.name, version=self.version)

    @property
    def bundle(self) -> Path:
        return _bundle(root(), self.specifier)


def root() -> Path:
    """Where this user's cache is; ``WORKER_CACHE`` says otherwise."""
    return _root(os.environ.get("WORKER_CACHE"), os.environ.get("XDG_CACHE_HOME"))


@functools.cache
def _root(named: str | None, base: str | None) -> Path:
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "workflow-worker"
    return (Path(base) if base else Path.home() / ".cache") / "workflow-worker"


def folder_of(specifier: Specifier) -> Path:
    return root() / "adaptors" / _folder_name(specifier.name) / specifier.version


def _folder_name(name: str) -> str:
    return name.replace("/", "+")


@functools.lru_cache(maxsize=1024)
def _bundle(cache: Path, specifier: Specifier) -> Path:
    return folder_of(specifier) / "bundle.js"


def installed() -> list[Adaptor]:
    """What is installed, by name, the newest version of each first."""
    manifests = (root() / "adaptors").glob("*/*/manifest.json")
    found = [_read(manifest) for manifest in manifests]
    ordered = sorted(found, key=lambda one: order_of(one.version), reverse=True)
    return sorted(ordered, key=lambda one: one.name)


def find(text: str) -> Adaptor | None:
    """The adaptor that a specifier means; ``latest`` is the newest that is installed.

    Raises :class:`UsageError` where its bundle is not what was installed.
    """
    specifier = parsed(text)
    if specifier is None:
        return None
    folder = os.path.join(root(), "adaptors", _folder_name(specifier.name))  # noqa: PTH118
    try:
        changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 -- asked at every run
    except OSError:
        return None
    found = _located(folder, specifier.version, changed)
    if found is not None:
        _verify(found)
    return found


@functools.lru_cache(maxsize=1024)
def _located(folder: str, version: str, _changed: int) -> Adaptor | None:
    """What a folder of versions holds of one, as long as it does not change."""
    wanted = version
    if version == LATEST:
        versions = sorted(
            (one.parent.name for one in Path(folder).glob("[!.]*/manifest.json")), key=order_of
        )
        if not versions:
            return None
        wanted = versions[-1]
    manifest = Path(folder) / wanted / "manifest.json"
    return _read(manifest) if manifest.is_file() else None


def store(adaptor: Adaptor, bundle: Path) -> None:
    """Put a bundle into the cache, all of it or nothing."""
    folder = folder_of(adaptor.specifier)
    import shutil  # a run looks adaptors up, and never stores one
    import tempfile

    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    shutil.copyfile(bundle, draft / "bundle.js")
    text = json.dumps({"format": FORMAT, **asdict(adaptor)}, indent=2)
    (draft / "manifest.json").write_text(text, "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def remove(text: str) -> list[Adaptor]:
    """Remove a version of an adaptor, or all of them; gives what was removed."""
    import shutil

    specifier = parse(text)
    gone = [
        one
        for one in installed()
        if one.name == specifier.name and specifier.version in (LATEST, one.version)
    ]
    for one in gone:
        shutil.rmtree(folder_of(one.specifier))
    return gone


def _read(manifest: Path) -> Adaptor:
    try:
        fields = json.loads(manifest.read_text("utf-8"))
        known = {name: fields[name] for name in Adaptor.__dataclass_fields__}
        return Adaptor(**{**known, "exports": tuple(known["exports"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{manifest} is damaged ({error}): remove {manifest.parent} and install again"
        ) from error


def _verify(adaptor: Adaptor) -> None:
    try:
        state = adaptor.bundle.stat()
        digest = _digest(str(adaptor.bundle), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UsageError(_damaged(adaptor, str(error.strerror))) from error
    if digest != adaptor.sha256:
        raise UsageError(_damaged(adaptor, "its bundle is not the one that was installed"))


def _damaged(adaptor: Adaptor, reason: str) -> str:
    name = adaptor.specifier
    return f"{name}: {reason}; remove it, and install it again: worker adaptors remove {name}"


@functools.lru_cache(maxsize=256)
def _digest(file: str, _changed: int, _size: int) -> str:
    """Of a file as it was then: a run need not read a megabyte again to know it."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
