"""Use of collections by a job, which adds the collections adaptor to it."""

from __future__ import annotations

from typing import Final

COLLECTIONS: Final = "@openfn/language-collections"


def uses_collections(source: str) -> bool:
    """Return True if a job gets the collections adaptor: also for the word in a comment or text."""
    # As OpenFn's worker decides it.
    return "collections." in source
