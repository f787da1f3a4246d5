"""Attacks by a campaign, or a name of a recording, with a URL of a file system."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from worker.campaigns.campaign_spec import read_spec
from worker.errors import LoadError, UsageError
from worker.replay import recording_places
from worker.replay.recording import StoredRecording, read_item
from worker.replay.recording_places import RecordingPlaces, find_recordings

HOSTILE = [
    "reference://::refs.json",
    "reference::refs.json",
    "reference://x.jsonl::file://refs.json",
    "filecache://x::memory://runs",
    "simplecache::memory://runs",
    "dask::memory://runs",
    "pyscript://x",
    "jupyter://localhost:8888/?token=x",
    "git://HEAD@/etc",
    "smb://server/share",
    "dir://x::memory://runs",
    "zip://*.jsonl::reference://runs.zip",
    "Reference://::refs.json",
    "py:thon://x",
    "://x",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_a_file_system_that_executes_or_writes_is_refused(url: str, tmp_path: Path) -> None:
    """A reference file is a template, which older fsspec gives to Jinja: code of its author."""
    campaign = tmp_path / "campaign.json"
    spec = {"recordings": [url], "versions": {"recorded": "recorded"}}
    campaign.write_text(json.dumps(spec))
    with pytest.raises(UsageError, match="unknown file system"):
        find_recordings([url if "://" in url else f"x://{url}"])
    if "://" in url:
        with pytest.raises(UsageError, match="unknown file system"):
            find_recordings(read_spec(campaign).recordings)


def test_what_unpacks_to_gigabytes_is_a_damaged_recording_that_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five kilobytes of an archive contain a recording of some megabytes."""
    archive = tmp_path / "runs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
            file.writestr(name, b" " * 1_000_000)
    url = f"zip://*.jsonl::{archive}"
    monkeypatch.setattr(recording_places, "_BLOCK_BYTES", 2_500_000)
    places = RecordingPlaces(find_recordings([url]), with_content=True)
    assert len(places) == 3
    places[0]
    assert sorted(places._block) == [0, 1]
    monkeypatch.setattr(recording_places, "MAX_BYTES", 999_999)
    for item in RecordingPlaces(find_recordings([url]), with_content=True):
        with pytest.raises(LoadError, match="1,000,000 bytes"):
            read_item(item)


class Endless:
    """File system with a small file, an endless one, and one that names its size."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def isdir(self, path: str) -> bool:
        return True

    def find(self, path: str, detail: bool) -> dict[str, dict[str, Any]]:
        names = ("a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl")
        sizes = (10, None, 5_000, 10)
        return {
            name: {"type": "file", "size": size} for name, size in zip(names, sizes, strict=True)
        }

    def unstrip_protocol(self, path: str) -> str:
        return f"http://x/{path}"

    def cat_ranges(self, paths: list[str], starts: None, ends: None, on_error: str) -> list[bytes]:
        return [b"x" * 10 for _ in paths]

    @contextmanager
    def open(self, path: str, mode: str) -> Iterator[Endless]:
        yield self

    def read(self, size: int) -> bytes:
        self.read_bytes += size
        return b"x" * size


def test_a_file_that_is_too_large_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Endless()
    monkeypatch.setattr(recording_places, "file_system", lambda url: (files, "x"))
    monkeypatch.setattr(recording_places, "MAX_BYTES", 1_000)
    items = list(RecordingPlaces(find_recordings(["http://x/"]), with_content=True))
    assert [isinstance(item, StoredRecording) and item.content for item in items][::3] == [
        b"x" * 10, b"x" * 10,
    ]  # fmt: skip
    for item, text in zip(items[1:3], ("more than 1,000 bytes", "5,000 bytes"), strict=True):
        with pytest.raises(LoadError, match=text):
            read_item(item)
    assert files.read_bytes == 1_001
