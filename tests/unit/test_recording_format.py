"""The file of a recording: what is written is read, whatever is cut off, added or changed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.command import call_worker
from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest
from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
    to_json,
)
from worker.errors import LoadError, MachineError, UsageError
from worker.replay.importers import import_recording
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.recording import Recording, is_recording, read_content, read_recording
from worker.replay.recording_lines import FORMAT, RecordingHeader, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.runner.prepare import Options
from worker.sandbox.parent.host import HostCall
from worker.util.json import dumps
from worker.view.report.build_run_view import build_run_view
from worker.view.report.report_source import read_source
from worker.workflow.load import load

OLD = Path(__file__).parents[1] / "data" / "recordings-format-1"
PLAN = {
    "workflow": {
        "name": "w",
        "steps": [{"id": "a", "adaptors": ["common"], "expression": "fn(s => s);"}],
    }
}
HEADER = RecordingHeader(run_id="run-1", workflow="w")


def unmasked(text: str) -> str:
    return text


def write(
    path: Path, *items: AnyEvent | Exchange, header: RecordingHeader = HEADER, input: Any = None
) -> Path:
    writer = RecordingWriter(path, header, workflow_line(PLAN), dumps(input or {}), unmasked)
    for item in items:
        if isinstance(item, Exchange):
            writer.exchange(item)
        else:
            writer.receive(item)
    writer.close()
    return writer.file


# --- runs -----------------------------------------------------------------------------------------

# Halves of surrogate pairs too, which JavaScript's strings hold.
TEXT = st.text(st.characters(blacklist_categories=[]), max_size=20)
STATE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
CLIP = st.builds(Dataclip.of, STATE)
PAIRS = st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=2).map(tuple)
REQUEST = st.builds(HttpRequest, method=st.sampled_from(["GET", "POST"]), url=TEXT, headers=PAIRS, body=st.binary(max_size=20), redirects=st.integers(0, 20))  # fmt: skip
REPLY = st.one_of(
    st.builds(HttpReply, status=st.integers(100, 599), reason=TEXT, url=TEXT, headers=PAIRS, body=st.binary(max_size=20)),
    st.builds(HttpReply, error=st.fixed_dictionaries({"name": TEXT, "message": TEXT})),
)  # fmt: skip
EXCHANGE = st.builds(Exchange, step=TEXT, execution=st.integers(0, 9), sent_us=st.integers(0, 2**52), arrived_us=st.integers(0, 10**16), request=REQUEST, reply=REPLY)  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> list[AnyEvent | Exchange]:
    """A run of one step, with any log lines, requests and states."""
    fields: dict[str, Any] = {"run_id": "run-1", "timestamp": 7}
    step: dict[str, Any] = {"step_id": "s-1", "job_id": "a"}
    items: list[AnyEvent | Exchange] = [
        RunStart(**fields, seq=0, workflow="w", versions={}),
        StepStart(
            **fields, **step, seq=1, job_name=draw(TEXT), input_dataclip_id="d-0", execution=0
        ),
    ]
    for message in draw(st.lists(TEXT, max_size=3)):
        items.append(
            RunLog(**fields, **step, seq=len(items), source="JOB", level="info", message=message)
        )
    clip = draw(st.none() | CLIP)
    items += [
        StepComplete(**fields, **step, seq=len(items), reason="success", output_dataclip=clip),
        RunComplete(
            **fields, seq=len(items) + 1, reason="success", final_state=draw(st.just(clip) | CLIP)
        ),
    ]
    for exchange in draw(st.lists(EXCHANGE, max_size=2)):
        items.insert(draw(st.integers(0, len(items))), exchange)
    return items


def events_of(items: Any) -> list[str]:
    return [to_json(item) for item in items if not isinstance(item, Exchange)]


@given(runs(), st.dictionaries(TEXT, STATE, max_size=3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, items: list[AnyEvent | Exchange], input: Any
) -> None:
    file = write(tmp_path_factory.mktemp("run") / "run", *items, input=input)
    recording = read_recording(file)
    assert recording.damage == () and recording.complete
    assert recording.input == input and recording.plan == PLAN
    assert events_of(recording.events) == events_of(items)
    assert list(recording.exchanges) == [item for item in items if isinstance(item, Exchange)]
    content = file.read_bytes()
    assert content.endswith(b"\n") and all(json.loads(line) for line in content.splitlines())


@given(st.builds(RecordingHeader, run_id=TEXT, workflow=TEXT, start=TEXT, end=TEXT, credentials=st.dictionaries(TEXT, st.dictionaries(TEXT, STATE, max_size=2), max_size=2), adaptors=st.dictionaries(TEXT, TEXT, max_size=2), origin=TEXT))  # fmt: skip
def test_the_header_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, header: RecordingHeader
) -> None:
    file = write(tmp_path_factory.mktemp("run") / "run", header=header)
    read = read_content(file).header
    assert read is not None
    assert read.input and {**_fields(read), "input": ""} == _fields(header)


def _fields(header: RecordingHeader) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__struct_fields__}


def test_a_state_that_no_parser_can_read_is_written_and_read(tmp_path: Path) -> None:
    deep = '{"content":' * 3000 + "1" + "}" * 3000
    step = {"run_id": "run-1", "timestamp": 7, "step_id": "s-1", "job_id": "a"}
    event = StepComplete(**step, seq=0, reason="success", output_dataclip=Dataclip(deep))  # type: ignore[arg-type]
    (read,) = read_content(write(tmp_path / "run", event)).events
    assert isinstance(read, StepComplete) and read.output_dataclip is not None
    assert read.output_dataclip.text == deep


def test_a_dataclip_is_in_the_file_once(tmp_path: Path, recording: Path) -> None:
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    ids = [line["id"] for line in lines if line["type"] == "dataclip"]
    assert len(ids) == len(set(ids)) == 5


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording of several steps, with requests."""
    return import_recording(OLD / "requests", tmp_path / "whole.jsonl").file


EXAMPLE = Exchange(
    step="a",
    execution=0,
    sent_us=7,
    arrived_us=8,
    request=HttpRequest(method="GET", url="https://x.test/"),
    reply=HttpReply(status=200, body=b'{"ok": true}'),
)


def small(path: Path) -> Path:
    """A recording of one step, with all types of lines."""
    fields: dict[str, Any] = {"run_id": "run-1", "timestamp": 7}
    step: dict[str, Any] = {"step_id": "s-1", "job_id": "a"}
    clip = Dataclip('{"data":{"n":{"m":[1]}}}')
    return write(
        path,
        RunStart(**fields, seq=0, workflow="w", versions={}),
        StepStart(**fields, **step, seq=1, job_name="", input_dataclip_id="d-0", execution=0),
        EXAMPLE,
        RunLog(**fields, **step, seq=2, source="JOB", level="info", message="ä"),
        StepComplete(**fields, **step, seq=3, reason="success", output_dataclip=clip),
        RunComplete(**fields, seq=4, reason="success", final_state=clip),
    )


@pytest.mark.slow
def test_a_recording_that_is_cut_at_any_byte_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = small(tmp_path / "run")
    content, whole = file.read_bytes(), read_recording(file)
    events, count = events_of(whole.events), 0
    for length in range(len(content) + 1):
        file.write_bytes(content[:length])
        read = read_content(file)
        # The last byte ends the last line, which is whole without it.
        assert (read.damage == ()) is (length >= len(content) - 1), length
        assert events_of(read.events) == events[: len(read.events)]
        assert read.exchanges == whole.exchanges[: len(read.exchanges)]
        assert len(read.events) >= count
        count = len(read.events)
        within_a_line = length > 0 and b"\n" not in content[length - 1 : length + 1]
        assert (read.damage == ("the file is empty",)) is (length == 0)
        assert ("cut off: the file ends within it" in "".join(read.damage)) is within_a_line
        if read.plan is None:
            with pytest.raises(LoadError, match=r"cut off|is missing|is empty"):
                read_recording(file)
    assert count == len(events)


@pytest.mark.slow
def test_every_command_reads_a_recording_that_is_cut_off(recording: Path, tmp_path: Path) -> None:
    content, file = recording.read_bytes(), tmp_path / "cut.jsonl"
    for length in [0, 1, 30, *range(40, len(content), 397)]:
        file.write_bytes(content[:length])
        damage = "cut off" if length else "the file is empty"
        done = call_worker("recording", "show", file)
        assert done.returncode == 1 and damage in done.stdout, (length, done)
        done = call_worker("recording", "show", "--json", file)
        fields = json.loads(done.stdout)
        assert done.returncode == 1 and fields["damage"], length
        if fields["workflow"] is None:
            # An empty file could be a journal too.
            for command in ("report", "replay") if length else ("replay",):
                done = call_worker(command, file)
                assert done.returncode == 2 and "Traceback" not in done.stderr
                assert damage in done.stdout + done.stderr, (length, done)
        else:
            view, _ = build_run_view(read_source(file))
            assert any("cut off" in note for note in view.notes)


def test_a_crash_between_two_lines_is_said(recording: Path) -> None:
    lines = recording.read_bytes().splitlines(keepends=True)
    recording.write_bytes(b"".join(lines[:-1]))
    read = read_recording(recording)
    assert read.damage == ("the recording ends before its run does",) and not read.complete


def test_a_damaged_line_costs_what_it_held(recording: Path) -> None:
    lines = recording.read_bytes().splitlines(keepends=True)
    whole = read_recording(recording)
    for number, line in enumerate(lines[2:], 3):
        recording.write_bytes(
            b"".join([*lines[: number - 1], line[:40] + b"\x00\n", *lines[number:]])
        )
        read = read_recording(recording)
        assert f"line {number} is damaged" in read.damage[0]
        kind = json.loads(line)["type"]
        if kind == "exchange":
            assert len(read.exchanges) == len(whole.exchanges) - 1 and read.complete
        elif kind == "dataclip":
            assert len(read.events) == len(whole.events)
            assert any("is missing" in damage for damage in read.damage)
        else:
            # Later events do not belong together with the ones before the gap.
            assert len(read.events) == json.loads(line)["seq"]


def test_an_edited_dataclip_is_noticed(recording: Path) -> None:
    recording.write_text(recording.read_text().replace('"items":["ä"', '"items":["b"'))
    read = read_recording(recording)
    assert len(read.damage) == 2 and all("its hash is another" in text for text in read.damage)


# --- versions -------------------------------------------------------------------------------------


def changed(recording: Path, change: Any) -> Path:
    fields = [json.loads(line) for line in recording.read_text().splitlines()]
    recording.write_text("".join(dumps(line) + "\n" for line in change(fields)))
    return recording


def test_unknown_fields_lines_and_events_are_left_out(recording: Path) -> None:
    whole = read_recording(recording)

    def newer(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for line in lines:
            # The content stays the last field of a dataclip.
            content = {"content": line.pop("content")} if "content" in line else {}
            limits = {"limits": {**line["limits"], "new": 1}} if "limits" in line else {}
            yield {**line, **limits, "new": {"a": 1}, **content}
        yield {"type": "note", "text": "from a later version"}

    read = read_recording(changed(recording, newer))
    assert read.damage == () and read.header == whole.header
    assert events_of(read.events) == events_of(whole.events)
    assert read.exchanges == whole.exchanges


def test_an_unknown_event_takes_its_number(recording: Path) -> None:
    count = len(read_recording(recording).events)

    def newer(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for line in lines:
            if line.get("seq", 0) > 0:
                line["seq"] += 1
            yield line
            if line.get("seq") == 0:
                yield {"type": "run:note", "run_id": line["run_id"], "seq": 1, "timestamp": 1}

    read = read_recording(changed(recording, newer))
    assert read.damage == () and len(read.events) == count


@pytest.mark.parametrize(
    "command", [["replay"], ["report"], ["recording", "show"], ["import", "-o", "x"]]
)
def test_a_newer_format_is_an_error_that_says_so(recording: Path, command: list[str]) -> None:
    recording.write_text(
        recording.read_text().replace(f'"format":{FORMAT}', f'"format":{FORMAT + 1}')
    )
    done = call_worker(*command, recording)
    assert done.returncode == 2
    message = f"format {FORMAT + 1} of recordings is newer than this version of worker, which reads up to {FORMAT}"
    assert message in done.stdout + done.stderr


@pytest.mark.parametrize("value", ['"2"', "0", "-1", "true", "null", "[]", "1.5"])
def test_a_format_that_is_no_number_is_no_recording(recording: Path, value: str) -> None:
    recording.write_text(recording.read_text().replace(f'"format":{FORMAT}', f'"format":{value}'))
    with pytest.raises(LoadError, match="expected the version of its format"):
        read_recording(recording)


@pytest.mark.parametrize(
    "limits", ['{"timeout_s":0}', '{"memory_mb":"1"}', '{"timeout_s":1e10}', "3"]
)
def test_limits_that_no_run_has_are_refused(recording: Path, limits: str) -> None:
    text = recording.read_text()
    head, _, rest = text.partition('"limits":')
    recording.write_text(f'{head}"limits":{limits}{rest[rest.index("}") + 1 :]}')
    with pytest.raises(LoadError, match="limit"):
        read_recording(recording)


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"\x00", b'{"type":"run:start"}', b"steps: []", b'{"type":3}']
)
def test_another_file_is_no_recording(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x"
    file.write_bytes(content)
    assert not is_recording(file)
    with pytest.raises(LoadError, match="not a recording"):
        read_recording(file)
    assert call_worker("recording", "show", file).returncode == 2
    assert call_worker("recording", "show", tmp_path / "missing").returncode == 2


# --- format 1 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requests", "referral", "lightning"])
def test_a_recording_of_format_1_is_read_and_written_anew(name: str, tmp_path: Path) -> None:
    old = read_recording(OLD / name)
    assert old.damage == () and old.complete and old.header.format == 1
    done = call_worker("import", OLD / name, "-o", tmp_path / "new.jsonl")
    assert done.returncode == 0 and f"wrote a recording of '{old.header.workflow}'" in done.stdout
    new = read_recording(tmp_path / "new.jsonl")
    assert _compared(new) == _compared(old) and new.header.format == FORMAT


def _compared(recording: Recording) -> Any:
    header = {**_fields(recording.header), "format": 0}
    events = events_of(recording.events)
    return header, recording.plan, recording.input, events, recording.exchanges


@pytest.mark.slow
def test_every_command_reads_format_1(tmp_path: Path) -> None:
    done = call_worker("replay", OLD)
    # Entries of state.errors have OpenFn's shape now, and had not when these were recorded.
    assert done.returncode == 1 and "3 recordings: 1 the same" in done.stdout, done.stdout
    differences = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert len(differences) == 2 and all(": state at " in line for line in differences)
    changed = {field.split(".")[1] for line in differences for field in line.split("; ")[1:]}
    assert changed == {"errors"}
    for name in ("requests", "referral", "lightning"):
        done = call_worker("recording", "show", OLD / name)
        assert done.returncode == 0 and "in format 1" in done.stdout
        report = tmp_path / f"{name}.html"
        assert call_worker("report", OLD / name, "--replay", "-o", report).returncode == 0
        cases = tmp_path / f"{name}.cases.yaml"
        assert call_worker("replay", OLD / name, "--write-cases", cases).returncode == 0
    assert (
        "GET https://service.test/items → 200"
        in call_worker("recording", "show", OLD / "requests").stdout
    )


def test_a_damaged_recording_is_not_written_anew(recording: Path, tmp_path: Path) -> None:
    recording.write_bytes(recording.read_bytes()[:-20])
    done = call_worker("import", recording, "-o", tmp_path / "new.jsonl")
    assert done.returncode == 2 and "it is damaged: line" in done.stderr
    assert not (tmp_path / "new.jsonl").exists()


# --- the file -------------------------------------------------------------------------------------


def test_only_the_owner_can_read_a_recording(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = write(tmp_path / "runs" / "first.jsonl")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "run")
    content = file.read_bytes()
    with pytest.raises(UsageError, match="exists: choose another file"):
        write(file)
    assert file.read_bytes() == content
    first = write(tmp_path, header=RecordingHeader(run_id="run-1", workflow="w"))
    second = write(tmp_path, header=RecordingHeader(run_id="../../run/2", workflow="w"))
    third = write(tmp_path, header=RecordingHeader(run_id="....../run.2", workflow="w"))
    assert first == tmp_path / "run-1.jsonl" and len({second, third}) == 2
    assert all(file.parent == tmp_path for file in (second, third))
    assert second.name.startswith("______run_2.")
    with pytest.raises(UsageError, match="exists"):
        write(tmp_path, header=RecordingHeader(run_id="run-1", workflow="w"))


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write(tmp_path / "file" / "run")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "recording.json").write_text("{}")
    with pytest.raises(UsageError, match="exists"):
        write(tmp_path / "old")


START = RunStart(run_id="run-1", seq=0, timestamp=7, workflow="w", versions={})


class Service:
    """Replies at once."""

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        return HttpReply(status=200, body=b'{"token": "x", "access_token": "correct-horse"}')


def recorder(path: Path) -> Recorder:
    return Recorder(path, PreparedRecording(load(PLAN), Options()), {}, Service())


async def test_what_has_happened_is_in_the_file_before_anything_else_happens(
    tmp_path: Path,
) -> None:
    record = recorder(tmp_path / "run")
    assert read_content(record.file).plan is not None
    record.receive(START)
    text = json.dumps({"method": "GET", "url": "https://x.test/"})
    await record.host.handle(
        HostCall(number=1, kind="http", text=text, step="a", execution=0, now_us=7)
    )
    await asyncio.sleep(0)
    read = read_content(record.file)
    assert len(read.events) == 1
    assert read.exchanges[0].reply.body == b'{"token":"x","access_token":"***"}'
    # A token that a service returned is masked in all that follows.
    record.receive(
        RunLog(
            run_id="run-1",
            seq=1,
            timestamp=7,
            source="JOB",
            level="info",
            message="a correct-horse",
        )
    )
    record.close()
    await asyncio.sleep(0)
    assert b"a ***" in record.file.read_bytes() and b"correct-horse" not in record.file.read_bytes()


async def test_a_full_disk_does_not_end_the_run_and_is_said(tmp_path: Path) -> None:
    record = recorder(tmp_path / "run")
    stream = record._writer._stream

    class Full:
        def write(self, lines: bytes) -> int:
            if len(lines) > 10:
                return stream.write(lines[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name: str) -> Any:
            return getattr(stream, name)

    record._writer._stream = Full()  # type: ignore[assignment]
    record.receive(START)
    await asyncio.sleep(0)
    record.receive(START)
    await asyncio.sleep(0)
    with pytest.raises(MachineError, match=r"cannot write .*run: No space left on device"):
        record.close()
    assert stream.closed
    assert read_recording(record.file).damage
