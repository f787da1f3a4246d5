"""Cache folders of figures: what a user has installed must not change them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch


@contextlib.contextmanager
def own_cache() -> Iterator[Path]:
    """Have this process, and what it starts meanwhile, use a cache folder that begins empty."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"WORKER_CACHE": folder}),
    ):
        yield Path(folder)
