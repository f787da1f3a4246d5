"""Files of recordings: what cannot be read or written is an error or a damage, with its reason."""

from __future__ import annotations

import errno
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from worker.errors import LoadError, MachineError, UsageError
from worker.replay import recording_writer
from worker.replay.recording_content import MAX_DAMAGE
from worker.replay.recording_file import is_recording_file, parse_content, read_bytes, read_file
from worker.replay.recording_lines import (
    RecordingHeader,
    dataclip_id,
    dataclip_line,
    dropped_line,
    header_line,
    workflow_line,
)
from worker.replay.recording_writer import RecordingWriter, file_name
from worker.util.nesting import VALUE_LIMIT

INPUT = dataclip_id(b"{}")
HEADER = RecordingHeader(run_id="r", workflow="w", input=INPUT)
HEAD = header_line(HEADER) + workflow_line({"a": 1}) + dataclip_line(INPUT, b"{}")
ENDS_EARLY = "the recording ends before its run does"


def damage(*lines: bytes) -> tuple[str, ...]:
    """Return the damages of a recording with these lines, but that it has no end."""
    found = parse_content(HEAD + b"".join(lines), "f").damage
    assert found[-1:] == (ENDS_EARLY,) or len(found) > MAX_DAMAGE
    return tuple(text for text in found if text != ENDS_EARLY)


# --- reading --------------------------------------------------------------------------------------


def test_a_file_is_a_recording_by_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "run"
    assert is_recording_file(file) is False
    assert is_recording_file(tmp_path) is False
    for content, is_recording in ((b"", False), (HEAD, True), (HEAD[:9], True), (b"x", False)):
        file.write_bytes(content)
        assert is_recording_file(file) is is_recording
    os.mkfifo(tmp_path / "pipe")
    assert is_recording_file(tmp_path / "pipe") is False


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_a_file_that_cannot_be_read_is_no_recording() -> None:
    file = Path("/proc/self/mem")
    assert is_recording_file(file) is False
    with pytest.raises(LoadError, match="cannot be read: Input/output error"):
        read_bytes(file)


def test_a_file_that_is_missing_or_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="there is no such file"):
        read_file(tmp_path / "run")
    with pytest.raises(LoadError, match="cannot be read: Is a directory"):
        read_file(tmp_path)


def test_anything_else_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"not a recording \(worker run --record FILE writes one\)"):
        read_file(tmp_path / "x")


def test_a_recording_without_events_ends_before_its_run() -> None:
    content = parse_content(HEAD, "f")
    assert content.damage[-1] == ENDS_EARLY and content.plan == {"a": 1}
    assert content.header == HEADER


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (dropped_line(3), "3 requests had no room in it"),
        (b"x\n", "line 4 is damaged: expected a JSON object that begins with its type"),
        (b'{"type":"x","seq":0', "line 4 is cut off: the file ends within it"),
        (b'{"type":"x","seq":"a"}\n', "line 4 is damaged: Expected `int | null`"),
        (b'{"type":"x","seq":\xff}\n', "line 4 is damaged: "),
        (b'{"type":"x","seq":2}\n', "line 4 is damaged: expected event 0, found 2; the rest"),
        (b'{"type":"x","a":[' + b"1," * VALUE_LIMIT + b"1]}\n", "line 4 is damaged: more than"),
    ],
    ids=["dropped", "no type", "cut", "no number", "no text", "gap", "values"],
)
def test_a_damaged_line_is_named_with_its_problem(line: bytes, problem: str) -> None:
    (found,) = damage(line)
    assert found.startswith(problem)


def test_after_a_gap_events_are_ignored_without_a_further_note() -> None:
    lines = [b'{"type":"x","seq":%d}\n' % seq for seq in (0, 1, 3, 4, 2)]
    (found,) = damage(*lines)
    assert found == "line 6 is damaged: expected event 2, found 3; the rest is ignored"


def test_lines_of_newer_versions_are_no_damage() -> None:
    assert damage(b'{"type":"note","text":"x"}\n', b'{"type":"x","seq":null}\n') == ()


def test_after_a_hundred_damages_the_rest_is_ignored() -> None:
    assert len(damage(*[b"x\n"] * (MAX_DAMAGE - 1))) == MAX_DAMAGE - 1
    found = damage(*[b"x\n"] * (MAX_DAMAGE + 50))
    assert MAX_DAMAGE == 100 and len(found) == MAX_DAMAGE + 1
    assert found[MAX_DAMAGE - 1].startswith(f"line {MAX_DAMAGE + 3} is damaged")
    assert found[-1] == "the rest is ignored"


# --- writing --------------------------------------------------------------------------------------


def writer(path: Path, header: RecordingHeader = HEADER) -> RecordingWriter:
    return RecordingWriter(path, header, workflow_line({}), "{}", lambda text: text)


def test_whole_lines_are_added_as_they_are(tmp_path: Path) -> None:
    made = writer(tmp_path / "run")
    made.lines(b'{"type":"a"}\n{"type":"b"}\n')
    made.close()
    types = [json.loads(line)["type"] for line in made.file.read_bytes().splitlines()]
    assert types == ["recording", "workflow", "dataclip", "a", "b"]


def test_a_recording_that_cannot_be_begun_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FileIO] = []

    class FullFile(FileIO):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(self)

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recording_writer, "FileIO", FullFile)
    with pytest.raises(MachineError, match=r"cannot write .*run: No space left on device"):
        writer(tmp_path / "run")
    assert list(tmp_path.iterdir()) == [] and opened[0].closed


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"cannot write .*link/run"):
        writer(tmp_path / "link" / "run")


@pytest.mark.parametrize(
    ("run_id", "begin", "length"),
    [
        ("a-B_9", "a-B_9.jsonl", 11),
        ("a" * 100, "aaa", 106),
        ("a" * 101, "aaa", 100 + 1 + 16 + 6),
        ("../x", "___x.", 4 + 1 + 16 + 6),
        ("\ud800", "_.", 1 + 1 + 16 + 6),
    ],
)
def test_the_name_of_a_file_is_safe_and_of_one_run(run_id: str, begin: str, length: int) -> None:
    assert file_name(run_id).startswith(begin) and len(file_name(run_id)) == length
    assert file_name(run_id) != file_name(run_id + "/")
