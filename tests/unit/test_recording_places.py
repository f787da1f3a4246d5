"""Places of recordings: archives and object stores with unusual names, and attempts of a run."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.errors import LoadError, MachineError, UsageError
from worker.replay.recording import StoredRecording, parse_recording
from worker.replay.recording_content import RecordingContent
from worker.replay.recording_places import RecordingPlaces, find_recordings
from worker.replay.recordings_of_runs import recordings_of_runs
from worker.replay.remote_files import machine_errors

fsspec = pytest.importorskip("fsspec")

NAMES = (
    "../../up.jsonl",
    "a*b.jsonl",
    "c[1].jsonl",
    "d?.jsonl",
    "e#f.jsonl",
    "-rf.jsonl",
    "sp ace.jsonl",
    "ünï☃.jsonl",
    "x\x1b[31m\n✓ y.jsonl",
    "g::h.jsonl",
)


def read(*places: str | Path) -> dict[str, Any]:
    """Return what was read at places, by the names of the recordings."""
    items = RecordingPlaces(find_recordings(places), with_content=True)
    assert all(isinstance(item, StoredRecording) for item in items)
    return {item.name: item.content for item in items if isinstance(item, StoredRecording)}


@pytest.fixture
def bucket() -> Iterator[str]:
    url = f"memory://{uuid.uuid4()}"
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


def test_a_url_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"pip install 'workflow-worker\[cluster\]'"):
        find_recordings(["memory://runs"])


@pytest.mark.parametrize(
    "place",
    [
        "ftp://ann:hunter2@h/x",
        "memory://ann:hunter2@h/x?sig=hunter2",
        "zip://*::sftp://ann:hunter2@127.0.0.1:1/a.zip?sig=hunter2",
        "zip://*::memory://x/a.zip?sig=hunter2",
    ],
)
def test_no_error_of_a_place_has_its_secrets(place: str) -> None:
    with pytest.raises((MachineError, UsageError)) as caught:
        find_recordings([place])
    assert "hunter2" not in str(caught.value)


def test_errors_of_file_systems_name_no_secrets() -> None:
    """The worker logs them while its recordings wait for an upload."""
    with (
        pytest.raises(MachineError) as caught,
        machine_errors("write sftp://ann:hunter2@h/runs"),
    ):
        raise OSError("403, url='https://h/runs?X-Amz-Signature=hunter2'")
    assert str(caught.value) == "cannot write sftp://ann:…@h/runs: 403, url='https://h/runs?…'"


def test_names_of_recordings_have_no_secrets() -> None:
    url = f"memory://{uuid.uuid4()}/a.jsonl?sig=hunter2"
    fsspec.filesystem("memory").pipe_file(url, b"{}")
    (name,) = read(url)
    assert "hunter2" not in name


def test_unusual_names_in_archives_and_object_stores(tmp_path: Path, bucket: str) -> None:
    file = tmp_path / "runs.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in NAMES:
            archive.writestr(name, name)
        archive.writestr("notes.txt", "no recording")
    assert read(f"zip://::{file}") == {f"zip://{n}::{file}": n.encode() for n in NAMES}
    assert read(f"zip://c[1].jsonl::{file}") == {f"zip://c[1].jsonl::{file}": b"c[1].jsonl"}
    memory = fsspec.filesystem("memory")
    # Of "::" fsspec makes a chain of file systems.
    flat = [name.replace("/", "_").replace("::", "_") for name in NAMES]
    for name in flat:
        memory.pipe(f"{bucket}/{name}", name.encode())
    assert sorted(map(bytes, read(bucket).values())) == sorted(name.encode() for name in flat)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_of_an_archive_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("/absolute.jsonl", "changed.jsonl", "whole.jsonl"):
            archive.writestr(name, f"content of {name}")
    damaged = (
        (tmp_path / "a.zip").read_bytes().replace(b"content of changed", b"content of CHANGED")
    )
    (tmp_path / "a.zip").write_bytes(damaged)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        entry = tarfile.TarInfo("link.jsonl")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
        entry = tarfile.TarInfo("whole.jsonl")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"whole"))
    contents = read(f"zip://::{tmp_path}/a.zip", f"tar://::{tmp_path}/a.tar")
    readable = {name for name, content in contents.items() if isinstance(content, bytes)}
    assert readable == {
        f"zip://whole.jsonl::{tmp_path}/a.zip",
        f"tar://whole.jsonl::{tmp_path}/a.tar",
    }
    assert len(contents) == 5
    for name in contents.keys() - readable:
        with pytest.raises(LoadError, match="cannot be read") as caught:
            parse_recording(StoredRecording(name=name, content=contents[name]))
        assert caught.value.file == name


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_data_of_each_compression_does_not_hide_the_others(
    tmp_path: Path, compression: int
) -> None:
    file = tmp_path / "a.zip"
    text = "".join(map(str, range(1_000)))
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("damaged.jsonl", text)
        archive.writestr("whole.jsonl", text)
        size = archive.getinfo("damaged.jsonl").compress_size
    data = bytearray(file.read_bytes())
    begin = 30 + len("damaged.jsonl")
    data[begin + size // 2 : begin + size] = b"\xff" * (size - size // 2)
    file.write_bytes(data)
    contents = read(f"zip://::{file}")
    damaged = contents[f"zip://damaged.jsonl::{file}"]
    assert contents[f"zip://whole.jsonl::{file}"] == text.encode()
    with pytest.raises(LoadError, match="cannot be read"):
        parse_recording(StoredRecording(name="damaged", content=damaged))


def test_an_object_that_was_deleted_is_unreadable_and_an_outage_an_error(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a", "b"):
        memory.pipe(f"{bucket}/{name}.jsonl", b"content")
    places = find_recordings([bucket])
    memory.rm(f"{bucket}/a.jsonl")
    first, second = RecordingPlaces(places, with_content=True)
    assert isinstance(first, StoredRecording) and isinstance(second, StoredRecording)
    assert isinstance(first.content, RecordingContent) and second.content == b"content"

    # s3fs has PermissionError for credentials that expired.
    for outage in (ConnectionResetError("no answer"), PermissionError("no answer")):
        monkeypatch.setattr(type(memory), "cat_file", failing(outage))
        with pytest.raises(MachineError, match=r"cannot read memory://.*b\.jsonl: no answer"):
            _ = RecordingPlaces(places, with_content=True)[1]


def failing(error: Exception) -> Callable[..., bytes]:
    def fail(*arguments: Any, **options: Any) -> bytes:
        raise error

    return fail


def test_a_lost_connection_to_an_archive_is_an_outage(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jsonl", "content")
    fsspec.filesystem("memory").pipe(f"{bucket}/a.zip", (tmp_path / "a.zip").read_bytes())
    places = find_recordings([f"zip://*.jsonl::{bucket}/a.zip"])
    outer = type(places[0].files.fo)  # type: ignore[union-attr]
    for outage in (ConnectionResetError("no answer"), PermissionError("no answer")):
        monkeypatch.setattr(outer, "read", failing(outage))
        with pytest.raises(MachineError, match=r"cannot read zip://a\.jsonl.*: no answer"):
            _ = RecordingPlaces(places, with_content=True)[0]


def test_all_attempts_at_a_run_are_its_recordings(tmp_path: Path, bucket: str) -> None:
    header = json.dumps({"type": "recording", "run_id": "a-1"}).encode()
    memory = fsspec.filesystem("memory")
    for name in ("a-1.10.jsonl", "a-1.2.jsonl", "a-1.jsonl", "a-10.jsonl", "a-1.x.jsonl"):
        (tmp_path / name).write_bytes(header)
        memory.pipe(f"{bucket}/{name}", header)
    for place in (tmp_path, bucket):
        recorded = recordings_of_runs(["b-1", "a-1"], find_recordings([place]))
        names = [place.name.rpartition("/")[2] for place in recorded.places]
        assert names == ["a-1.jsonl", "a-1.2.jsonl", "a-1.10.jsonl"]
        assert recorded.unrecorded == ["b-1"]
