"""Settings of collections: a folder, or the service and its token."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from worker.errors import UsageError

# No network has this host, so that a request cannot leave where no store answers it.
LOCAL_URL = "https://collections.invalid/collections"
# No secret: a local store needs none, but clients do.
LOCAL = "local-collections"
VARIABLE = "WORKER_COLLECTIONS_TOKEN"


class Collections(Struct, frozen=True, kw_only=True):
    """Place of a run's collections: an endpoint with its token, and the folder of a local one.

    ``project_id`` is the project of the service, where the run is that of one.
    """

    url: str = LOCAL_URL
    token: str = LOCAL
    folder: Path | None = None
    project_id: str = ""

    @property
    def configuration(self) -> dict[str, str]:
        """Keys that every step of a workflow with collections gets."""
        keys = {"collections_endpoint": self.url, "collections_token": self.token}
        return {**keys, "project_id": self.project_id} if self.project_id else keys

    @property
    def secrets(self) -> Iterable[dict[str, str]]:
        """Credentials to mask; a local store has none."""
        return [] if self.url == LOCAL_URL else [{"collections_token": self.token}]


def parse_collections(place: str | Path | Collections | None) -> Collections | None:
    """Parse a folder, or the URL of the service, whose token is in the environment.

    Raises :class:`UsageError` where the folder or the token is missing.
    """
    if place is None or isinstance(place, Collections):
        return place
    if str(place).startswith(("https://", "http://")):
        return Collections(url=str(place), token=_token())
    folder = Path(place)
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}' for collections")
    return Collections(folder=folder)


def _token() -> str:
    token = os.environ.get(VARIABLE, "")
    if not token:
        raise UsageError(f"the service of collections needs a token: set {VARIABLE}")
    return token
