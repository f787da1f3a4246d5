"""Campaigns: recordings replayed with versions of a workflow, from any place, and resumed."""

from __future__ import annotations

import itertools
import json
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_parallel import JOB, record
from tests.support.browser import (
    AXE_VIEWS,
    assert_accessible,
    checked_page,
    chromium,
    fits,
    needs_axe,
    save_screenshot,
)
from tests.support.command import Done, call_worker
from tests.support.graphs import HOSTILE_TEXTS
from worker.campaigns.campaign_spec import CampaignSpec, read_spec
from worker.campaigns.campaign_summary import CampaignSummary, VersionSummary
from worker.campaigns.replay_versions import ReplayRow
from worker.errors import LoadError
from worker.fleet.messaging.client_messages import RunQuery
from worker.workflow.load import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings, one of them damaged, and a workflow that treats odd numbers otherwise."""
    folder = tmp_path_factory.mktemp("campaign")
    runs = record(folder / "runs", 6)
    damaged = runs / "r04"
    damaged.write_bytes(damaged.read_bytes().partition(b"\n")[0])
    source = JOB["expression"].replace("state.data.ran", "if (state.data.n % 2) state.data.ran2")
    steps = [
        {"id": "a", "adaptor": "common", "expression": source, "next": {"b": "state.data.n == 3"}},
        {"id": "b", "adaptor": "common", "expression": "fn(() => { throw Error('no') })"},
    ]
    edited = {"workflow": {"name": "recorded", "steps": steps}}
    (folder / "edited.json").write_text(json.dumps(edited))
    write_spec(folder)
    return folder


def write_spec(folder: Path, stem: str = "june", /, **fields: Any) -> Path:
    spec = {
        "recordings": ["runs"],
        "versions": {"deployed": "recorded", "edited": "edited.json"},
        "questions": ["no failure goes unhandled", "a always runs"],
        **fields,
    }
    file = folder / f"{stem}.json"
    file.write_text(json.dumps(spec))
    return file


def run(folder: Path, *options: str, name: str = "june") -> Done:
    return call_worker("campaign", "run", f"{name}.json", "-j", "1", *options, cwd=folder)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_the_runs_of_a_database_are_chosen_by_a_query(folder: Path) -> None:
    stored = {"url": "sqlite:///x.db", "since": "2026-05-01T12:00Z", "status": "failed"}
    spec = read_spec(write_spec(folder, "stored", **{"from-store": stored}))
    assert spec.store_url == "sqlite:///x.db"
    assert spec.query == RunQuery(since=1_777_636_800_000_000, status="failed")
    for key, text in (("since", "soon"), ("status", "bad")):
        wrong = write_spec(folder, "stored", **{"from-store": {**stored, key: text}})
        with pytest.raises(LoadError) as caught:
            read_spec(wrong)
        assert caught.value.path == f"from-store.{key}"


@pytest.mark.slow
def test_a_campaign_counts_the_kinds_of_change(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 1 and not done.stderr
    text = done.stdout
    assert "deployed: 5 of 6 recorded runs are the same" in text
    assert "edited: 0 of 6 recorded runs are the same" in text
    assert "     5  state at 'a' (output.data.ran)\n            runs/r00: output.data.ran" in text
    assert "     1  unreadable\n            runs/r04: " in text
    assert "    ✗ no failure goes unhandled: 1 runs against it\n            runs/r03\n" in text
    assert "    ✓ a always runs: 0 runs against it" in text
    results = rows(folder / "june")
    assert [(row["recording"], row["version"]) for row in results][:3] == [
        ("runs/r00", "deployed"),
        ("runs/r00", "edited"),
        ("runs/r01", "deployed"),
    ]
    assert len(results) == 12 and results[0]["kind"] == "same" and results[0]["run"]
    assert results[1]["kind"] == "state" and results[1]["field"] == "output.data.ran"
    assert results[7]["status"] == "failed" and results[7]["against"]
    files = [file for file in (folder / "june").rglob("*") if file.is_file()]
    assert len(files) >= 3 and {file.stat().st_mode & 0o777 for file in files} == {0o600}
    page = (folder / "june" / "report.html").read_text()
    assert "Version edited" in page and "output.data.ran" in page and "w5" in page


@pytest.mark.slow
def test_finished_chunks_are_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.campaigns import replay_versions, run_campaign

    replayed: list[str] = []
    replay = vars(replay_versions)["replay"]

    async def counted(pool: Any, recording: Any, workflow: Any) -> Any:
        replayed.append(recording.path.name)
        return await replay(pool, recording, workflow)

    monkeypatch.setattr(replay_versions, "replay", counted)
    monkeypatch.setattr(run_campaign, "CHUNK_RECORDINGS", 2)
    first = run(folder, "--results", "again")
    assert len(replayed) == 10
    replayed.clear()
    second = run(folder, "--results", "again")
    assert replayed == [] and "6 of 6 recordings were replayed before\n" in second.stdout
    assert second.stdout.partition("\n")[2] == first.stdout
    # As if the command had been interrupted within the second chunk.
    results = (folder / "again" / "results.jsonl").read_bytes()
    for chunk in (folder / "again" / "chunks").iterdir():
        if b"r02" in chunk.read_bytes():
            chunk.unlink()
    run(folder, "--results", "again")
    assert sorted(replayed) == ["r02", "r02", "r03", "r03"]
    assert (folder / "again" / "results.jsonl").read_bytes() == results
    # Other limits are another campaign.
    replayed.clear()
    write_spec(folder, "limited", limits={"timeout": 60, "memory": 128})
    run(folder, "--results", "again", name="limited")
    assert len(replayed) == 10


@pytest.mark.slow
def test_two_campaigns_are_compared(folder: Path) -> None:
    source = JOB["expression"].replace("state.data.ran", "state.data.other")
    other = {"workflow": {"name": "recorded", "steps": [{"id": "a", **JOB, "expression": source}]}}
    (folder / "other.json").write_text(json.dumps(other))
    write_spec(folder, "first", versions={"edited": "recorded"})
    write_spec(folder, "second", versions={"edited": "other.json"}, recordings=["runs", "runs/r01"])
    for name in ("first", "second"):
        run(folder, name=name)
    same = call_worker("campaign", "compare", "first", "first", cwd=folder)
    assert same.returncode == 0 and same.stdout == "6 replays are alike\n"
    done = call_worker("campaign", "compare", "first", "second", cwd=folder)
    assert done.returncode == 1
    assert "1 replays are alike" in done.stdout
    assert "     5  edited: same → state at 'a' (output.data.ran)" in done.stdout


@pytest.mark.parametrize("command", [("run", "none.yaml"), ("compare", "none", "none")])
def test_what_is_not_there_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = call_worker("campaign", *command, cwd=tmp_path)
    assert done.returncode == 2 and "none" in done.stderr and "Traceback" not in done.stderr


MISTAKES: list[tuple[Any, str]] = [
    ([], "expected a mapping, found a list"),
    ({"recordings": []}, "expected recordings: a list of files"),
    ({"recordings": "runs"}, "recordings: expected a list, found the text 'runs'"),
    ({"recordings": [["runs"]]}, "recordings[0]: expected text, found a list"),
    ({"recordings": [""]}, "recordings[0]: expected a name"),
    ({"recordings": ["nowhere"]}, "nowhere: there is no such file or folder"),
    ({"recordings": ["nothing://x"]}, "nothing://x"),
    ({"recordings": ["zip://*::nowhere.zip"]}, "nowhere.zip"),
    ({"versions": {}}, "versions: expected 1 to 16 versions"),
    ({"versions": {f"v{n}": "recorded" for n in range(17)}}, "expected 1 to 16 versions"),
    ({"versions": {"a b": "recorded"}}, "expected a name of letters"),
    ({"versions": {"../x": "recorded"}}, "expected a name of letters"),
    ({"versions": {"a": 7}}, "versions.a: expected a mapping, found the number 7"),
    ({"versions": {"a": {"file": "edited.json", "flow": "x"}}}, "unknown key 'flow'"),
    ({"versions": {"a": "absent.json"}}, "absent.json"),
    ({"versoins": {}}, "unknown key 'versoins'; did you mean 'versions'?"),
    ({"limits": {"timeout": -1}}, "limits.timeout: expected a number from 0"),
    ({"limits": {"timeout": "1m"}}, "limits.timeout: expected a number"),
    ({"limits": {"memory": 1.5}}, "limits.memory"),
    ({"limits": {"fuel": 1}}, "unknown key 'fuel'"),
    ({"questions": ["all is well"]}, "questions[0]: unknown property 'all is well'"),
    ({"questions": ["z never runs"]}, "questions[0]: the workflow has no step 'z'"),
    ({"questions": {"a": 1}}, "questions: expected a list"),
    ({"name": 7}, "name: expected text, found the number 7"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_in_a_description_are_named(folder: Path, fields: Any, message: str) -> None:
    file = write_spec(folder, "wrong", **(fields if isinstance(fields, dict) else {}))
    if not isinstance(fields, dict):
        file.write_text(json.dumps(fields))
    done = run(folder, name="wrong")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "defect" not in done.stderr
    assert not (folder / "wrong").exists() or "recordings" in message


# --- other places ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_recordings_are_read_from_other_file_systems(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(folder / "runs.zip", "w") as archive:
        for file in sorted((folder / "runs").iterdir()):
            archive.write(file, f"runs/{file.name}.jsonl")
            memory.pipe(f"/runs/{file.name}.jsonl", file.read_bytes())
    local = call_worker("replay", "runs", "--workflow-file", "edited.json", cwd=folder)
    for url in (
        "memory://runs",
        f"zip://runs/*.jsonl::file://{folder}/runs.zip",
        "zip://::runs.zip",
    ):
        remote = call_worker("replay", url, "--workflow-file", "edited.json", cwd=folder)
        assert remote.returncode == local.returncode == 1, remote.stderr
        assert remote.stdout.count("✗") == local.stdout.count("✗") == 6
        assert (
            remote.stdout.partition("6 recordings")[2] == local.stdout.partition("6 recordings")[2]
        )
    (folder / "zip").mkdir()
    cases = folder / "zip" / "one.cases.yaml"
    done = call_worker("replay", "memory://runs/r00.jsonl", "--write-cases", cases)
    assert done.returncode == 0 and cases.exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://none", "memory://none: there is no recording"),
        ("s3://bucket/runs", "s3fs"),
        ("zip://a::none.zip", "none.zip"),
        ("nothing://x", "unknown file system"),
    ],
)
def test_places_that_cannot_be_read_are_named(
    tmp_path: Path, url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    done = call_worker("replay", url, cwd=tmp_path)
    assert done.returncode in (2, 71) and message in done.stderr
    assert "Traceback" not in done.stderr and "defect" not in done.stderr


# --- the report -----------------------------------------------------------------------------------


def hostile_page() -> str:
    """Return a report whose texts are all hostile."""
    from worker.campaigns.campaign_page import render_campaign

    # A workflow with half of a character is not loaded.
    texts = [t for t in HOSTILE_TEXTS.values() if t == t.encode(errors="ignore").decode()]
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "name": text, **JOB} for n, text in enumerate(texts)
    ]
    for n in range(len(steps) - 1):
        steps[n]["next"] = {f"s{n + 1}": {"condition": True, "label": texts[n]}}
    workflow = load({"workflow": {"name": texts[0], "steps": steps}})
    version = VersionSummary()
    for n, text in enumerate(texts):
        version.add(
            ReplayRow(recording=text, version="edited", kind="state", step=f"s{n}", field=text,
                      message=text * 3, against=("no failure goes unhandled",))
        )  # fmt: skip
        version.flows.update({f"s{n}->s{n + 1}": 1_000_000 // (n + 1)})
    spec = CampaignSpec(name=texts[0], recordings=(), versions={"edited": workflow})
    summary = CampaignSummary(
        versions={"edited": version}, questions=("no failure goes unhandled",)
    )
    summary.recorded_flows.update({"s0->s1": 12})
    return render_campaign(spec, summary, workflow)


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {tag, *(name for name, _ in attrs)}


@pytest.mark.slow
def test_a_report_escapes_what_recordings_hold() -> None:
    tags = Tags()
    tags.feed(hostile_page())
    assert not tags.names & {
        "script",
        "img",
        "iframe",
        "link",
        "onload",
        "onerror",
        "style=",
        "href",
    }
    assert {"svg", "table", "h1", "tabindex"} <= tags.names
    assert "that differ are lines of results.jsonl." in hostile_page()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.xdist_group("browser-2")
@needs_axe
def test_reports_are_accessible_and_fit(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="browser tests need Playwright (make setup)")
    run(folder)
    plain = (folder / "june" / "report.html").read_text()
    for name, content in (("plain", plain), ("hostile", hostile_page())):
        (tmp_path / f"{name}.html").write_text(content, "utf-8")
    with chromium() as browser:
        for name, (width, theme) in itertools.product(("plain", "hostile"), AXE_VIEWS):
            url = (tmp_path / f"{name}.html").as_uri()
            options: dict[str, Any] = {"width": width, "color_scheme": theme}
            with checked_page(browser, url.__eq__, **options) as checked:
                checked.page.goto(url)
                for details in checked.page.locator("details").all():
                    details.locator("summary").click()
                assert fits(checked.page)
                assert_accessible(checked.page)
                save_screenshot(checked.page, f"campaign-{name}-{width}-{theme}")
                assert checked.violations == []
