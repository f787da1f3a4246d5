"""Targets that are files: workflows, cases, credentials, policies, journals and recordings."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import worker
from tools.fuzz.changes import Parts
from tools.fuzz.fuzzer import Fault
from tools.fuzz.inputs import from_data, to_json, to_yaml
from worker.adaptors import lock
from worker.adaptors.http.allowlist import hosts_in_credentials
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.cli.files import read_credentials
from worker.core.events import decode_event
from worker.core.events import to_json as event_json
from worker.errors import PlanError
from worker.fleet.control.policy import read_policy
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.recording import is_recording, read_recording
from worker.runner.prepare import Options, limits_for, prepare
from worker.sandbox.limits import Limits
from worker.sandbox.parent.host import HostCall
from worker.sinks.journal import JournalError, read_journal, recover_journal
from worker.testing.case_reader import load_cases
from worker.util.json import dumps
from worker.util.masking import Mask, collect_secrets
from worker.view.graph.drawing import draw
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import single_run_report
from worker.view.report.page import render_page
from worker.view.report.report_source import read_source
from worker.workflow.documents.document import parse_yaml
from worker.workflow.load import load_all
from worker.workflow.save import to_execution_plan

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT / "graphs"
MAX_TIMEOUT_S = 30 * 86_400
MAX_MEMORY_MB = 1 << 20
EXPRESSION = "fn(state => ({ ...state, n: 1 }))"


class FileTarget(ABC):
    """A file that is read from a folder of its own."""

    name = ""
    large = False
    file_name = "input.yaml"

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.file = self.folder / self.file_name

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @abstractmethod
    def seeds(self) -> Sequence[Parts]: ...

    @abstractmethod
    def read(self) -> None:
        """Read the file."""

    def encode(self, parts: Parts) -> bytes:
        return _utf8("\n".join(map(to_yaml, parts)))

    def execute(self, data: bytes) -> None:
        self.file.write_bytes(data)
        self.read()


class JsonFile(FileTarget):
    """A file of one JSON value, or of one a line."""

    large = True
    file_name = "input.json"

    def encode(self, parts: Parts) -> bytes:
        return _utf8("\n".join(map(to_json, parts)) + "\n")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# --- workflows ------------------------------------------------------------------------------------


class YamlWorkflow(FileTarget):
    """A workflow in YAML, in any of the formats: read, compiled, its limits resolved, and saved."""

    name = "workflow"

    def __init__(self) -> None:
        super().__init__()
        for folder in (path for path in GRAPHS.iterdir() if path.is_dir()):
            shutil.copytree(folder, self.folder / folder.name)

    def seeds(self) -> Sequence[Parts]:
        return [(from_data(data),) for data in _workflows()]

    def read(self) -> None:
        for workflow in load_all(self.file, located=True):
            limits = limits_for(workflow, Options())
            check_limits(limits)
            dumps(to_execution_plan(workflow))
            try:
                prepare(workflow, {}, Options(limits=limits), "fuzz")
            except PlanError as error:
                if not str(error):
                    raise Fault("an error of a plan without a message") from error


class JsonWorkflow(JsonFile, YamlWorkflow):
    """The same in JSON."""

    name = "workflow-json"


def check_limits(limits: Limits) -> None:
    """Raise :class:`Fault` for limits that no operating system takes."""
    sizes = limits.memory_bytes, limits.state_bytes, limits.payload_bytes, limits.log_total_bytes
    if not (0 < limits.timeout_s <= MAX_TIMEOUT_S and limits.memory_mb <= MAX_MEMORY_MB):
        raise Fault("a limit out of range is accepted")
    if not all(0 < size < 2**50 for size in sizes):
        raise Fault("a size out of range is accepted")


def _workflows() -> Iterator[Mapping[str, Any]]:
    for file in sorted((*GRAPHS.glob("*.yaml"), *GRAPHS.glob("*.json"))):
        if not {"cases", "input"} & set(file.name.split(".")):
            yield parse_yaml(file.read_text("utf-8"), str(file))[0]
    options = {
        "run_timeout_ms": 1000, "run_memory_limit_mb": 100, "payload_limit_mb": 1,
        "timeout": 1000, "start": "a", "end": "b",
    }  # fmt: skip
    steps = [
        {"id": "a", "name": "First", "adaptor": "common", "expression": EXPRESSION,
         "configuration": {"baseUrl": "https://a.test"}, "state": {"data": {}},
         "next": {"b": {"condition": "!state.errors", "label": "l"}, "c": True}},
        {"id": "b", "expression": "def run(state):\n    return state", "adaptors": ["python"]},
        {"id": "c", "expression": EXPRESSION, "next": "b", "previous": "a"},
    ]  # fmt: skip
    yield {"options": options, "workflow": {"name": "plan", "id": "p", "steps": steps,
           "credentials": {"apiKey": "k"}}}  # fmt: skip
    yield {"steps": steps[:1]}
    yield {"start": "a", "jobs": [{"id": "a", "expression": EXPRESSION, "next": {}}]}
    yield {
        "id": "r", "dataclip_id": "d", "starting_node_id": "t",
        "triggers": [{"id": "t", "type": "webhook"}],
        "jobs": [{"id": "a", "name": "A", "body": EXPRESSION, "adaptor": "common@latest"}],
        "edges": [{"id": "e", "source_trigger_id": "t", "target_job_id": "a", "condition": "always",
                   "enabled": True}],
        "options": options,
    }  # fmt: skip


# --- other files ----------------------------------------------------------------------------------


class Cases(FileTarget):
    """Case files."""

    name = "cases"

    def __init__(self) -> None:
        super().__init__()
        shutil.copytree(GRAPHS, self.folder, dirs_exist_ok=True)

    def seeds(self) -> Sequence[Parts]:
        files = sorted(GRAPHS.glob("*.cases.yaml"))
        return [(from_data(parse_yaml(file.read_text("utf-8"), "seed")[0]),) for file in files]

    def read(self) -> None:
        load_cases(self.file, lambda line: None)


class Credentials(FileTarget):
    """Credential files: their hosts, their secrets, and a mask of them."""

    name = "credentials"

    def seeds(self) -> Sequence[Parts]:
        password = {"username": "ann", "password": "hunter2!", "baseUrl": "https://h.test:8443/x"}
        key = "-----BEGIN KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0\n" * 3 + "-----END KEY-----"
        deep = {"a": {"b": ["token-of-a-service", 1234567, True, None]}, "hostname": "*.h.test"}
        url = {"url": "postgres://u:pw-of-u@h.test:5432/d?token=abcdefgh", "pin": 123456.5}
        files = {"prod": password}, {"key": {"privateKey": key}, "deep": deep}, {"db": url}
        return [(from_data(file),) for file in files]

    def read(self) -> None:
        credentials = read_credentials(self.file)
        hosts_in_credentials(credentials.values())
        mask = Mask(collect_secrets(credentials.values()))
        mask.text("hello hunter2! of ann")
        mask.json('{"data":{"a":["hunter2!",1234567,"x"]}}')


class Policies(FileTarget):
    """Policy files of a control plane."""

    name = "policy"

    def seeds(self) -> Sequence[Parts]:
        limits = {"concurrent": 3, "per_period": 10, "period_s": 60.5, "workflows": {"flow": 1}}
        return [(from_data({"default": limits, "projects": {"default": limits, "p": {}}}),)]

    def read(self) -> None:
        read_policy(self.file).concurrency("p", "flow")


class AdaptorLock(JsonFile):
    """The lock file of adaptors, which stands beside a workflow."""

    name = "lock"
    file_name = lock.NAME

    def seeds(self) -> Sequence[Parts]:
        entry = {"version": "3.3.4", "integrity": "sha512-abc"}
        return [(from_data({"version": 1, "adaptors": {"@openfn/language-common": entry}}),)]

    def read(self) -> None:
        lock.read(self.folder)


class Journals(JsonFile):
    """Journals: both readers, and the report."""

    name = "journal"
    file_name = "input.jsonl"

    def seeds(self) -> Sequence[Parts]:
        return [
            tuple(from_data(_loads(event_json(event))) for event in worker.run(flow, data).events)
            for flow, data in _runs()
        ]

    def read(self) -> None:
        for event in recover_journal(self.file).events:
            # A newer version's event may lack what this version's needs.
            event_json(event)
        _report(self.file)
        try:
            events = list(read_journal(self.file))
        except JournalError:
            return
        if [decode_event(event_json(event)) for event in events] != events:
            raise Fault("a journal that is read and written is another one")


class Recordings(JsonFile):
    """Recordings: the reader, and the report."""

    name = "recording"
    file_name = "input.jsonl"

    def seeds(self) -> Sequence[Parts]:
        texts = [asyncio.run(_recorded(flow, data, self.folder)) for flow, data in _runs()]
        return [tuple(from_data(_loads(line)) for line in text.splitlines()) for text in texts]

    def read(self) -> None:
        if is_recording(self.file):
            recording = read_recording(self.file)
            check_limits(recording.header.limits)
            _report(self.file)


async def _recorded(flow: worker.Workflow, data: dict[str, Any], folder: Path) -> str:
    """Return the recording of a run that has sent a request."""
    result = await worker.run_async(flow, data)
    recorder = Recorder(folder / "seed", PreparedRecording(flow, Options()), data, _Service())
    text = json.dumps({"method": "POST", "url": "https://a.test/?q=1", "body": "e30="})
    await recorder.host.handle(
        HostCall(number=1, kind="http", text=text, step="a", execution=0, now_us=7)
    )
    for event in result.events:
        recorder.receive(replace(event, run_id=recorder.run_id))
    await asyncio.sleep(0)
    recorder.close()
    content = recorder.file.read_text("utf-8")
    recorder.file.unlink()
    return content


class _Service:
    """Service that replies at once."""

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        return HttpReply(status=200, body=b'{"id": 7}', headers=(("content-type", "text/json"),))


def _report(file: Path) -> None:
    source = read_source(file)
    view, marks = build_run_view(source)
    # Layout takes time that grows with the graph, and has tests of its own.
    if len(source.workflow.steps) < 20:
        render_page(single_run_report(view), [draw(source.workflow, marks)])


def _loads(line: str) -> Any:
    return parse_yaml(line, "seed")[0]


def _runs() -> Iterator[tuple[worker.Workflow, dict[str, Any]]]:
    for name in ("referral", "triage", "join"):
        file = next(GRAPHS.glob(f"{name}.[yj]*"))
        text = (GRAPHS / f"{name}.input.json").read_text("utf-8")
        yield worker.load(file), parse_yaml(text, name)[0]
