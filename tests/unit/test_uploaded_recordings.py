"""Uploads of recordings: one pass at a time, nothing overwritten, erasures that last."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.event_names import EventNames
from worker.replay import uploaded_recordings
from worker.replay.recording_writer import file_name
from worker.replay.uploaded_recordings import UploadedRecordings

URL = "memory://bucket"


class Bucket:
    """Object store that can be away, and that waits before it has written."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.is_away = False
        self.requests = 0
        self.began, self.goes_on = threading.Event(), threading.Event()
        self.goes_on.set()

    def exists(self, path: str) -> bool:
        # As fsspec's own, which takes any error for an answer.
        try:
            return bool(self.info(path))
        except Exception:
            return False

    def info(self, path: str) -> dict[str, str]:
        self.requests += 1
        if self.is_away:
            raise ConnectionError("the object store is away")
        if path not in self.contents:
            raise FileNotFoundError(path)
        return {"name": path}

    def size(self, path: str) -> int:
        return len(self.contents[path])

    def cat_file(self, path: str) -> bytes:
        return self.contents[path]

    def open(self, path: str, mode: str) -> io.BytesIO:
        return io.BytesIO(self.contents[path])

    def rm_file(self, path: str) -> None:
        del self.contents[path]

    def pipe_file(self, path: str, value: bytes) -> None:
        self.began.set()
        assert self.goes_on.wait(30)
        self.contents[path] = value


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    made = Bucket()
    monkeypatch.setattr(uploaded_recordings, "file_system", lambda url: (made, "/bucket"))
    yield made
    made.goes_on.set()


def write(spool: Path, run_id: str, text: str = "first") -> Path:
    spool.mkdir(exist_ok=True)
    file = spool / f"{run_id}.jsonl"
    file.write_text(f'{{"run_id":"{run_id}"}}\n{text}\n')
    return file


def test_the_recording_of_an_earlier_attempt_is_not_overwritten(
    bucket: Bucket, tmp_path: Path
) -> None:
    for text in ("first", "second", "second"):
        write(tmp_path, "r", text)
        UploadedRecordings(URL, tmp_path, EventNames()).close()
    assert sorted(bucket.contents) == ["/bucket/r.2.jsonl", "/bucket/r.jsonl"]
    assert b"first" in bucket.contents["/bucket/r.jsonl"]
    assert b"second" in bucket.contents["/bucket/r.2.jsonl"]
    recordings = UploadedRecordings(URL, tmp_path, EventNames())
    recordings.erase("r")
    recordings.close()
    assert bucket.contents == {}


def test_an_upload_under_way_brings_no_erased_recording_back(
    bucket: Bucket, tmp_path: Path
) -> None:
    write(tmp_path, "r")
    bucket.goes_on.clear()
    recordings = UploadedRecordings(URL, tmp_path, EventNames())
    assert bucket.began.wait(30)
    assert recordings.erase("r") == 1
    bucket.goes_on.set()
    recordings.close()
    assert bucket.contents == {} and not list(tmp_path.iterdir())


def test_an_erasure_in_an_outage_deletes_what_is_here_and_the_rest_later(
    bucket: Bucket, tmp_path: Path
) -> None:
    write(tmp_path, "r")
    UploadedRecordings(URL, tmp_path, EventNames()).close()
    file = write(tmp_path, "r", "second")
    bucket.is_away = True
    log = EventNames()
    recordings = UploadedRecordings(URL, tmp_path, log)
    assert recordings.erase("r") == 1 and not file.exists()
    recordings.close()
    assert log.names == ["recording.waits"] and len(bucket.contents) == 1
    bucket.is_away = False
    UploadedRecordings(URL, tmp_path, log).close()
    assert bucket.contents == {} and log.names[1:] == ["recording.erased"]


def test_runs_of_similar_names_are_all_erased(bucket: Bucket, tmp_path: Path) -> None:
    for run_id in ("a.b", "a/b"):
        (tmp_path / file_name(run_id)).write_text(f'{{"run_id":"{run_id}"}}\n')
        UploadedRecordings(URL, tmp_path, EventNames()).close()
    assert len(bucket.contents) == 2
    bucket.is_away = True
    recordings = UploadedRecordings(URL, tmp_path, EventNames())
    recordings.erase("a.b")
    recordings.erase("a/b")
    recordings.close()
    bucket.is_away = False
    UploadedRecordings(URL, tmp_path, EventNames()).close()
    assert bucket.contents == {}


def test_a_note_that_cannot_be_read_ends_no_uploads(bucket: Bucket, tmp_path: Path) -> None:
    note = tmp_path / "x.erased"
    note.write_bytes(b"\xff")
    log = EventNames()
    recordings = UploadedRecordings(URL, tmp_path, log)
    recordings.close()
    assert log.names == ["recording.waits"] and note.exists()


def test_the_recording_of_a_run_with_the_same_name_is_not_erased(
    bucket: Bucket, tmp_path: Path
) -> None:
    write(tmp_path, "a_b")
    UploadedRecordings(URL, tmp_path, EventNames()).close()
    recordings = UploadedRecordings(URL, tmp_path, EventNames())
    recordings.erase("a.b")
    recordings.close()
    assert list(bucket.contents) == ["/bucket/a_b.jsonl"]


def test_runs_that_end_in_an_outage_are_due_as_one_pass(bucket: Bucket, tmp_path: Path) -> None:
    file = write(tmp_path, "r")
    bucket.goes_on.clear()
    recordings = UploadedRecordings(URL, tmp_path, EventNames())
    assert bucket.began.wait(30)
    bucket.is_away = True
    before = bucket.requests
    for number in range(1000):
        recordings.ended(write(tmp_path, f"r{number:04}"))
    bucket.goes_on.set()
    recordings.close()
    # The pass that was under way, that of the runs, and the last one.
    assert bucket.requests - before <= 3
    assert not file.exists() and len(list(tmp_path.iterdir())) == 1000


def test_the_end_does_not_wait_for_an_object_store(bucket: Bucket, tmp_path: Path) -> None:
    write(tmp_path, "r")
    bucket.goes_on.clear()
    log = EventNames()
    recordings = UploadedRecordings(URL, tmp_path, log)
    assert bucket.began.wait(30)
    recordings.close(timeout_s=0.01)
    assert log.names == ["recordings.wait"] and (tmp_path / "r.jsonl").exists()
