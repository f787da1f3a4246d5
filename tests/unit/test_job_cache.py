"""The cache of compiled jobs: what it returns, and that no state of its folder breaks a run."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.compiler.compile_job import compile_condition, compile_job
from worker.compiler.compiled_job import CompiledJob
from worker.runner import job_cache, prepare

SOURCE = "fn(state => state.data.items.map(x => x.id));"
GRAPHS = Path(__file__).resolve().parents[2] / "graphs"
SOURCES = [file.read_text() for file in sorted(GRAPHS.rglob("*.js"))]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path))
    forget()
    yield tmp_path / "compiled"
    forget()


# Held here, as a test may put another function in the place of one.
CACHED = (
    *(prepare.compiled_job, prepare.compiled_condition),
    *(job_cache._folder, job_cache._prune, job_cache._compiler),
)


def forget() -> None:
    """Forget what this process has compiled and prepared, as a new process has."""
    for function in CACHED:
        function.cache_clear()


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def compiled_anew() -> CompiledJob:
    forget()
    return prepare.compiled_job(SOURCE)


@pytest.mark.parametrize("source", SOURCES)
def test_a_cached_job_is_the_compiled_one(source: str) -> None:
    prepare.compiled_job(source)
    assert job_cache.read_job(source) == compile_job(source)


def test_a_cached_condition_is_the_compiled_one_and_no_job(cache: Path) -> None:
    text = " state.data.n > 1; "
    assert prepare.compiled_condition(text) == job_cache.read_condition(text)
    assert job_cache.read_condition(text) == compile_condition(text)
    assert job_cache.read_job(text) is None


def test_the_second_process_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compiled_anew()

    def refuse(source: str) -> CompiledJob:
        raise AssertionError("compiled again")

    monkeypatch.setattr("worker.compiler.compile_job.compile_job", refuse)
    assert compiled_anew() == before


def test_another_compiler_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_anew()
    monkeypatch.setattr(job_cache, "_compiler", lambda: b"another")
    assert job_cache.read_job(SOURCE) is None


def test_only_the_owner_can_read_and_write_it(cache: Path) -> None:
    compiled_anew()
    (entry,) = entries(cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert entry.stat().st_mode & 0o777 == 0o600


@given(st.data())
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_counts_as_absent(cache: Path, data: st.DataObject) -> None:
    before = compiled_anew()
    (entry,) = entries(cache)
    content = entry.read_bytes()
    if data.draw(st.booleans(), "cut"):
        entry.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), "length")])
    else:
        place = data.draw(st.integers(0, len(content) - 1), "place")
        changed = content[place] ^ data.draw(st.integers(1, 255), "bits")
        entry.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
    assert job_cache.read_job(SOURCE) is None
    assert compiled_anew() == before
    assert entry.read_bytes() == content, "the next run replaces it"


def test_an_entry_of_another_source_counts_as_absent(cache: Path) -> None:
    compiled_anew()
    (entry,) = entries(cache)
    prepare.compiled_job("fn(s => s);")
    (other,) = set(entries(cache)) - {entry}
    entry.write_bytes(other.read_bytes())
    assert job_cache.read_job(SOURCE) is None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_is_not_used(cache: Path, mode: int) -> None:
    compiled_anew()
    cache.chmod(mode)
    forget()
    assert job_cache.read_job(SOURCE) is None


def test_an_entry_that_others_can_write_is_not_used(cache: Path) -> None:
    compiled_anew()
    (entry,) = entries(cache)
    entry.chmod(0o666)
    assert job_cache.read_job(SOURCE) is None


def test_a_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    compiled_anew()
    (entry,) = entries(cache)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert job_cache.read_job(SOURCE) is None


def test_a_read_only_cache_is_read_and_not_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compiled_anew()

    def refuse(**where: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    # Not by the folder's mode: root can write whatever that is.
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert compiled_anew() == before
    assert prepare.compiled_job("fn(s => s);") == compile_job("fn(s => s);")
    assert len(entries(cache)) == 1


def test_a_cache_that_cannot_be_made_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path / "file"))
    assert compiled_anew() == compile_job(SOURCE)


def test_a_source_that_has_no_bytes_is_not_cached(cache: Path) -> None:
    assert job_cache.read_job("fn('\ud800');") is None
    assert entries(cache) == []


def test_the_oldest_half_is_removed_where_it_is_full(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_cache, "MAX_ENTRIES", 10)
    for n in range(10):
        prepare.compiled_job(f"fn(s => {n});")
    for n, entry in enumerate(entries(cache)):
        os.utime(entry, (n, n))
    forget()
    prepare.compiled_job(SOURCE)
    assert len(entries(cache)) == 6
    assert job_cache.read_job(SOURCE) is not None
