"""Cache of bundles: ``<cache>/adaptors/<name>/<version>/{bundle.js, manifest.json}``.

A bundle that does not match its manifest is rejected: it runs before the realm is closed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from worker.adaptors.names import LATEST, Specifier, parse, version_key
from worker.errors import LoadError, UsageError
from worker.util.cache_folder import root, root_path
from worker.workflow.documents.document import parse_json, read_text

FORMAT = 1


class Adaptor(Struct, frozen=True, kw_only=True):
    """An installed adaptor.

    ``integrity`` is npm's hash of the package, ``sha256`` ours of the bundle and ``size`` its
    bytes. ``exports`` are the names that jobs can use, ``overrides`` the versions that npm was
    forced to take of other packages, ``toolchain`` the digest of what made the bundle.
    """

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
        """Name and exact version."""
        return Specifier(name=self.name, version=self.version)

    @property
    def bundle(self) -> Path:
        """Path of the bundle."""
        return _bundle(root(), self.specifier)


def folder_for(specifier: Specifier) -> Path:
    return root() / "adaptors" / _folder_name(specifier.name) / specifier.version


def _folder_name(name: str) -> str:
    return name.replace("/", "+")


@functools.lru_cache(maxsize=1024)
def _bundle(cache: Path, specifier: Specifier) -> Path:
    return folder_for(specifier) / "bundle.js"


def installed() -> list[Adaptor]:
    """List the installed adaptors, by name, the newest version of each first."""
    manifests = (root() / "adaptors").glob("*/*/manifest.json")
    adaptors = [_read_manifest(manifest) for manifest in manifests]
    # Two stable sorts, as the versions descend while the names ascend.
    adaptors.sort(key=lambda adaptor: version_key(adaptor.version), reverse=True)
    return sorted(adaptors, key=lambda adaptor: adaptor.name)


def find(specifier: Specifier) -> Adaptor | None:
    """Find the installed adaptor for a specifier; ``latest`` is the newest installed version.

    Raises :class:`UsageError` where its bundle does not match its manifest.
    """
    # Strings instead of Path: every run calls this for each of its adaptors.
    folder = f"{root_path()}/adaptors/{_folder_name(specifier.name)}"
    try:
        mtime_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116
    except OSError:
        return None
    adaptor = _find_version(folder, specifier.version, mtime_ns)
    if adaptor is not None:
        _verify(adaptor)
    return adaptor


# A folder's time changes whenever a version is added or removed, so it ends a cached result.
@functools.lru_cache(maxsize=1024)
def _find_version(folder: str, version: str, _mtime_ns: int) -> Adaptor | None:
    if version == LATEST:
        manifests = Path(folder).glob("[!.]*/manifest.json")
        versions = sorted((manifest.parent.name for manifest in manifests), key=version_key)
        if not versions:
            return None
        version = versions[-1]
    manifest = Path(folder) / version / "manifest.json"
    return _read_manifest(manifest) if manifest.is_file() else None


def store(adaptor: Adaptor, bundle: Path) -> None:
    """Add a bundle to the cache, atomically."""
    folder = folder_for(adaptor.specifier)
    # Imported here, as a run looks adaptors up and never stores one.
    import shutil
    import tempfile

    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and renamed: a run must never find half a bundle.
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        shutil.copyfile(bundle, draft / "bundle.js")
        text = json.dumps({"format": FORMAT, **asdict(adaptor)}, indent=2)
        (draft / "manifest.json").write_text(text, "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove(text: str) -> list[Adaptor]:
    """Remove one version of an adaptor, or all for ``latest``; return the removed ones."""
    import shutil

    specifier = parse(text)
    removed = [
        adaptor
        for adaptor in installed()
        if adaptor.name == specifier.name and specifier.version in (LATEST, adaptor.version)
    ]
    for adaptor in removed:
        shutil.rmtree(folder_for(adaptor.specifier))
    return removed


def _read_manifest(manifest: Path) -> Adaptor:
    try:
        # Fields of a newer version are ignored, so that one cache serves several versions of ours.
        return msgspec.convert(parse_json(read_text(manifest), str(manifest)), Adaptor)
    except (LoadError, ValueError) as error:
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


# Bundles are a megabyte: one is hashed again only when its time or size has changed.
@functools.lru_cache(maxsize=256)
def _digest(file: str, _mtime_ns: int, _size: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
