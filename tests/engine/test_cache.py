"""Prepared files: private, whole, made once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from worker.engine.compile import write_code
from worker.engine.prepared_files import PreparedFiles


def content(files: PreparedFiles, key: str, made: list[int], data: bytes = b"data") -> bytes:
    def prepare() -> bytes:
        made.append(1)
        return data

    descriptor = files.get(key, prepare)
    try:
        return os.pread(descriptor, 100, 0)
    finally:
        os.close(descriptor)


def test_a_file_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(3):
        assert content(PreparedFiles(tmp_path / "c"), "k", made) == b"data"
    assert made == [1]
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "c" / "k").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"dat", b"DATA", b"data and more", b""])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    made: list[int] = []
    content(PreparedFiles(tmp_path), "k", made)
    (tmp_path / "k").write_bytes(damage)
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert (tmp_path / "k").read_bytes() == b"data"
    assert made == [1, 1]


def test_a_file_whose_hash_is_gone_is_made_anew(tmp_path: Path) -> None:
    made: list[int] = []
    content(PreparedFiles(tmp_path), "k", made)
    (tmp_path / "k.sha256").unlink()
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert made == [1, 1]


def test_a_file_is_hashed_again_only_where_it_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, hashed = list[int](), list[int]()
    digest = hashlib.file_digest

    def count(file: BinaryIO, name: str) -> hashlib._Hash:
        hashed.append(1)
        return digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", count)
    content(PreparedFiles(tmp_path), "k", made)
    # Its time of change is the clock's, so that a change right now might not show.
    content(PreparedFiles(tmp_path), "k", made)
    assert len(hashed) == 2
    later = time.time_ns() + 2 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    for _ in range(3):
        assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert len(hashed) == 3 and made == [1]
    state = (tmp_path / "k").stat()
    (tmp_path / "k").write_bytes(b"DATA")
    os.utime(tmp_path / "k", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert made == [1, 1]


def test_what_others_may_write_is_not_read(tmp_path: Path) -> None:
    made: list[int] = []
    content(PreparedFiles(tmp_path), "k", made)
    (tmp_path / "k").chmod(0o666)
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert made == [1, 1]
    tmp_path.chmod(0o777)
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert made == [1, 1, 1]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    folder, target = tmp_path / "c", tmp_path / "target"
    made: list[int] = []
    content(PreparedFiles(folder), "k", made)
    (folder / "k").rename(target)
    (folder / "k").symlink_to(target)
    assert content(PreparedFiles(folder), "k", made) == b"data"
    assert made == [1, 1]


def test_without_a_folder_the_content_is_in_memory(tmp_path: Path) -> None:
    made: list[int] = []
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "below"):
        assert content(PreparedFiles(folder), "k", made) == b"data"
    assert made == [1, 1]


def test_a_folder_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    content(PreparedFiles(tmp_path), "k", made)
    tmp_path.chmod(0o500)
    opened, opened_path = os.open, Path.open

    def open_as_others_do(path: Path, flags: int, *mode: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and Path(path).parent == tmp_path:
            raise PermissionError(path)  # root would be let through
        return opened(path, flags, *mode)

    def open_path_as_others_do(path: Path, mode: str) -> Any:
        if mode == "wb":
            raise PermissionError(path)
        return opened_path(path, mode)

    monkeypatch.setattr(os, "open", open_as_others_do)
    monkeypatch.setattr(Path, "open", open_path_as_others_do)
    assert content(PreparedFiles(tmp_path), "k", made) == b"data"
    assert content(PreparedFiles(tmp_path), "other", made) == b"data"
    assert made == [1, 1]


def test_processes_that_start_together_prepare_once(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from worker.engine.prepared_files import PreparedFiles
        def prepare():
            with open(sys.argv[2], "a") as file: file.write("x")
            time.sleep(0.3)
            return b"data" * 100000
        descriptor = PreparedFiles(Path(sys.argv[1])).get("k", prepare)
        assert os.fstat(descriptor).st_size == 400000
    """)
    command = [sys.executable, "-c", code, str(tmp_path / "c"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "x"


def test_a_compiler_whose_command_has_ended_says_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    write_code(bytes(2**20), writer)
    os.close(writer)
