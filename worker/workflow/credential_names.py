"""Names of credentials in the configurations of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CREDENTIAL_NAME = "$CREDENTIALS$"
"""Key by which OpenFn's command names a credential in a configuration with fields of its own."""


def split_configuration(
    configuration: Mapping[str, Any] | str | None,
) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a step's credential, and the fields of its own; both may be empty."""
    if isinstance(configuration, Mapping):
        own = {key: value for key, value in configuration.items() if key != CREDENTIAL_NAME}
        return str(configuration.get(CREDENTIAL_NAME) or ""), own
    return configuration or "", {}
