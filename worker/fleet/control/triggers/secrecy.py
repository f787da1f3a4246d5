"""Headers and properties that must not reach an order: what they prove is for the trigger alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.util.masking import MASK

_SECRET = re.compile(
    r"authorization|cookie|password|passwd|secret|token|signature|api[-_]?key|credential", re.I
)


def without_secrets(
    fields: Mapping[str, str], also: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return headers or properties with masked values where their names are those of secrets.

    ``also`` are further names, in lower case.
    """
    return {
        name: MASK if _SECRET.search(name) or name.lower() in also else value
        for name, value in fields.items()
    }
