"""Erased orders, and data that a project does not store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane_harness import (
    ControlPlaneHarness,
    FakeWorker,
    event,
    plan,
    request,
)
from worker.errors import LoadError
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.messaging.worker_protocol import Lease
from worker.replay.fleet_history import import_history, is_history
from worker.replay.record_runs import erase_recordings
from worker.replay.recording import read_recording
from worker.util.json import dumps

SECRET = "Amina Diallo"


def end(harness: ControlPlaneHarness, order_id: str = "o", **fields: Any) -> Lease:
    """Let an order end whose states, logs and error are about a person."""
    reason = fields.pop("reason", "fail")
    worker, lease = harness.claimed(order_id, input={"data": SECRET}, **fields)
    state = {"output_dataclip": {"data": SECRET}, "output_dataclip_id": "clip-1"}
    events = [
        event(lease.run_id, 0, "run:start"),
        event(lease.run_id, 1, "step:start"),
        event(lease.run_id, 2, "run:log", message=f"patient {SECRET}"),
        event(lease.run_id, 3, "step:complete", **state),
        event(lease.run_id, 4, "run:complete", reason=reason, error_type="JobError",
              error_message=f"no such patient: {SECRET}", final_state={"data": SECRET},
              final_dataclip_id="clip-2"),
    ]  # fmt: skip
    assert worker.acked(lease, *events).upto == 4
    return lease


def is_stored(harness: ControlPlaneHarness) -> bool:
    return SECRET in repr(harness.dump())


def test_an_erased_order_keeps_its_status_and_times_alone(harness: ControlPlaneHarness) -> None:
    end(harness, tags=[SECRET.split()[0]])
    before = harness.run()
    assert is_stored(harness)
    published = harness.send(request("erase", order_id="o"))
    assert not is_stored(harness) and "Amina" not in repr(harness.dump())
    assert [state.error_message for state in published.states] == [None], "retained on the broker"
    assert [order.erased is not None for order in published.orders] == [True]
    after = harness.run()
    for name in ("status", "error_type", "created", "started", "finished"):
        assert after[name] == before[name]
    assert harness.order()["status"] == "failed"
    assert harness.call("events", run_id="o-1", clips=True)["events"] == []
    assert harness.call("input", id="o-1") == {"input": {}}
    assert [row["action"] for row in harness.order()["actions"]] == ["erase"]


def test_erasing_twice_changes_nothing_more(harness: ControlPlaneHarness) -> None:
    end(harness)
    first = harness.call("erase", order_id="o")
    harness.pass_time(60)
    assert harness.call("erase", order_id="o")["erased"] == first["erased"]
    assert len(harness.order()["actions"]) == 1


def firing(order_id: str) -> dict[str, Any]:
    """Return the row of a reply that is due, to an address that is about a person."""
    return {
        "order_id": order_id, "trigger_id": "t", "at": 1, "reply_due": True,
        "reply_topic": f"replies/{SECRET}", "correlation": SECRET.encode().hex(),
    }  # fmt: skip


def test_the_address_of_a_reply_is_erased(harness: ControlPlaneHarness) -> None:
    end(harness)
    with harness.store.transaction() as transaction:
        transaction.add("trigger_firings", firing("o"))
        transaction.add("trigger_firings", firing("other"))
    harness.call("erase", order_id="o")
    kept, erased = sorted(harness.dump()["trigger_firings"], key=lambda row: "o" in row)
    assert SECRET not in repr(erased) and SECRET.encode().hex() not in repr(erased)
    assert "o" in erased and SECRET in repr(kept)
    harness.processor.mark_replied(["other"])
    assert SECRET not in repr(harness.dump()), "nor is it stored once the reply is sent"


def test_an_order_that_has_not_ended_is_not_erased(harness: ControlPlaneHarness) -> None:
    harness.submit()
    assert harness.failure("erase", order_id="o").code == "conflict"
    assert harness.failure("erase", order_id="none").code == "unknown"


def test_an_erased_order_does_not_run_again(harness: ControlPlaneHarness) -> None:
    end(harness)
    harness.call("erase", order_id="o")
    failure = harness.failure("retry", id="o", run_id="again")
    assert failure.message == "the input of order o is not stored any more"


def test_its_worker_is_commanded_to_erase_it_now_and_when_it_comes_back(
    harness: ControlPlaneHarness,
) -> None:
    end(harness)
    published = harness.send(request("erase", order_id="o"))
    assert [command.erase for command in published.commands] == [["o-1"]]
    published = FakeWorker(harness, incarnation="i2").birth()
    assert [command.erase for command in published.commands] == [["o-1"]]
    assert FakeWorker(harness, "south").birth().commands == []
    harness.pass_time(31 * 86_400)
    assert FakeWorker(harness, incarnation="i3").birth().commands == []


def test_a_late_report_of_an_erased_order_is_not_stored(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.wait(12)
    assert harness.status() == "lost"
    harness.call("erase", order_id="o")
    ack = worker.acked(lease, event("o-1", 1, "run:log", message=SECRET))
    assert ack.refused and not is_stored(harness)


@pytest.mark.parametrize(
    ("keep", "reason", "stored"),
    [
        ("all", "success", True),
        ("errors", "success", False),
        ("errors", "fail", True),
        ("none", "fail", False),
    ],
)
def test_a_project_stores_what_its_policy_keeps(
    harness: ControlPlaneHarness, keep: Any, reason: str, stored: bool
) -> None:
    limits = ProjectLimits(keep_data=keep)
    harness.restart(policy=Policy(projects={"p": limits}))
    end(harness, project="p", reason=reason)
    with harness.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one()
        clips = connection.exec_driver_sql("SELECT count(*) FROM clips").scalar_one()
    assert (bool(rows), bool(clips)) == (stored, stored)
    assert harness.order()["status"] == {"success": "success", "fail": "failed"}[reason]


def test_the_data_of_an_order_stays_until_its_last_retry(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=Policy(projects={"p": ProjectLimits(keep_data="none")}))
    end(harness, project="p", retry={"times": 1, "after_s": 1, "jitter": 0})
    harness.wait(2)
    (assigned,) = FakeWorker(harness).claim()
    assert SECRET in bytes(assigned.input).decode()


def test_outputs_are_not_stored_where_the_policy_has_it_so(harness: ControlPlaneHarness) -> None:
    limits = ProjectLimits(output_dataclips=False)
    harness.restart(policy=Policy(projects={"p": limits}))
    lease = end(harness, project="p", reason="success")
    events = harness.call("events", run_id=lease.run_id, clips=True)["events"]
    assert [each["type"] for each in events][-1] == "run:complete"
    assert SECRET not in repr([each for each in events if each["type"] != "run:log"][:-1])
    assert harness.call("input", id=lease.run_id)["input"] == {"data": SECRET}


def test_the_recordings_of_a_run_are_erased_and_no_others(tmp_path: Path) -> None:
    for name, run_id in (("o-1", "o-1"), ("again", "o-1"), ("o_1", "o.1"), ("o-11", "o-11")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"type":"recording","run_id":"{run_id}"}}\n{{}}')
    (tmp_path / "broken.jsonl").write_text("{")
    assert erase_recordings(tmp_path, "o-1") == 2
    left = sorted(path.stem for path in tmp_path.iterdir())
    assert left == ["broken", "o-11", "o_1"]


def test_a_history_is_imported_as_recordings(tmp_path: Path) -> None:
    run = {"run_id": "o-1", "start": None}
    events = [
        event("o-1", 0, "run:start"),
        event("o-1", 1, "step:start"),
        event("o-1", 2, "step:complete", output_dataclip_id="clip-1",
              output_dataclip={"data": {"n": 1}}),
        event("o-1", 3, "run:complete", final_dataclip_id="clip-1", final_state={"data": {"n": 1}}),
    ]  # fmt: skip
    line = {"type": "run", "order": {}, "run": run, "plan": plan(), "input": {"data": {}},
            "events": events}  # fmt: skip
    file = tmp_path / "history.jsonl"
    file.write_text("".join(f"{dumps(each)}\n" for each in (line, {**line, "events": []})))
    assert is_history(file)
    (imported,) = import_history(file, tmp_path / "runs")
    recording = read_recording(imported.file)
    assert (recording.header.run_id, recording.damage) == ("o-1", ())
    assert [each.type for each in recording.events][-1] == "run:complete"


@pytest.mark.parametrize("line", ["{", "[]", '{"type":"run","order":{},"events":3}', "null"])
def test_a_line_that_is_no_run_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text(f"{line}\n")
    with pytest.raises(LoadError, match="line 1 is not a run"):
        import_history(file, tmp_path / "runs")
