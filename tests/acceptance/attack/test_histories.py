"""Attacks by histories (``worker orders export``) and recordings that somebody else has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from worker.core.events import decode_event
from worker.errors import LoadError
from worker.replay.fleet_history import import_history, parse_line
from worker.replay.recording_content import MAX_DAMAGE, RecordingContent
from worker.replay.recording_file import parse_content
from worker.replay.recording_folder import read_folder
from worker.sinks.journal import JournalError, read_journal, recover_journal

STARTED = {"type": "run:start", "run_id": "r", "seq": 0, "timestamp": 0, "workflow": "w"}
STARTED |= {"versions": {}}
PLAN = {"workflow": {"name": "w", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}
RUN = {
    "type": "run", "order": {"order_id": "o"}, "run": {"run_id": "r", "start": None}, "plan": PLAN,
    "input": {}, "events": [STARTED],
}  # fmt: skip


def deep(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


HOSTILE: list[dict[str, Any]] = [
    *({"run": {"run_id": id}} for id in ("..", "../x", "/etc/x", ".bashrc", "a/b", "-x", "", "\u00e9")),
    *({"run": {"run_id": id}} for id in (5, None, ["r"], {"r": 1}, True, "a" * 5000, "a\0", "a\n")),
    {"run": {"run_id": "r", "start": {"a": 1}}},
    {"run": None},
    {"run": "r"},
    {"plan": 5},
    {"plan": {"workflow": {"steps": "x"}}},
    {"plan": {"workflow": {"steps": [{"id": "a", "expression": {"path": "/etc/passwd"}}]}}},
    *({"events": [event]} for event in (5, [1], "x", {**STARTED, "seq": "x"})),
    {"events": [{**STARTED, "seq": 2**70}]},
    {"events": [STARTED, {**STARTED, "type": "run:log", "message": 5}]},
    {"input": {"data": deep(500)}},
    {"events": [{**STARTED, "versions": deep(500)}]},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: json.dumps(change)[:60])
def test_a_line_that_is_no_run_is_an_error_with_its_place(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """Names that lead out of the folder, values of other types, events that are none, depth."""
    file, folder = tmp_path / "history.jsonl", tmp_path / "out" / "runs"
    file.write_text(json.dumps(RUN) + "\n" + json.dumps({**RUN, **change}) + "\n")
    with pytest.raises(LoadError, match="line 2 is not a run") as error:
        import_history(file, folder)
    assert error.value.file == str(file)
    assert [path.name for path in tmp_path.rglob("*.jsonl")] in (
        [file.name, "r.jsonl"], ["r.jsonl", file.name],
    )  # fmt: skip


HEADER = b'{"type":"recording","format":2,"run_id":"r","workflow":"w","input":"x"}\n'
MANY = b"[" + b"{}," * 1_100_000 + b"0]"


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"x\n"])
def test_damaged_lines_of_a_recording_are_listed_up_to_a_number(line: bytes) -> None:
    """Tries to fill the memory: an archive of kilobytes holds hundreds of millions of such lines."""
    content = parse_content(HEADER + line * 100_000, "r.jsonl")
    assert MAX_DAMAGE < len(content.damage) < MAX_DAMAGE + 10
    assert content.header is not None and "the rest is ignored" in content.damage


@pytest.mark.parametrize(
    "line", [b'{"type":"workflow","plan":{"a":%b}}', b'{"type":"run:other","seq":0,"a":%b}']
)
def test_a_line_of_too_many_values_is_a_damaged_one(line: bytes) -> None:
    """Tries to fill the memory: each value takes a hundred times its text."""
    content = parse_content(HEADER + line % MANY + b"\n", "r.jsonl")
    assert "line 2 is damaged: more than 2,000,000 values" in content.damage


def test_a_run_of_too_many_values_is_none() -> None:
    """Tries the same by a history."""
    with pytest.raises(ValueError, match="more than 2,000,000 values"):
        parse_line(json.dumps(RUN)[:-1] + f', "more": {MANY.decode()}}}')


# --- damage that is not in lines ------------------------------------------------------------------


def of_missing_dataclips(folder: Path) -> RecordingContent:
    fields = {"type": "step:start", "run_id": "r", "timestamp": 0, "job_id": "a", "step_id": "s"}
    events = [
        {**fields, "seq": seq, "input_dataclip_id": "d", "input_dataclip": f"{seq:064}"}
        for seq in range(1000)
    ]
    lines = [json.dumps(event).encode() + b"\n" for event in events]
    return parse_content(HEADER + b"".join(lines), "r.jsonl")


def of_damaged_dataclips(folder: Path) -> RecordingContent:
    (folder / "clips").mkdir()
    for number in range(1000):
        (folder / "clips" / f"{number:064}.json").write_text("{}")
    (folder / "recording.json").write_bytes(HEADER)
    (folder / "workflow.json").write_text("{}")
    return read_folder(folder)


def of_a_name_of_a_megabyte(folder: Path) -> RecordingContent:
    file = folder / "journal.jsonl"
    file.write_text(json.dumps({**STARTED, "versions": {"a": {"x": 1}}, "workflow": "w" * 2**20}))
    (folder / "recording.json").write_bytes(HEADER)
    (folder / "workflow.json").write_text("{}")
    (folder / "http.jsonl").write_text("[" * 2**20)
    return read_folder(folder)


@pytest.mark.parametrize(
    "read", [of_missing_dataclips, of_damaged_dataclips, of_a_name_of_a_megabyte]
)
def test_what_is_wrong_is_listed_up_to_a_number_and_a_length(read: Any, tmp_path: Path) -> None:
    """Tries to fill the terminal of whoever reads a recording, by damage without an end."""
    damage = read(tmp_path).damage
    assert 1 <= len(damage) <= MAX_DAMAGE + 2
    assert all(len(problem) <= 400 for problem in damage)


DEEP = b'{"type":"workflow","plan":{"number":1e999,"a":' + b"[" * 100_000


@pytest.mark.parametrize("end", [b"", b"]" * 100_000 + b"}}"])
def test_a_line_that_is_nested_too_deeply_is_a_damaged_one(end: bytes) -> None:
    """Tries to end every reader as a defect, behind a number for which another parser is tried."""
    content = parse_content(HEADER + DEEP + end + b"\n", "r.jsonl")
    assert "line 2 is damaged: nested too deeply" in content.damage


@pytest.mark.parametrize("type", ["run:log", "other"])
def test_a_line_of_too_many_values_ends_a_journal(type: str, tmp_path: Path) -> None:
    """Tries to fill the memory, by a journal that somebody sends for a look."""
    file = tmp_path / "journal.jsonl"
    file.write_bytes(b'{"type":"%b","seq":0,"details":%b}\n' % (type.encode(), MANY))
    (problem,) = recover_journal(file).damage
    assert "more than 2,000,000 values" in problem
    with pytest.raises(JournalError, match="more than 2,000,000 values"):
        list(read_journal(file))


def test_an_error_of_an_event_quotes_no_long_value(tmp_path: Path) -> None:
    """Tries to fill a terminal, or an alert, by the type of an event."""
    with pytest.raises(ValueError, match="not an event of a run") as error:
        decode_event(json.dumps({**STARTED, "type": "x" * 2**20}))
    assert len(str(error.value)) < 400
