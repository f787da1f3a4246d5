"""The recorder of a run: what all recordings of a workflow share, and what happens on the way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.core.events import RunLog, RunStart
from worker.errors import MachineError
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.recording_writer import RecordingWriter
from worker.runner.prepare import Options
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits
from worker.sandbox.parent.host import HostCall
from worker.workflow.load import load

COMMON = "@openfn/language-common"
PLAN: dict[str, Any] = {
    "workflow": {
        "name": "w",
        "credentials": {"url": "https://x.test", "token": "shared-t0k3n"},
        "steps": [
            {
                "id": "a",
                "adaptors": [COMMON],
                "expression": "fn(s => s);",
                "configuration": {"username": "ann", "password": "inl1ne-pass"},
                "state": {"data": 1, "configuration": {"password": "st4te-pass"}},
                "next": {"b": True},
            },
            {"id": "b", "expression": "fn(s => s);", "configuration": "named"},
        ],
    }
}
CREDENTIALS = {"named": {"username": "bob", "password": "n4med-pass"}}


def prepared(**options: Any) -> PreparedRecording:
    return PreparedRecording(load(PLAN), Options(credentials=CREDENTIALS, **options), ["0700"])


def test_the_workflow_and_its_credentials_are_recorded_without_secrets() -> None:
    recording = prepared()
    assert recording.header.credentials == {"named": {"username": "bob", "password": "***"}}
    assert recording.header.workflow == "w"
    plan = json.loads(recording.workflow)["plan"]["workflow"]
    assert plan["credentials"] == {"url": "https://x.test", "token": "***"}
    first, second = plan["steps"]
    assert first["configuration"] == {"username": "ann", "password": "***"}
    assert first["state"] == {"data": 1, "configuration": {"password": "***"}}
    assert second["configuration"] == "named"


@pytest.mark.parametrize(
    "secret", ["shared-t0k3n", "inl1ne-pass", "st4te-pass", "n4med-pass", "0700"]
)
def test_all_secrets_and_patterns_are_masked_in_texts(secret: str) -> None:
    assert prepared().scrubber.text(f"<{secret}>") == "<***>"


@pytest.mark.parametrize(
    ("options", "start", "end"),
    [({}, "", ""), ({"start": "a", "end": "b"}, "a", "b"), ({"only": "b"}, "b", "b")],
)
def test_the_options_of_the_run_are_in_the_header(
    options: dict[str, Any], start: str, end: str
) -> None:
    recording = prepared(limits=Limits(timeout_s=7), **options)
    assert recording.options.clock is ClockKind.RECORDED
    header = recording.header
    assert (header.start, header.end, header.limits.timeout_s) == (start, end, 7)
    assert (header.collections, header.origin) == ("", "worker")


def test_patterns_are_regular_expressions_and_secrets_are_none() -> None:
    workflow = load(
        {"workflow": {"name": "w", "steps": [{"id": "a", "expression": "fn(s => s);"}]}}
    )
    options = Options(credentials={"x": {"password": "a.c-d+e"}})
    scrubber = PreparedRecording(workflow, options, [r"\d{4}"]).scrubber
    assert scrubber.text("1234 abc-dde") == "*** abc-dde"


# --- runs -----------------------------------------------------------------------------------------

REQUEST = '{"method":"GET","url":"https://x.test/"}'
CALL = HostCall(number=1, kind="http", text=REQUEST, step="a", execution=0, now_us=0)


class Login:
    """A service whose reply brings a token."""

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        return HttpReply(status=200, body=b'{"access_token":"l0gin-t0k3n"}')


def log(seq: int, message: str) -> RunLog:
    return RunLog(
        run_id="r", seq=seq, timestamp=1, source="JOB", level="info", message=json.dumps([message])
    )


def recorder(path: Path, input: Any = None) -> Recorder:
    return Recorder(path, prepared(), input or {}, Login(), "r")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_token_of_a_reply_is_masked_in_what_follows(tmp_path: Path) -> None:
    made = recorder(tmp_path / "run", {"configuration": {"password": "inp-ut-pass"}})
    made.receive(log(0, "l0gin-t0k3n inp-ut-pass"))
    await made.host.handle(CALL)
    made.receive(log(1, "l0gin-t0k3n inp-ut-pass"))
    made.close()
    assert made.file == tmp_path / "run" and made.run_id == "r"
    header, _, dataclip, *rest = lines(made.file)
    assert header["run_id"] == "r"
    assert dataclip["content"]["configuration"] == {"password": "***"}
    assert [line["type"] for line in rest] == ["run:log", "exchange", "run:log"]
    assert json.loads(rest[0]["message"]) == ["l0gin-t0k3n ***"]
    assert json.loads(rest[2]["message"]) == ["*** ***"]
    assert "l0gin-t0k3n" not in json.dumps(rest[1])


async def test_a_request_is_in_the_file_when_the_next_thing_happens(tmp_path: Path) -> None:
    made = recorder(tmp_path / "run")
    await made.host.handle(CALL)
    await asyncio.sleep(0)
    assert [line["type"] for line in lines(made.file)][3:] == ["exchange"]
    made.close()


async def test_a_run_without_an_id_gets_one(tmp_path: Path) -> None:
    first, second = (Recorder(tmp_path, prepared(), {}, Login()) for _ in range(2))
    assert first.run_id != second.run_id and first.file != second.file
    first.close()
    second.close()


async def test_events_that_arrive_together_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = list[int]()
    flush = RecordingWriter.flush

    def counted(writer: RecordingWriter) -> None:
        flush(writer)
        flushed.append(len(lines(writer.file)))

    made = recorder(tmp_path / "run")
    monkeypatch.setattr(RecordingWriter, "flush", counted)
    for count in (1, 3):
        for _ in range(2):
            made.receive(RunStart(run_id="r", seq=0, timestamp=1, workflow="w", versions={}))
        await asyncio.sleep(0)
        assert flushed == [5, 7][: (count + 1) // 2]
    made.close()
    assert flushed == [5, 7, 7]


async def test_after_a_failure_nothing_more_is_written_and_the_end_raises_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorder(tmp_path / "run")
    size = (tmp_path / "run").stat().st_size
    failing = FailingStream(made._writer._stream)
    monkeypatch.setattr(made._writer, "_stream", failing)
    made.receive(log(0, "a"))
    await asyncio.sleep(0)
    failing.is_full = False
    made.receive(log(1, "b"))
    await made.host.handle(CALL)
    await asyncio.sleep(0)
    with pytest.raises(MachineError, match="No space left"):
        made.close()
    assert (tmp_path / "run").stat().st_size == size


class FailingStream:
    """A file on a disk that is full."""

    is_full = True

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return int(self._stream.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
