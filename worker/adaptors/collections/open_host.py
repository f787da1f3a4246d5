"""Live host of a run, with the collections that it was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from worker.adaptors.collections.settings import Collections, parse_collections
from worker.adaptors.http.allowlist import Reach, hosts_in_credentials
from worker.adaptors.http.lazy_host import LazyHost

if TYPE_CHECKING:
    from worker.adaptors.collections.local_host import CollectionsSender


def open_host(
    reach: Reach, collections: str | Path | Collections | None
) -> LazyHost | CollectionsSender:
    """Return a live host that also serves the collections of a run, wherever they are."""
    place = parse_collections(collections)
    if place is None:
        return LazyHost(reach)
    if place.folder is None:
        service = hosts_in_credentials([{"url": place.url}])
        return LazyHost(replace(reach, everywhere=(*reach.everywhere, *service)))
    # Imported by the few runs that have a folder: most have no collections.
    from worker.adaptors.collections.local_host import CollectionsSender
    from worker.adaptors.collections.stores import FolderStore

    return CollectionsSender(FolderStore(place.folder), LazyHost(reach))
