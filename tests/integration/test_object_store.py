"""Recordings in an object store, served by moto on this machine (`make object-store`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_parallel import record
from tests.support.command import call_worker
from tests.support.event_names import EventNames
from worker.cli.kept_recordings import keep_recordings
from worker.util.cache_folder import root

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a bucket, and name it."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_recordings_are_uploaded_replayed_and_erased(bucket: str, tmp_path: Path) -> None:
    spool = root() / "recordings" / "w"
    spool.mkdir(parents=True)
    for file in record(tmp_path / "runs", 3).iterdir():
        (spool / f"{file.name}[1].jsonl").write_bytes(file.read_bytes())
    log = EventNames()
    with keep_recordings(f"{bucket}/june", "w", log):
        pass
    assert not log.names and not list(spool.iterdir())
    results = f"{bucket}/results/june.jsonl"
    done = call_worker("replay", f"{bucket}/june", "--output", results, "-j", "1")
    assert done.returncode == 0 and "3 recordings: 3 the same" in done.stdout, done.stderr
    files = s3fs.S3FileSystem()
    files.invalidate_cache()
    assert files.cat("bucket/results/june.jsonl").count(b'"kind":"same"') == 3
    for url, message in (
        (f"{bucket}/none", "there is no recording"),
        ("s3://none/june", "there is no recording"),
    ):
        done = call_worker("replay", url)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
