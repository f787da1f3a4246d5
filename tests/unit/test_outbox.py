"""The outbox of a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.outboxes import dead_letters, event, files, filled, lease, sender_of
from worker.errors import UsageError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import Reports
from worker.fleet.worker.outbox import Outbox, RunOutbox, set_aside


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / "outbox")
    yield opened
    opened.close()


# --- on disk --------------------------------------------------------------------------------------


def test_events_survive_the_process(outbox: Outbox, tmp_path: Path) -> None:
    filled(outbox, event(0), event(1)).close()
    (recovered,) = outbox.recover()
    assert recovered.lease == lease()
    assert recovered.take(1000) == [event(0), event(1)]
    assert recovered.complete, "its process is gone: no event follows"
    recovered.discard()
    assert files(tmp_path / "outbox") == []


def test_an_event_is_on_disk_before_it_can_be_taken(outbox: Outbox, tmp_path: Path) -> None:
    run = filled(outbox, event(0), event(1))
    path = tmp_path / "outbox" / "r.1.jsonl"
    assert not path.exists(), "written with all events of a turn of the loop"
    run.take(len(event(0)))
    lines = [wire.encode(lease()), event(0), event(1)]
    assert path.read_bytes().splitlines() == lines
    run.add(event(2), last=True)
    run.flush()
    assert path.read_bytes().splitlines() == [*lines, event(2)]
    run.close()
    assert path.exists()


def test_events_that_were_not_taken_are_left_for_the_next_process(outbox: Outbox) -> None:
    filled(outbox, event(0)).close()
    (recovered,) = outbox.recover()
    assert recovered.take(1000) == [event(0)]
    recovered.close()


def test_a_run_that_is_discarded_is_written_no_more(outbox: Outbox, tmp_path: Path) -> None:
    run = filled(outbox, event(0))
    run.discard()
    run.flush()
    assert files(tmp_path / "outbox") == []


@pytest.mark.parametrize("torn", [b'{"seq": 2, "te', b'{"seq": 2, "te\n', b"\n", b"\xff\xfe\n"])
def test_a_torn_last_line_is_dropped_and_what_stands_before_it_stays(
    outbox: Outbox, tmp_path: Path, torn: bytes
) -> None:
    filled(outbox, event(0), event(1)).close()
    with (tmp_path / "outbox" / "r.1.jsonl").open("ab") as file:
        file.write(torn)
    (recovered,) = outbox.recover()
    assert recovered.take(1000) == [event(0), event(1)]
    assert recovered.unreadable == ""
    recovered.close()


@pytest.mark.parametrize("head", [b"", b"{}", b'{"run_id": "r", "att', b"\xff", event(0)])
def test_a_file_without_a_whole_lease_is_set_aside_or_deleted_if_empty(
    outbox: Outbox, tmp_path: Path, head: bytes
) -> None:
    (tmp_path / "outbox" / "r.1.jsonl").write_bytes(head and head + b"\n" + event(0) + b"\n")
    filled(outbox, event(0), run_id="s").close()
    (recovered,) = outbox.recover()
    assert recovered.lease.run_id == "s", "others are not affected"
    assert files(tmp_path / "outbox") == ["s.1.jsonl"]
    assert dead_letters(tmp_path / "outbox") == (["r.1.jsonl"] if head else [])
    assert len(outbox.unreadable) == len(dead_letters(tmp_path / "outbox"))
    recovered.close()


def test_two_attempts_of_a_run_have_a_file_each(outbox: Outbox, tmp_path: Path) -> None:
    filled(outbox, event(0)).close()
    filled(outbox, event(0), event(1), attempt=2).close()
    assert files(tmp_path / "outbox") == ["r.1.jsonl", "r.2.jsonl"]
    first, second = outbox.recover()
    assert [first.lease.attempt, second.lease.attempt] == [1, 2]
    first.discard()
    assert files(tmp_path / "outbox") == ["r.2.jsonl"]
    assert not second.empty
    second.close()


def test_an_outbox_with_nothing_but_a_lease_is_recovered_as_empty(
    outbox: Outbox, tmp_path: Path
) -> None:
    """Earlier versions wrote the lease before the first event."""
    (tmp_path / "outbox" / "r.1.jsonl").write_bytes(wire.encode(lease()) + b"\n")
    (recovered,) = outbox.recover()
    assert recovered.empty and not recovered.has_unsent
    recovered.close()


def test_a_folder_belongs_to_one_worker_at_a_time(outbox: Outbox, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in use by another worker"):
        Outbox(tmp_path / "outbox")
    outbox.close()
    Outbox(tmp_path / "outbox").close()


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot use the outbox .*file"):
        Outbox(tmp_path / "file" / "outbox")


def test_all_files_of_a_run_are_erased_and_no_others(outbox: Outbox, tmp_path: Path) -> None:
    for run_id in ("o-1", "o-1.2", "o-11"):
        run = filled(outbox, event(0), run_id=run_id)
        run.replace(event(0), 0, "unreadable")
        run.close()
    assert outbox.erase("o-1") == 3
    left = sorted(path.name for path in tmp_path.rglob("o-1*"))
    assert left == sorted(
        f"{run_id}.1.jsonl{end}" for run_id in ("o-1.2", "o-11") for end in ("", "", ".reason")
    )


def test_files_of_one_name_are_set_aside_beside_each_other(tmp_path: Path) -> None:
    for text in ("a", "b", "c"):
        (tmp_path / "r.1.jsonl").write_text(text)
        set_aside(tmp_path / "r.1.jsonl", text.upper())
    kept = {path.name: path.read_text() for path in (tmp_path / "dead-letter").iterdir()}
    assert kept == {
        "r.1.jsonl": "a", "r.1.jsonl.reason": "A\n",
        "r.1.jsonl.2": "b", "r.1.jsonl.2.reason": "B\n",
        "r.1.jsonl.3": "c", "r.1.jsonl.3.reason": "C\n",
    }  # fmt: skip


@pytest.mark.parametrize("before", [b"", b"\xff", b"no id/", b"x" * 1000])
def test_an_incarnation_that_is_unreadable_counts_as_none(
    outbox: Outbox, tmp_path: Path, before: bytes
) -> None:
    (tmp_path / "outbox" / "incarnation").write_bytes(before)
    assert outbox.succeed("i1") == ""


def test_an_incarnation_that_cannot_be_written_counts_as_none(
    outbox: Outbox, tmp_path: Path
) -> None:
    (tmp_path / "outbox" / "incarnation").mkdir()
    assert outbox.succeed("i1") == ""


# --- taking and acknowledging ---------------------------------------------------------------------


def test_events_are_taken_within_a_limit(outbox: Outbox) -> None:
    run = filled(outbox, event(0, 100), event(1), event(2))
    assert run.take(50) == []
    assert run.next_if_over(50) == event(0, 100) and run.next_if_over(1000) is None
    assert run.take(len(event(0, 100))) == [event(0, 100)]
    assert run.take(len(event(1))) == [event(1)]
    assert run.has_unsent
    assert run.take(1000) == [event(2)]
    assert not run.has_unsent and not run.empty, "sent, and not yet acknowledged"
    run.close()


def test_a_new_run_has_nothing_to_send_or_to_explain(outbox: Outbox) -> None:
    run = outbox.open(lease())
    assert run.empty and not run.has_unsent and not run.complete
    assert (run.waiting, run.first_seq, run.next_seq) == (0, 0, 0)
    assert (run.write_error, run.unreadable, run.is_replaced) == ("", "", False)
    run.close()


def test_a_run_that_is_discarded_holds_nothing(outbox: Outbox, tmp_path: Path) -> None:
    run = filled(outbox, event(0))
    run.discard()
    assert run.empty and files(tmp_path / "outbox") == []


def test_a_rewind_repeats_from_the_last_acknowledged_event(outbox: Outbox) -> None:
    run = filled(outbox, event(0), event(1), event(2))
    run.take(1000)
    run.acknowledge(0)
    run.rewind()
    assert run.take(1000) == [event(1), event(2)]
    run.acknowledge(0)
    assert not run.empty, "an old acknowledgement changes nothing"
    run.acknowledge(2)
    assert run.empty and not run.has_unsent
    run.close()


# --- what cannot be sent --------------------------------------------------------------------------

DEEP = b'{"seq":2,"final_state":' + b'{"o":' * 1000 + b"{}" + b"}" * 1001


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (DEEP, "line 4: nested too deeply"),
        (event(3), "line 4: event 3 instead of 2"),
        (event(-2), "line 4: event -2"),
        (b'{"seq":"x"}', "line 4: Expected `int`, got `str` - at `$.seq`"),
        (b"{}", "line 4: Object missing required field `seq`"),
        (b"torn\n" + event(2), "line 4: not JSON"),
        (b'{"seq":2,"text":"\xff"}\n' + event(3), "line 4: not JSON"),
    ],
)
def test_what_stands_before_an_unreadable_event_is_sent_and_its_reason_known(
    outbox: Outbox, tmp_path: Path, line: bytes, reason: str
) -> None:
    filled(outbox, event(0), event(1), line).close()
    filled(outbox, event(0), run_id="s").close()
    first, second = outbox.recover()
    assert first.take(1000) == [event(0), event(1)]
    assert (first.unreadable, first.next_seq) == (reason, 2)
    assert (second.unreadable, second.next_seq) == ("", 1)
    first.replace(b'{"seq":2,"end":1}', 2, first.unreadable)
    assert first.take(1000) == [b'{"seq":2,"end":1}']
    first.close()
    again, same = outbox.recover()
    assert (again.lease, again.unreadable, again.first_seq) == (lease(), "", 2)
    folder = tmp_path / "outbox" / "dead-letter"
    assert line in (folder / "r.1.jsonl").read_bytes()
    assert (folder / "r.1.jsonl.reason").read_text() == f"{reason}\n"
    for box in (second, again, same):
        box.close()


def test_a_second_file_with_the_same_lease_is_set_aside(outbox: Outbox, tmp_path: Path) -> None:
    filled(outbox, event(0)).close()
    folder = tmp_path / "outbox"
    (folder / "x.jsonl").write_bytes((folder / "r.1.jsonl").read_bytes())
    (recovered,) = outbox.recover()
    assert files(folder) == ["r.1.jsonl"] and dead_letters(folder) == ["x.jsonl"]
    recovered.close()


WHOLE = wire.encode(lease()) + b"\n" + b"\n".join(map(event, range(3))) + b"\n"


def recovered_from(folder: Path, content: bytes) -> list[RunOutbox]:
    """Recover a folder with a file of this content beside a good one, and close it."""
    outbox = Outbox(folder)
    for path in folder.rglob("*.*"):
        path.unlink()
    (folder / "a.1.jsonl").write_bytes(content)
    (folder / "s.1.jsonl").write_bytes(WHOLE.replace(b'"r"', b'"s"'))
    recovered = list(outbox.recover())
    for run in recovered:
        run.close()
    outbox.close()
    return recovered


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n" + event(2) + b"\n"])
def test_a_file_that_is_cut_anywhere_is_survived(tmp_path: Path, ending: bytes) -> None:
    for cut in range(len(WHOLE)):
        *rest, good = recovered_from(tmp_path, WHOLE[:cut] + ending)
        assert good.take(1000) == [event(0), event(1), event(2)]
        for run in rest:
            events = run.take(1000)
            numbers = range(run.first_seq, run.first_seq + len(events))
            assert events == list(map(event, numbers)), "without a gap"


OTHERS = st.sampled_from(
    [b"\n", b"[", b"{", b'"', b"\\", b"\x00", b"\xff", b'{"seq":', b"1e999", DEEP]
)


@given(
    st.lists(OTHERS | st.binary(max_size=4), max_size=4),
    st.integers(0, len(WHOLE)),
    st.integers(0, 40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_in_a_file_are_survived(
    tmp_path: Path, inserted: list[bytes], at: int, dropped: int
) -> None:
    content = WHOLE[:at] + b"".join(inserted) + WHOLE[at + dropped :]
    *rest, good = recovered_from(tmp_path, content)
    assert good.lease.run_id == "s"
    for run in rest:
        reports = sender_of(run).next(0.0)
        assert reports is None or wire.decode(Reports, wire.encode(reports))


@pytest.mark.parametrize("change", [{"attempt": "1"}, {"token": None}])
def test_a_lease_of_another_version_is_set_aside(tmp_path: Path, change: dict[str, Any]) -> None:
    head, rest = WHOLE.split(b"\n", 1)
    other = json.dumps({**json.loads(head), **change}).encode()
    assert len(recovered_from(tmp_path, other + b"\n" + rest)) == 1
    assert dead_letters(tmp_path) == ["a.1.jsonl"]
