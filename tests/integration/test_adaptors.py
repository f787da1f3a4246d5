"""Real adaptors: installed with real npm and esbuild, run in the real engine, refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import Done, call_worker, start_worker
from tests.support.real_adaptors import COMMON, HTTP, install, needs_npm, real_adaptors  # noqa: F401
from worker.adaptors import cache, lock
from worker.adaptors.names import Specifier, parse, parse_or_none, version_key
from worker.errors import UsageError

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("http", "@openfn/language-http", "latest"),
        ("http@7.2.10", "@openfn/language-http", "7.2.10"),
        ("@openfn/language-http@latest", "@openfn/language-http", "latest"),
        ("@openfn/language-http", "@openfn/language-http", "latest"),
        ("@mine/thing@1.0.0-rc.1", "@mine/thing", "1.0.0-rc.1"),
    ],
)
def test_adaptors_have_names_and_versions(text: str, name: str, version: str) -> None:
    assert parse(text) == Specifier(name=name, version=version)


@pytest.mark.parametrize(
    "text", ["", "@", "http@", "http@1", "../x", "http@^7.0.0", "a b", "-g", "http@7.2.10;ls", "x" * 300]
)  # fmt: skip
def test_what_names_no_adaptor_is_refused(text: str) -> None:
    assert parse_or_none(text) is None
    with pytest.raises(UsageError, match="is not the name of an adaptor"):
        parse(text)


def test_versions_are_counted_as_people_count_them() -> None:
    assert sorted(["10.0.0", "9.1.0", "9.1.0-rc.1"], key=version_key) == [
        "9.1.0-rc.1",
        "9.1.0",
        "10.0.0",
    ]


# --- installing -----------------------------------------------------------------------------------


@pytest.mark.slow
@needs_npm
def test_installed_adaptors_are_listed_with_their_licences() -> None:
    install(HTTP, COMMON)
    listed = [
        json.loads(line) for line in call_worker("adaptors", "list", "--json").stdout.splitlines()
    ]
    by_name = {f"{one['name']}@{one['version']}": one for one in listed}
    assert by_name[HTTP]["licence"].startswith("LGPL") and by_name[HTTP]["size"] > 100_000
    assert by_name[HTTP]["integrity"].startswith("sha512-")
    assert HTTP in call_worker("adaptors", "list").stdout
    found = cache.find(parse(HTTP))
    assert found is not None and {"get", "post", "execute", "fn"} <= set(found.exports)


@pytest.mark.slow
@needs_npm
def test_installing_again_does_nothing() -> None:
    install(HTTP)
    before = cache.find(parse(HTTP))
    assert before is not None
    written = before.bundle.stat().st_mtime_ns
    done = call_worker("adaptors", "install", HTTP)
    assert done.returncode == 0 and done.stdout.startswith(f"✓ {HTTP}")
    assert before.bundle.stat().st_mtime_ns == written


@needs_npm
@pytest.mark.slow
def test_a_project_names_its_adaptors_and_latest_is_locked(tmp_path: Path) -> None:
    steps = [{"id": "a", "adaptor": "@openfn/language-fhir@latest", "expression": "fn(s => s);"}]
    file = tmp_path / "project.yaml"
    file.write_text(yaml.safe_dump({"steps": steps}))
    done = call_worker("adaptors", "install", "--workflow-file", file)
    assert done.returncode == 0, done.stderr
    (locked,) = lock.read(tmp_path).values()
    assert version_key(locked.version) > version_key("1.0.0") and locked.integrity.startswith(
        "sha512-"
    )
    # What is locked is what a run finds, and an altered lock is noticed.
    assert call_worker("run", file).returncode == 0
    text = (tmp_path / lock.NAME).read_text().replace(locked.integrity, "sha512-other")
    (tmp_path / lock.NAME).write_text(text)
    again = call_worker("adaptors", "install", "--workflow-file", file)
    assert again.returncode == 2 and "its integrity differs" in again.stderr


@needs_npm
@pytest.mark.slow
def test_one_that_needs_sockets_is_refused_by_name_with_the_reason() -> None:
    done = call_worker("adaptors", "install", "@openfn/language-mongodb@2.2.3")
    assert done.returncode == 2, done.stdout
    assert "mongodb@2.2.3 needs network sockets (mongodb imports" in done.stderr


@needs_npm
@pytest.mark.slow
def test_one_that_does_not_exist_is_said() -> None:
    done = call_worker("adaptors", "install", "@openfn/language-no-such-thing@1.0.0")
    assert done.returncode == 2 and "404" in done.stderr and "Traceback" not in done.stderr


def test_without_node_it_says_what_is_missing(tmp_path: Path) -> None:
    done = start_worker(
        "adaptors", "install", "http", PATH=str(tmp_path), WORKER_CACHE=str(tmp_path)
    )
    assert done.returncode == 2 and "needs Node and npm" in done.stderr
    assert "running workflows does not need them" in done.stderr


def test_names_are_expected() -> None:
    done = call_worker("adaptors", "install")
    assert done.returncode == 2 and "expected the names of adaptors" in done.stderr


# --- the cache ------------------------------------------------------------------------------------


def stored(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str, code: str) -> None:
    """A bundle of our own in a cache of its own."""
    import hashlib

    monkeypatch.setenv("WORKER_CACHE", str(folder / "cache"))
    bundle = folder / "bundle.js"
    bundle.write_text(code)
    adaptor = cache.Adaptor(
        name="@openfn/language-mine",
        version=version,
        sha256=hashlib.sha256(code.encode()).hexdigest(),
        integrity="",
        licence="MIT",
        size=len(code),
        exports=("hello",),
        overrides={},
        toolchain="",
    )
    cache.store(adaptor, bundle)


MINE = "globalThis.__adaptor = {{ fn: f => s => f(s), hello: () => state => ({{ ...state, from: {version!r} }}), execute: (...ops) => async state => {{ for (const op of ops) state = await op(state); return state; }} }};"


def run(folder: Path, adaptor: str) -> Done:
    file = folder / "w.yaml"
    step = {"id": "a", "adaptor": adaptor, "expression": "hello();"}
    file.write_text(yaml.safe_dump({"steps": [step]}))
    return call_worker("run", file, "--output", "-", "--quiet")


@pytest.mark.slow
def test_versions_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        stored(monkeypatch, tmp_path, version, MINE.format(version=version))
    for asked, served in (
        ("mine@1.0.0", "1.0.0"),
        ("mine@1.9.0", "1.9.0"),
        ("mine", "1.10.0"),
        ("mine@latest", "1.10.0"),
    ):
        assert json.loads(run(tmp_path, asked).stdout)["from"] == served
    assert (
        call_worker("adaptors", "remove", "mine@1.9.0").stdout.strip()
        == "removed @openfn/language-mine@1.9.0"
    )
    assert cache.find(parse("mine@1.9.0")) is None and cache.find(parse("mine@1.0.0")) is not None
    assert call_worker("adaptors", "remove", "mine").stdout.count("removed") == 2
    assert call_worker("adaptors", "remove", "mine").returncode == 2
    assert "no adaptors are installed" in call_worker("adaptors", "list").stdout


@pytest.mark.slow
def test_two_versions_serve_two_steps_of_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "2.0.0"):
        stored(monkeypatch, tmp_path, version, MINE.format(version=version))
    steps = [
        {"id": "a", "adaptor": "mine@1.0.0", "expression": "hello(); fn(s => ({...s, a: s.from}));", "next": "b"},
        {"id": "b", "adaptor": "mine@2.0.0", "expression": "hello();"},
    ]  # fmt: skip
    (tmp_path / "w.yaml").write_text(yaml.safe_dump({"steps": steps}))
    final = json.loads(call_worker("run", tmp_path / "w.yaml", "--output", "-", "--quiet").stdout)
    assert (final["a"], final["from"]) == ("1.0.0", "2.0.0")


def test_a_bundle_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(monkeypatch, tmp_path, "1.0.0", MINE.format(version="1"))
    found = cache.find(parse("mine"))
    assert found is not None
    found.bundle.write_text(MINE.format(version="evil"))
    done = run(tmp_path, "mine@1.0.0")
    assert done.returncode == 2 and "is not the one that was installed" in done.stderr


def test_a_damaged_manifest_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(monkeypatch, tmp_path, "1.0.0", MINE.format(version="1"))
    (found,) = cache.installed()
    found.bundle.with_name("manifest.json").write_text("{")
    done = call_worker("adaptors", "list")
    assert done.returncode == 2 and "is damaged" in done.stderr


@pytest.mark.slow
def test_an_adaptor_that_is_not_installed_is_an_exception_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    done = call_worker("run", _using(tmp_path, "nothere@1.0.0"))
    assert done.returncode == 5 and "AdaptorError" in done.stdout
    assert "worker adaptors install @openfn/language-nothere@1.0.0" in done.stdout


def _using(folder: Path, adaptor: str) -> Path:
    file = folder / "w.yaml"
    step = {"id": "a", "adaptor": adaptor, "expression": "doIt();"}
    file.write_text(yaml.safe_dump({"steps": [step]}))
    return file


# --- in the engine --------------------------------------------------------------------------------

REGISTRY = {
    "registry": {"baseUrl": "https://fhir.test", "username": "ann", "password": "pass-word"}
}
CASES: dict[str, tuple[str, str, list[dict[str, Any]], dict[str, Any]]] = {
    "common": (COMMON, "fn(s => ({ ...s, t: toArray(1), c: chunk([1,2,3], 2) }));", [], {"t": [1], "c": [[1, 2], [3]]}),
    "common csv": (COMMON, "parseCsv('a,b\\n1,2', { columns: true });", [], {"data": [{"a": "1", "b": "2"}]}),
    "common validate": (COMMON, "validate({ type: 'object', required: ['x'] }, $.data);\nfn(s => ({ ...s, errors: s.validationErrors.map(e => e.errors[0].message) }));", [], {"errors": ["must have required property 'x'"]}),
    "http": (HTTP, "get('/x', { query: { q: 1 } });", [{"request": {"method": "get", "url": "https://fhir.test/x?q=1"}, "reply": {"json": {"n": 1}}}], {"data": {"n": 1}}),
    "http form": (HTTP, "post('/f', { a: 1 }, { contentType: 'form' });", [{"request": {"body": 'name="a"'}, "reply": {"json": {"ok": 1}}}], {"data": {"ok": 1}}),
    "fhir": ("@openfn/language-fhir@5.0.15", "get('Patient/1');", [{"request": {"url": "https://fhir.test/*Patient/1"}, "reply": {"json": {"resourceType": "Patient"}}}], {"data": {"resourceType": "Patient"}}),
    "collections": ("@openfn/language-collections@0.8.0", "collections.set('c', 'k', { v: 1 });", [{"request": {"method": "post", "url": "*/c"}, "reply": {"json": {"upserted": 1, "errors": []}}}], {}),
    "openmrs": ("@openfn/language-openmrs@5.5.0", "get('patient/1');", [{"reply": {"json": {"uuid": "u-1"}}}], {"data": [{"uuid": "u-1"}]}),
}  # fmt: skip


@needs_npm
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_adaptors_run_against_a_stubbed_service(name: str, tmp_path: Path) -> None:
    adaptor, source, http, state = CASES[name]
    install(adaptor)
    credentials = REGISTRY
    if name == "collections":
        credentials = {
            "registry": {"collections_endpoint": "https://c.test", "collections_token": "tok-en"}
        }
    if name == "openmrs":
        credentials = {
            "registry": {
                "instanceUrl": "https://fhir.test",
                "username": "ann",
                "password": "pass-word",
            }
        }
    step = {"id": "a", "adaptor": adaptor, "expression": source, "configuration": "registry"}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump({"steps": [step]}))
    case = {
        "name": name,
        "http": http,
        "credentials": credentials,
        "expect": {"status": "success", "state": state},
    }
    text = yaml.safe_dump({"workflow": "w.yaml", "cases": [case]})
    (tmp_path / "w.cases.yaml").write_text(text)
    done = call_worker("test", tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@needs_npm
def test_a_job_sees_nothing_of_what_its_adaptor_may(tmp_path: Path) -> None:
    install(HTTP)
    source = "fn(s => ({ seen: ['__host', '__console', '__adaptor', 'process', 'fetch', 'crypto'].filter(n => n in globalThis) }));"
    step = {"id": "a", "adaptor": HTTP, "expression": source}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump({"steps": [step]}))
    done = call_worker("run", tmp_path / "w.yaml", "--output", "-", "--quiet")
    assert json.loads(done.stdout)["seen"] == []


# --- versions -------------------------------------------------------------------------------------


@needs_npm
@pytest.mark.slow
def test_several_major_versions_run_in_one_workflow(tmp_path: Path) -> None:
    """Those that import date-fns 2 without ``exports`` need the entry point that Node takes."""
    jobs = {
        "@openfn/language-common@1.15.2": "fn(s => ({ ...s, one: dateFns.format(new Date(0), 'yyyy') }));",
        "@openfn/language-http@6.4.3": "get('http://refused.example/').catch((e, s) => ({ ...s, six: e.message }));",
        HTTP: "get('http://refused.example/').catch((e, s) => ({ ...s, seven: e.message }));",
        COMMON: "fn(s => ({ ...s, three: Object.keys(dateFns) }));",
    }
    install(*jobs)
    steps = [
        {"id": f"s{at}", "adaptor": adaptor, "expression": source, "next": f"s{at + 1}"}
        for at, (adaptor, source) in enumerate(jobs.items())
    ]
    del steps[-1]["next"]
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}))
    done = call_worker("run", tmp_path / "w.json", "--output", tmp_path / "out.json", "--quiet")
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "out.json").read_text())
    assert (state["one"], state["three"]) == ("1970", ["format", "parse"])
    assert "refused.example" in state["six"] and "refused.example" in state["seven"]


COLLECTIONS = "@openfn/language-collections@0.8.0"
PEOPLE = {"ada-1": {"n": 1}, "ada-2": {"n": 2}, "bob": [1]}


@needs_npm
@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "collections.get('people', 'ada-1');",
        "collections.get('people', 'none');",
        "collections.get('people', { key: '*', limit: 2 });",
        "collections.get('people');",
        "collections.each('people', { key: 'a*', pageSize: 1 }, (s, v, k) => { (s.all ??= []).push([k, v]); });",
        "collections.set('people', 'new', { a: [1] });",
        "collections.set('people', 'list', [1, 2]);",
        "collections.set('people', (v, s, i) => `k${v}${i}`, [1, 2]);",
        "collections.remove('people', 'ada*');",
        "collections.remove('people', 'bob');",
        "collections.remove('people', 'none');",
        "collections.set('people', 'x');",
        "collections.set('people', () => 1, [1]);",
        "collections.get('none', 'x');",
        "collections.get('people', { key: '*', updatedBefore: 'x' });",
        "collections.remove('people', {});",
    ],
)
def test_the_built_in_collections_do_what_the_published_ones_do(
    tmp_path: Path, source: str
) -> None:
    install(COLLECTIONS)
    ends = []
    for adaptor in (COLLECTIONS, COMMON):
        (tmp_path / "people.json").write_text(json.dumps(PEOPLE))
        step = {"id": "a", "adaptor": adaptor, "expression": source}
        (tmp_path / "w.json").write_text(json.dumps({"steps": [step]}))
        done = call_worker("run", tmp_path / "w.json", "--collections", tmp_path, "--output", "-")
        # Times of steps differ.
        log = [line for line in done.stderr.splitlines() if "[ADA]" in line]
        left = json.loads((tmp_path / "people.json").read_text())
        ends.append((done.returncode, done.stdout, log, left))
    assert ends[0] == ends[1]
