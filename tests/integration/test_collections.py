"""Collections: what jobs read and write of them, by every way of running a workflow."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.helpers import job, logs, run_job, workflow
from worker.adaptors.collections.settings import LOCAL_URL, VARIABLE, Collections
from worker.errors import UsageError
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case
from worker.testing.update import update_cases

PEOPLE = {"ada-1": {"n": 1}, "ada-2": {"n": 2}, "bob_1": [1, 2], "bobx1": "text"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.json").write_text(json.dumps(PEOPLE))
    return tmp_path


def values(folder: Path, name: str = "people") -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def keys_of(source: str, folder: Path) -> list[str]:
    state = run_job(f"{source}\nfn(s => ({{ keys: s.data.map(i => i.key) }}));", collections=folder)
    assert state.status == "success", state.error
    keys: list[str] = state.final_state["keys"]
    return keys


def test_a_job_reads_sets_and_removes_values(folder: Path) -> None:
    source = """
    collections.get('people', 'ada-1');
    fn(s => ({ ...s, one: s.data }));
    collections.set('people', 'new', $.one);
    collections.set('people', x => x.id, [{ id: 'k1' }, { id: 'k2' }]);
    collections.remove('people', 'ada-*');
    collections.remove('people', 'k2');
    collections.get('people', 'nobody');
    """
    result = run_job(source, collections=str(folder))
    assert result.status == "success", result.error
    assert result.final_state == {"data": {}, "one": {"n": 1}}
    expected = {"bob_1": [1, 2], "bobx1": "text", "new": {"n": 1}, "k1": {"id": "k1"}}
    assert values(folder) == expected


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("'*'", list(PEOPLE)),
        ("'ada*'", ["ada-1", "ada-2"]),
        ("'*1'", ["ada-1", "bob_1", "bobx1"]),
        ("{ key: '*', limit: 3 }", ["ada-1", "ada-2", "bob_1"]),
        ("{ pageSize: 1, key: '*' }", list(PEOPLE)),
        # The service compares keys with LIKE, where an underscore is any character.
        ("{ key: 'bob_*' }", ["bob_1", "bobx1"]),
        ("{ key: '*', createdBefore: '2020-01-01' }", list(PEOPLE)),
        ("{ key: '*', createdAfter: '2020-01-01' }", []),
        ("{ key: '*', updated_after: '2020-01-01T00:00:00Z' }", []),
    ],
)
def test_queries(folder: Path, query: str, keys: list[str]) -> None:
    assert keys_of(f"collections.get('people', {query});", folder) == keys


def test_a_cursor_continues_where_a_limit_stopped(folder: Path) -> None:
    source = """
    collections.each('people', { key: '*', limit: 2 }, (state, value, key) => { state.first = key; });
    fn(s => ({ ...s, cursor: s.data.cursor }));
    collections.get('people', { key: '*', cursor: $.cursor });
    """
    assert keys_of(source, folder) == ["bob_1", "bobx1"]


def test_times_are_those_of_the_first_and_the_last_set(folder: Path) -> None:
    run_job("collections.set('people', 'new', 1); collections.set('people', 'ada-1', 1);", collections=folder)  # fmt: skip
    created = "collections.get('people', { key: '*', createdAfter: '2020-01-01' });"
    assert keys_of(created, folder) == ["new"]
    updated = "collections.get('people', { key: '*', updated_after: '2020-01-01' });"
    assert keys_of(updated, folder) == ["ada-1", "new"]


@pytest.mark.parametrize(
    ("source", "message", "details"),
    [
        ("collections.get('none', 'a');", "COLLECTION_NOT_FOUND", {"collection": "none"}),
        ("collections.get('..%2Fpeople', 'a');", "COLLECTION_NOT_FOUND", {}),
        ("collections.get('people', { key: '*', updatedBefore: '2020' });", "Bad Request", {"code": 400}),
        ("collections.get('people', { key: '*', createdAfter: 'soon' });", "Bad Request", {"code": 400}),
        ("collections.get('people', { key: '*', cursor: '!' });", "Bad Request", {"code": 400}),
        ("collections.set('people', () => 'same', [1, 2]);", "duplicate_key", {"code": 422}),
        ("fn(() => ({}));\ncollections.get('people', 'a');", "ERROR: collections_endpoint not set", {}),
        ("collections.set('people', 'k');", "ILLEGAL_ARGUMENTS", {}),
        ("collections.set('people', () => 5, [1]);", "KEYGEN_ERROR", {}),
        ("collections.set('people', 'k', 'x'.repeat(1e6));", "should be at most 1000000", {"code": 422}),
    ],
)  # fmt: skip
def test_refusals_of_the_service_fail_the_step(
    folder: Path, source: str, message: str, details: dict[str, Any]
) -> None:
    result = run_job(source, collections=folder)
    assert result.status == "failed"
    assert message in str(result.error_message)
    assert result.error is not None and details.items() <= dict(result.error.details).items()
    assert values(folder) == PEOPLE


def test_without_a_place_the_step_is_an_exception_that_names_the_option() -> None:
    result = run_job("collections.get('people', 'a');")
    assert (result.status, result.error_type) == ("exception", "AdaptorError")
    assert "--collections" in str(result.error_message)


def test_the_name_is_there_without_an_adaptor_and_the_configuration_in_every_step(
    folder: Path,
) -> None:
    first = {"id": "a", "expression": "collections.get('people', 'ada-1');", "next": "b"}
    show = "fn(s => ({ keys: Object.keys(s.configuration).sort() }));"
    result = worker.run(workflow(first, job(show, id="b")), {}, collections=folder)
    assert result.final_state == {"keys": ["collections_endpoint", "collections_token"]}


def test_a_workflow_without_the_name_gets_nothing(folder: Path) -> None:
    result = run_job("fn(s => ({ keys: Object.keys(s.configuration) }));", collections=folder)
    assert result.final_state == {"keys": []}


def test_places_that_cannot_be_used_are_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for place, message in ((tmp_path / "none", "no folder"), ("https://app.example.org", VARIABLE)):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            run_job("collections.get('people', 'a');", collections=place)


def test_many_runs_that_set_values_at_once_lose_none(folder: Path) -> None:
    async def run_all() -> None:
        async with worker.Pool(size=2) as pool:
            options = worker.Options(collections=folder)
            source = "collections.set('people', (value, state) => `k${state.n}`, [1]);"
            loaded = workflow(job(source))
            await asyncio.gather(*(pool.run(loaded, {"n": n}, options) for n in range(12)))

    asyncio.run(run_all())
    assert set(values(folder)) == {*PEOPLE, *(f"k{n}" for n in range(12))}


CASES = """
workflow: w.json
cases:
  - name: values of a case
    collections: {people: {a: 1}, visits: {}}
    expect:
      status: success
      collections: {people: {a: 1, b: %s}}
  - name: without collections
    expect: {status: exception}
"""


def test_cases_have_their_own_collections(tmp_path: Path) -> None:
    step = {"id": "a", "expression": "collections.set('people', 'b', 2);"}
    (tmp_path / "w.json").write_text(json.dumps({"steps": [step]}))
    file = tmp_path / "w.cases.yaml"
    file.write_text(CASES % "2")
    assert [run_case(case).mismatches for case in load_cases(file)] == [(), ()]
    file.write_text(CASES % "3")
    wrong = run_case(load_cases(file)[0])
    [text] = wrong.mismatches
    assert "collections" in text and "people" in text
    assert update_cases(file, [wrong]) == ["values of a case"]
    assert run_case(load_cases(file)[0]).mismatches == ()


def test_console_lines_are_the_adaptors(folder: Path) -> None:
    result = run_job("collections.get('people', 'ada-1');", collections=folder)
    assert logs(result) == []


def test_the_local_endpoint_is_no_secret_and_the_token_of_the_service_is() -> None:
    assert list(Collections().secrets) == []
    assert list(Collections(url="https://app.example.org", token="t0ken").secrets)
    assert LOCAL_URL.startswith("https://collections.invalid/")
