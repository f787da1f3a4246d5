"""Lines of a recording: each problem of a line is an error with its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest
from worker.errors import LoadError
from worker.replay.recording_lines import (
    FORMAT,
    RecordingHeader,
    begins_recording,
    dataclip_id,
    dataclip_line,
    dataclip_of_line,
    dropped_line,
    exchange_line,
    exchange_of,
    fields_of,
    header_line,
    header_of,
    plan_of,
    type_of,
    workflow_line,
)
from worker.sandbox.limits import Limits
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, VALUE_LIMIT

EXCHANGE = Exchange(
    step="a", execution=1, sent_us=7, arrived_us=8,
    request=HttpRequest(
        method="POST", url="https://x.test/", headers=(("a", "b"),), body=b"\xff", redirects=2
    ),
    reply=HttpReply(status=200, reason="OK", url="https://x.test/", body=b"{}"),
)  # fmt: skip
HEADER = RecordingHeader(run_id="r", workflow="w", input="i", limits=Limits(timeout_s=7))


# --- the type -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "type"),
    [
        (header_line(HEADER), "recording"),
        (workflow_line({}), "workflow"),
        (exchange_line(EXCHANGE), "exchange"),
        (dropped_line(3), "dropped"),
        (dataclip_line("x", b"1"), "dataclip"),
        (b'{ "type" : "a b"', "a b"),
        (b'{"type":"\xff"}', "�"),
    ],
)
def test_a_line_begins_with_its_type(line: bytes, type: str) -> None:
    assert type_of(line) == type


@pytest.mark.parametrize("line", [b"", b"{}", b'{"a":1,"type":"x"}', b'{"type":1}', b'["type"]'])
def test_a_line_without_a_type_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JSON object that begins with its type"):
        type_of(line)


@pytest.mark.parametrize("end", range(30))
def test_a_recording_is_known_by_any_part_of_its_beginning(end: int) -> None:
    assert begins_recording(header_line(HEADER)[:end]) is True


@pytest.mark.parametrize(
    "head", [b'{"type":"workflow"', b'{"type":"recordingx"', b"x", b'{"type":"recordings"}', b"[]"]
)
def test_anything_else_begins_no_recording(head: bytes) -> None:
    assert begins_recording(head) is False


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"[1]", b"[NaN]", b"1", b'"x"', b"null"])
def test_fields_are_an_object(text: bytes) -> None:
    with pytest.raises(ValueError, match="expected a JSON object"):
        fields_of(text)


@pytest.mark.parametrize("text", [b"", b"{", b"{]", b'{"a":\xff}'])
def test_fields_are_json(text: bytes) -> None:
    with pytest.raises(ValueError):
        fields_of(text)


def test_fields_may_have_numbers_and_characters_that_a_job_can_send() -> None:
    fields = fields_of(b'{"a":"\\ud800","n":NaN,"x":1e999}')
    assert fields["a"] == "\ud800" and fields["n"] != fields["n"]


def test_fields_have_a_limit_of_nesting() -> None:
    deepest = NESTING_LIMIT + ENVELOPE_LEVELS
    text = b'{"a":' * deepest + b"1" + b"}" * deepest
    assert fields_of(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        fields_of(b'{"a":' + text + b"}")


def test_fields_have_a_limit_of_values() -> None:
    with pytest.raises(ValueError, match=f"more than {VALUE_LIMIT:,} values"):
        fields_of(b'{"a":[' + b"1," * VALUE_LIMIT + b"1]}")


# --- the header and the plan ----------------------------------------------------------------------


def header_fields(**changed: Any) -> dict[str, Any]:
    return {**json.loads(header_line(HEADER)), **changed}


def test_a_header_is_read_as_it_was_written() -> None:
    header = header_of(header_fields(new=1), "f")
    assert header == HEADER and header.format == FORMAT == 2
    assert (header.start, header.end, header.collections, header.origin) == ("", "", "", "worker")


@pytest.mark.parametrize("version", [None, True, 0, -1, "2", 1.5])
def test_a_version_is_a_number_from_one_on(version: Any) -> None:
    with pytest.raises(ValueError, match=r"not a recording: expected the version .* found"):
        header_of(header_fields(format=version), "f")


def test_an_older_version_is_read_and_a_newer_one_is_named() -> None:
    assert header_of(header_fields(format=1), "f").format == 1
    with pytest.raises(LoadError, match=r"format 3 of recordings is newer .* reads up to 2"):
        header_of(header_fields(format=3), "f")


@pytest.mark.parametrize("change", [{"run_id": 1}, {"limits": {"timeout_s": -1}}, {"limits": 1}])
def test_a_header_with_other_fields_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a recording: "):
        header_of(header_fields(**change), "f")


def test_a_plan_is_an_object() -> None:
    assert plan_of({"plan": {"a": 1}}) == {"a": 1}
    for fields in ({}, {"plan": None}, {"plan": [1]}):
        with pytest.raises(ValueError, match="not a workflow: expected an execution plan"):
            plan_of(fields)


# --- exchanges ------------------------------------------------------------------------------------


def test_an_exchange_is_read_as_it_was_written() -> None:
    assert exchange_of(fields_of(exchange_line(EXCHANGE))) == EXCHANGE
    half = Exchange(
        step="\ud800", execution=0, sent_us=0, arrived_us=0, request=EXCHANGE.request,
        reply=EXCHANGE.reply,
    )  # fmt: skip
    assert exchange_of(fields_of(exchange_line(half))) == half


@pytest.mark.parametrize(
    "change",
    [
        {"step": 1}, {"sent_us": "x"}, {"request": {}}, {"request": []},
        {"request": {"method": "GET", "url": "u", "headers": 1, "redirects": 0}},
        {"request": {"method": "GET", "url": "u", "headers": [["a"]], "redirects": 0}},
        {"reply": {"status": "x"}}, {"reply": None},
    ],
)  # fmt: skip
def test_an_exchange_with_other_fields_is_an_error(change: dict[str, Any]) -> None:
    fields = json.loads(exchange_line(EXCHANGE))
    with pytest.raises(ValueError, match="not an exchange: "):
        exchange_of({**fields, **change})
    with pytest.raises(ValueError, match="not an exchange: "):
        exchange_of({name: value for name, value in fields.items() if name not in change})


def test_dropped_requests_are_counted() -> None:
    assert json.loads(dropped_line(3)) == {"type": "dropped", "requests": 3}


# --- dataclips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"1", b'{"a":"b"}', b"{" * 5000, b'{"content":1}', b""])
def test_a_dataclip_is_cut_out_as_it_is(content: bytes) -> None:
    id = dataclip_id(content)
    assert len(id) == 64
    assert dataclip_of_line(dataclip_line(id, content)) == (id, content)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"type":"dataclip","id":"x"}\n', "expected its content at the end"),
        (b'{"type":"dataclip","id":"x","content":1\n', "expected its content at the end"),
        (b'{"type":"dataclip"}', "expected its content at the end"),
        (b'{"type":"dataclip","content":1}', "missing required field"),
        (b'{"type":"dataclip","id":1,"content":1}', "Expected `str`"),
        (b'{"type":"dataclip","id":"\xff","content":1}', ""),
        (b'{"type":"dataclip",,"content":1}', ""),
    ],
)
def test_a_dataclip_without_its_parts_is_an_error(line: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"not a dataclip: .*{problem}"):
        dataclip_of_line(line)
