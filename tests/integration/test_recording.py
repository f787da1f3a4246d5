"""Recording and replay: twenty runs against a real server, replayed without it, and what edits of
their workflows change."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import call_worker, start_worker
from tests.support.real_adaptors import COMMON, HTTP, KEPT, install, needs_npm, real_adaptors  # noqa: F401
from worker.adaptors.http.allowlist import Reach, hosts_in_credentials, parse_host_pattern
from worker.adaptors.http.lazy_host import LazyHost
from worker.core.events import StepComplete, to_json
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.recording import Recording, read_recording
from worker.replay.replayer import Replay, ReplayPart, replay
from worker.runner.pool import background
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits
from worker.workflow.load import load

SECRET = "correct-horse-battery"
# Twenty runs are recorded first; the format and the rules of replays have quick tests of their own.
pytestmark = [needs_npm, pytest.mark.slow, pytest.mark.xdist_group("recordings")]


# --- a service ------------------------------------------------------------------------------------


@dataclass
class Service:
    """A real server: pages of patients, an endpoint that is down twice, an echo, a login."""

    url: str = ""
    seen: list[str] = field(default_factory=list)
    failures: int = 0

    def answer(self, method: str, path: str, headers: Any, body: str) -> tuple[int, Any]:
        self.seen.append(f"{method} {path}")
        if path.startswith("/patients"):
            page = int(path.partition("page=")[2] or 1)
            following = page + 1 if page < 3 else None
            return 200, {"page": page, "next": following, "items": [page * 10, page * 10 + 1]}
        if path == "/flaky":
            self.failures += 1
            return (503, {"error": "busy"}) if self.failures % 3 else (200, {"ok": True})
        if path == "/login":
            return 200, {"access_token": f"token-{SECRET}", "user": "ann"}
        if path == "/echo":
            auth = headers.get("authorization")
            return 200, {"body": json.loads(body or "null"), "auth": auth, "n": len(self.seen)}
        if path == "/text":
            return 200, "plain ☃ text"
        return 404, {"missing": path}  # fmt: skip


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with serving() as state:
        yield state


@contextmanager
def serving() -> Iterator[Service]:
    """The service on a port of its own, while the block lasts."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            status, content = state.answer(self.command, self.path, self.headers, body)
            if self.path == "/redirect":
                self.send_response(302)
                self.send_header("location", "/patients?page=2")
                self.end_headers()
                return
            kind = "text/plain; charset=utf-8" if isinstance(content, str) else "application/json"
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("set-cookie", f"session={SECRET}")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


# --- twenty workflows -----------------------------------------------------------------------------


def step(id: str, source: str, next: Any = None, adaptor: str = HTTP, **fields: Any) -> Any:
    extra = {"next": next} if next else {}
    return {"id": id, "adaptor": adaptor, "expression": source, **extra, **fields}


def http(id: str, source: str, next: Any = None) -> Any:
    return step(id, source, next, configuration="service")


PAGING = """
fn(state => ({ ...state, page: 1, all: [] }));
fn(async state => {
  while (state.page) {
    const got = await get(`/patients?page=${state.page}`)(state);
    state.all.push(...got.data.items);
    state.page = got.data.next;
  }
  return state;
});
"""
RETRYING = """
fn(async state => {
  for (let attempt = 1; ; attempt++) {
    try {
      const got = await get('/flaky')(state);
      return { ...got, attempt, at: Date.now() };
    } catch (error) {
      if (attempt === 5) throw error;
      await new Promise(done => setTimeout(done, 20 * attempt));
    }
  }
});
"""
TOGETHER = """
fn(async state => {
  const all = await Promise.all([1, 2, 3].map(page => get(`/patients?page=${page}`)(state)));
  return { ...state, pages: all.map(one => one.data.page), order: Date.now() };
});
"""
CHAIN = {"b": "on_job_success", "c": "on_job_failure"}
KEEP = "fn(s => ({ ...s, kept: true }));"

WORKFLOWS: dict[str, list[Any]] = {
    "get": [http("a", "get('/patients');")],
    "paging": [http("a", PAGING, {"b": "state.all.length === 6"}), step("b", KEEP, adaptor=COMMON)],
    "retries of a request": [http("a", RETRYING)],
    "requests at once": [http("a", TOGETHER)],
    "a failure that is handled": [http("a", "get('/missing');", CHAIN), step("b", KEEP), step("c", KEEP)],
    "a failure that is not": [http("a", "get('/missing');", {"b": True}), step("b", "fn(() => { throw new TypeError('no'); });")],
    "post": [http("a", "fn(s => ({ ...s, x: Math.random() })); post('/echo', s => ({ x: s.x }));")],
    "each": [http("a", "fn(s => ({ ...s, items: [1, 2, 3] })); each('$.items[*]', post('/echo', s => ({ n: s.data })));")],
    "a redirect": [http("a", "get('/redirect');")],
    "text": [http("a", "get('/text', { parseAs: 'text' });")],
    "time": [step("a", "fn(s => ({ at: new Date().toISOString(), n: Date.now() }));", {"b": True}), step("b", "fn(s => ({ ...s, later: Date.now() > s.n - 1 }));")],
    "chance": [step("a", "fn(s => ({ data: Array.from({ length: 5 }, () => Math.random()) }));", {"b": "state.data[0] > 0.5", "c": "state.data[0] <= 0.5"}), step("b", KEEP), step("c", KEEP)],
    "timers": [step("a", "fn(async s => { const d = []; for (const ms of [5, 1, 3]) await new Promise(r => setTimeout(() => { d.push(ms); r(); }, ms)); return { d, t: Date.now() }; });")],
    "a crash": [http("a", "get('/patients');", {"b": True}), step("b", "fn(s => undeclared.x);", {"c": True}), step("c", KEEP)],
    "a kill": [http("a", "get('/patients');", {"b": True}), step("b", "fn(s => eval('1'));")],
    "a timeout": [http("a", "get('/patients');", {"b": True}), step("b", "fn(() => new Promise(() => {}));")],
    "a condition that throws": [http("a", "get('/patients');", {"b": "state.none.x"}), step("b", KEEP)],
    "a join": [http("a", "get('/patients');", {"b": True, "c": True}), step("b", KEEP, {"d": True}), step("c", KEEP, {"d": True}), http("d", "post('/echo', s => ({ kept: s.kept }));")],
    "a login": [http("a", "post('/login', { user: 'ann' });", {"b": True}), http("b", "post('/echo', s => s.data, { headers: { Authorization: s => `Bearer ${s.data.access_token}` } });")],
    "logs": [http("a", "get('/patients'); fn(s => { console.log('got', s.data.items.length, new Date()); return s; });")],
}  # fmt: skip
RECORDED_BY_COMMAND = ("paging", "a timeout", "a login")


@pytest.fixture(scope="session")
def recordings(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every workflow, recorded against the service: some by the command, the rest in this process.

    A command costs a second of computing time, and what it adds is the same for all workflows.
    """
    install(HTTP, COMMON)
    folder = tmp_path_factory.mktemp("recordings")
    credentials = {"service": {"baseUrl": service.url, "username": "ann", "password": SECRET}}
    (folder / "credentials.json").write_text(json.dumps(credentials))
    # The command reads the adaptors that are installed; so do the runs of this process.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKER_CACHE", str(KEPT))
        for name, steps in WORKFLOWS.items():
            file, target = folder / f"{name}.yaml", folder / "runs" / name
            file.write_text(yaml.safe_dump({"steps": steps}, sort_keys=False))
            timeout_s = 2.0 if name == "a timeout" else 30.0
            if name in RECORDED_BY_COMMAND:
                record_by_command(file, target, folder / "credentials.json", timeout_s)
            else:
                record(file, target, credentials, timeout_s)
    return {name: folder / "runs" / name for name in WORKFLOWS}


def record_by_command(file: Path, target: Path, credentials: Path, timeout_s: float) -> None:
    done = start_worker(
        "run", file, "--credentials", credentials, "--record", target, "--timeout", str(timeout_s)
    )
    assert done.returncode in (0, 4), done.stderr
    assert SECRET not in done.stdout + done.stderr


def record(file: Path, target: Path, credentials: dict[str, Any], timeout_s: float) -> None:
    shared = background()

    async def run() -> None:
        options = Options(limits=Limits(timeout_s=timeout_s), credentials=credentials)
        workflow = load(file)
        sender = LazyHost(Reach(everywhere=hosts_in_credentials(credentials.values())))
        prepared = PreparedRecording(workflow, options)
        recorder = Recorder(target, prepared, {}, sender)
        try:
            await shared.pool.run(
                workflow, {}, prepared.options, sinks=[recorder], host=recorder.host,
                run_id=recorder.run_id,
            )  # fmt: skip
        finally:
            await sender.close()
            recorder.close()

    asyncio.run_coroutine_threadsafe(run(), shared.loop).result()


def facts(result: Any) -> list[str]:
    """All that was reported, to the byte, less what memory it took and which versions ran it."""
    lines = []
    for event in result.events:
        fields = json.loads(to_json(event))
        lines.append(json.dumps({k: v for k, v in fields.items() if k not in ("mem", "versions")}))
    return lines


def replayed(folder: Path, workflow: Any = None, **part: str) -> Replay:
    (found,) = replays(read_recording(folder), 1, workflow, **part)
    return found


def replays(recording: Recording, count: int, workflow: Any = None, **part: str) -> list[Replay]:
    """Replays of a recording, several at once, in processes that stay warm."""
    kept = background()

    async def all_at_once() -> list[Replay]:
        again = (replay(kept.pool, recording, workflow, ReplayPart(**part)) for _ in range(count))
        return await asyncio.gather(*again)

    return asyncio.run_coroutine_threadsafe(all_at_once(), kept.loop).result(timeout=50)


# --- replay ---------------------------------------------------------------------------------------


def test_there_are_twenty_and_they_end_in_many_ways(recordings: dict[str, Path]) -> None:
    statuses = [read_recording(folder).events[-1].status.value for folder in recordings.values()]  # type: ignore[union-attr]
    assert len(statuses) == 20
    assert {one: statuses.count(one) > 0 for one in ("success", "failed", "crashed", "killed")} == {
        "success": True, "failed": True, "crashed": True, "killed": True
    }  # fmt: skip
    assert sum(len(read_recording(folder).exchanges) for folder in recordings.values()) >= 25


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if number % 4 else ())
        for number, name in enumerate(WORKFLOWS)
    ],
)
def test_a_replay_is_the_same_to_the_byte_ten_times(
    name: str, recordings: dict[str, Path], service: Service
) -> None:
    before = len(service.seen)
    recorded = read_recording(recordings[name])
    runs = replays(recorded, 10)
    assert [run.divergence for run in runs] == [None] * 10
    assert len({tuple(facts(run.result)) for run in runs}) == 1
    outputs = [e.output_dataclip for e in recorded.events if isinstance(e, StepComplete)]
    found = [e.output_dataclip for e in runs[0].result.events if isinstance(e, StepComplete)]
    assert [one and one.text for one in found] == [one and one.text for one in outputs]
    assert len(service.seen) == before


@pytest.mark.slow
def test_replays_are_the_same_across_processes_and_hash_seeds(recordings: dict[str, Path]) -> None:
    runs = str(next(iter(recordings.values())).parent)
    outputs = set()
    for seed in ("0", "1", "4711"):
        done = start_worker("replay", runs, "--json", PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.add(done.stdout)
    assert len(outputs) == 1


# --- secrets --------------------------------------------------------------------------------------


def test_no_credential_value_reaches_a_recording(recordings: dict[str, Path]) -> None:
    import base64

    basic = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    for file in recordings.values():
        text = file.read_text()
        assert SECRET not in text and basic not in text, file


def test_a_run_is_replayed_with_the_server_down(tmp_path: Path) -> None:
    file, folder = tmp_path / "w.yaml", tmp_path / "run"
    with serving() as service:
        file.write_text(yaml.safe_dump({"steps": [step("a", f"get('{service.url}/patients');")]}))
        place = service.url.removeprefix("http://")
        assert call_worker("run", file, "--allow-host", place, "--record", folder).returncode == 0
    assert call_worker("run", file, "--allow-host", place).returncode == 1
    done = call_worker("replay", folder)
    assert done.returncode == 0 and "success, as recorded" in done.stdout


def test_patterns_are_scrubbed(tmp_path: Path, service: Service) -> None:
    file = tmp_path / "w.yaml"
    source = "fn(s => { console.log('call 0700-123456'); return { ...s, phone: '0700-123456' }; }); post('/echo', s => ({ phone: s.phone }));"
    file.write_text(yaml.safe_dump({"steps": [http("a", source)]}))
    (tmp_path / "c.json").write_text(json.dumps({"service": {"baseUrl": service.url}}))
    folder = tmp_path / "run"
    line = ("--credentials", tmp_path / "c.json", "--record", folder, "--scrub", r"\d{4}-\d{6}")
    done = call_worker("run", file, *line)
    assert done.returncode == 0, done.stdout
    header, plan, *rest = folder.read_text().splitlines()
    # The job itself is recorded as it is, or it could not be replayed.
    assert "0700-123456" in plan
    assert "***" in "".join(rest) and "0700-123456" not in "".join([header, *rest])


# --- edits ----------------------------------------------------------------------------------------


def edited(recordings: dict[str, Path], name: str, before: str, after: str) -> Any:
    text = json.dumps(read_recording(recordings[name]).plan)
    assert before in text
    return load(json.loads(text.replace(before, after)))


@pytest.mark.parametrize(
    ("name", "before", "after", "kind", "at", "told"),
    [
        ("paging", "state.all.length === 6", "state.all.length === 7", "edge", "a", "expected to lead to 'b', found no step"),
        ("post", "{ x: s.x }", "{ y: s.x }", "request", "a", "body.x: expected"),
        ("get", "get('/patients');", "get('/patients?page=2');", "request", "a", "url: expected"),
        ("paging", "kept: true", "kept: true, more: 1", "state", "b", "output.more: expected nothing, found 1"),
        ("a failure that is handled", '"on_job_failure"', '"on_job_success"', "edge", "a", "found no step"),
        ("a crash", "undeclared.x", "s", "outcome", "b", "expected crash (ReferenceError"),
        ("logs", "'got'", "'have'", "log", "a", "expected the line"),
        ("a join", "kept: s.kept", "kept: 1", "request", "d", "body.kept: expected True, found 1"),
    ],
)  # fmt: skip
def test_an_edit_is_the_first_divergence(
    recordings: dict[str, Path], name: str, before: str, after: str, kind: str, at: str, told: str
) -> None:
    found = (replayed(recordings[name], edited(recordings, name, before, after))).divergence
    assert found is not None and (found.kind, found.step) == (kind, at), found
    assert told.lower() in found.message.lower(), found.message


def test_a_removed_step_is_noticed(recordings: dict[str, Path]) -> None:
    plan = json.loads(json.dumps(read_recording(recordings["paging"]).plan))
    plan["workflow"]["steps"] = plan["workflow"]["steps"][:1]
    del plan["workflow"]["steps"][0]["next"]
    found = (replayed(recordings["paging"], load(plan))).divergence
    assert found is not None and found.kind == "edge" and "found no step" in found.message


def test_a_workflow_that_cannot_begin_any_more_is_told_with_its_error(
    recordings: dict[str, Path],
) -> None:
    plan = json.loads(json.dumps(read_recording(recordings["paging"]).plan))
    plan["workflow"]["steps"] = plan["workflow"]["steps"][:1]
    found = (replayed(recordings["paging"], load(plan))).divergence
    assert found is not None and found.kind == "path"
    assert "does not run any more: the run is crashed (ValidationError: an edge" in found.message


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("paging", "state.all.length === 6", "state.all.length > 5"),
        ("post", "post('/echo', s => ({ x: s.x }))", "post('/echo', state => ({ x: state.x }))"),
        ("get", "get('/patients');", "// the first page\\nget('/patients');"),
        ("a failure that is handled", '"name": ""', '"name": "fetch"'),
    ],
)
def test_an_edit_that_changes_nothing_is_not(
    recordings: dict[str, Path], name: str, before: str, after: str
) -> None:
    text = json.dumps(read_recording(recordings[name]).plan)
    after = after if before in text else ""
    changed = edited(recordings, name, before, after) if before in text else None
    assert (replayed(recordings[name], changed)).divergence is None


# --- parts, damage, cases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"start": "d"}, ["d"]),
        ({"start": "b"}, ["b", "d"]),
        ({"end": "b"}, ["a", "b"]),
        ({"start": "c", "end": "c"}, ["c"]),
    ],
)
def test_a_part_of_a_recording_runs_with_its_recorded_input(
    recordings: dict[str, Path], part: dict[str, str], path: list[str]
) -> None:
    found = replayed(recordings["a join"], **part)
    assert [entry.step for entry in found.result.path] == path


def copied(recordings: dict[str, Path], name: str, target: Path) -> Path:
    target.parent.mkdir(exist_ok=True)
    return Path(shutil.copyfile(recordings[name], target))


def test_a_truncated_recording_is_reported_and_used(
    recordings: dict[str, Path], tmp_path: Path
) -> None:
    file = copied(recordings, "a join", tmp_path / "run")
    file.write_bytes(file.read_bytes()[:-700])
    done = call_worker("replay", file)
    assert done.returncode == 1 and "is cut off: the file ends within it" in done.stdout
    assert "as recorded" in done.stdout


def test_a_changed_dataclip_is_reported(recordings: dict[str, Path], tmp_path: Path) -> None:
    file = copied(recordings, "paging", tmp_path / "run")
    lines = file.read_text().splitlines(keepends=True)
    places = [n for n, line in enumerate(lines) if line.startswith('{"type":"dataclip"')]
    place = max(places, key=lambda n: len(lines[n]))
    head, content = lines[place].split('"content":')
    lines[place] = f'{head}"content":{content.replace("1", "2")}'
    file.write_text("".join(lines))
    done = call_worker("replay", file)
    assert done.returncode == 1 and "was changed" in done.stdout


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', "\x00"])
def test_what_is_no_recording_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "recording.json").write_text(content)
    done = call_worker("replay", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr


def test_a_recording_becomes_a_case(recordings: dict[str, Path], tmp_path: Path) -> None:
    for name in ("paging", "retries of a request", "a failure that is handled", "a login"):
        target = tmp_path / f"{name.replace(' ', '-')}.cases.yaml"
        done = call_worker("replay", recordings[name], "--write-cases", target)
        assert done.returncode == 0, done.stderr
    done = call_worker("test", tmp_path)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


def test_thousands_would_be_summed_up_by_kind(recordings: dict[str, Path], tmp_path: Path) -> None:
    workflow = tmp_path / "new.json"
    text = json.dumps(read_recording(recordings["get"]).plan)
    workflow.write_text(text.replace("'/patients'", "'/people'"))
    files = [copied(recordings, "get", tmp_path / f"run{n}") for n in range(3)]
    done = call_worker("replay", *files, "--workflow-file", workflow)
    assert done.returncode == 1 and "3 recordings: 0 the same" in done.stdout
    assert "3  make another request" in done.stdout


def test_a_step_without_its_adaptor_does_what_was_recorded(
    recordings: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path))
    found = replayed(recordings["a join"])
    assert found.divergence is None and set(found.scripted) == {"a", "b", "c", "d"}


# --- live -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        ((), "--allow-host 127.0.0.1"),
        (("*",), "has the private address 127.0.0.1"),
        (("example.org",), "no credential of the step names that host"),
    ],
)
def test_requests_go_nowhere_else(
    tmp_path: Path, service: Service, allow: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump({"steps": [step("a", f"get('{service.url}/patients');")]}))
    options = [word for host in allow for word in ("--allow-host", host)]
    before = len(service.seen)
    done = call_worker("run", file, *options)
    assert done.returncode == 1 and told in done.stdout, done.stdout
    assert len(service.seen) == before


def test_an_allowed_host_is_reached(tmp_path: Path, service: Service) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump({"steps": [step("a", f"get('{service.url}/patients');")]}))
    done = call_worker("run", file, "--allow-host", service.url.removeprefix("http://"))
    assert done.returncode == 0, done.stdout


def test_a_redirect_to_another_host_is_refused(tmp_path: Path, service: Service) -> None:
    assert [one.host for one in hosts_in_credentials([{"baseUrl": "https://a.org/x", "host": "b.org"}])] == ["a.org", "b.org"]  # fmt: skip
    assert parse_host_pattern("*.example.org").fits("api.example.org", 443)
    assert not parse_host_pattern("*.example.org").fits("example.org.evil.net", 443)
    assert not parse_host_pattern("example.org:8443").fits("example.org", 443)


def test_a_service_that_is_not_there_is_a_failure_of_the_job(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(yaml.safe_dump({"steps": [step("a", "get('http://127.0.0.1:1/x');")]}))
    done = call_worker("run", file, "--allow-host", "127.0.0.1:1")
    assert done.returncode == 1 and "ECONNREFUSED" in done.stdout


# --- stubs ----------------------------------------------------------------------------------------


def test_a_case_stubs_what_services_answer(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump({"steps": [http("a", "post('/x', s => s.data);", {"b": "on_job_success", "c": "on_job_failure"}), step("b", KEEP), step("c", KEEP)]})
    )  # fmt: skip
    shared = {"credentials": {"service": {"baseUrl": "https://registry.test"}}}
    rule = {"request": {"method": "post", "url": "https://registry.test/*", "body": {"id": 1}}}
    cases: list[dict[str, Any]] = [
        {"http": [{**rule, "reply": {"json": {"done": 1}}}], "input": {"data": {"id": 1}}, "expect": {"path": ["a", "b"], "state": {"data": {"done": 1}}}},
        {"http": [{**rule, "reply": {"json": {}}}], "input": {"data": {"id": 2}}, "expect": {"path": ["a", "c"], "state": {"errors": {"a": {}}}}},
        {"http": [{"reply": {"status": 503}}], "expect": {"path": ["a", "c"]}},
        {"http": [{"reply": {"error": {"code": "ECONNRESET"}}}], "expect": {"path": ["a", "c"]}},
        {"http": [{"reply": {"json": {}}, "delay": 400}], "timeout": 300, "expect": {"error_type": "TimeoutError"}},
        {"http": [{"replies": [{"status": 500}, {"json": {"n": 2}}]}], "retry": {"times": 1}, "steps": {"c": {"fails": "JobError"}}, "expect": {"status": "success", "state": {"data": {"n": 2}}}},
    ]  # fmt: skip
    named_cases = [{"name": str(n), **case} for n, case in enumerate(cases)]
    text = yaml.safe_dump({"workflow": "w.yaml", "defaults": shared, "cases": named_cases})
    (tmp_path / "w.cases.yaml").write_text(text)
    done = call_worker("test", tmp_path)
    assert done.returncode == 0 and "6 passed" in done.stdout, done.stdout
