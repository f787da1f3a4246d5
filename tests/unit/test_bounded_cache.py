"""Caches that are bounded by the bytes of what they hold, and not by how many that is."""

from __future__ import annotations

from worker.runner import prepare
from worker.util.bounded_cache import cached_within


def test_the_oldest_results_go_when_all_are_too_large_together() -> None:
    calls: list[str] = []

    @cached_within(100, lambda result, text: len(result))
    def double(text: str) -> str:
        calls.append(text)
        return text * 2

    for text in ("a" * 20, "b" * 20, "a" * 20, "c" * 20, "a" * 20, "b" * 20):
        assert double(text) == text * 2
        assert double.held_bytes <= 100
    assert [text[0] for text in calls] == ["a", "b", "c", "b"], "the one used last stays"
    double("x" * 51)
    assert double.held_bytes == 80, "what is too large alone displaces nothing"
    double.cache_clear()
    assert double.held_bytes == 0 and double("a" * 20) and len(calls) == 6


def test_large_jobs_are_not_kept_by_their_number() -> None:
    """Jobs of a megabyte each took 21 MB of memory, and 4,096 of them were kept."""
    prepare.compiled_job.cache_clear()
    source = "fn(s => s);" + "\n// " + "x" * 500_000
    prepare.compiled_job(source)
    assert prepare.compiled_job.held_bytes >= 2 * 500_000
    many = "fn(s => ({ a: s.a }));\n" * 200
    held = prepare.compiled_job.held_bytes
    prepare.compiled_job(many)
    assert prepare.compiled_job.held_bytes - held > 10 * len(many), "its positions are counted"
    prepare.compiled_job.cache_clear()
