"""Adaptors for tests, made of the text of a bundle: no npm, no network."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from worker.adaptors import cache
from worker.adaptors.cache import Adaptor
from worker.adaptors.install import toolchain_digest
from worker.adaptors.names import parse


def store_bundle(specifier: str, bundle: str) -> None:
    """Put a bundle into the cache of adaptors (``WORKER_CACHE``), as an installation does."""
    named = parse(specifier)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bundle.js"
        file.write_text(bundle, "utf-8")
        adaptor = Adaptor(
            name=named.name,
            version=named.version,
            sha256=hashlib.sha256(bundle.encode()).hexdigest(),
            integrity="sha512-test",
            licence="MIT",
            size=len(bundle),
            exports=(),
            overrides={},
            toolchain=toolchain_digest(),
        )
        cache.store(adaptor, file)
