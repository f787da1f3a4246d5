"""Executions of steps: which start, end, log lines and input belong together."""

from __future__ import annotations

from typing import Any

from worker.core.events import AnyEvent, Dataclip, RunLog, StepComplete, StepStart
from worker.core.execution import Execution, executions


def start(id: str, *, input_id: str = "", number: int = 0) -> StepStart:
    return StepStart(
        seq=0, run_id="r", timestamp=0, step_id=id, job_id=f"job-{id}", job_name="",
        input_dataclip_id=input_id, execution=number,
    )  # fmt: skip


def log(id: str, message: str = "x") -> RunLog:
    return RunLog(
        seq=0, run_id="r", timestamp=0, source="JOB", level="info", message=message, step_id=id
    )


def end(id: str, **fields: Any) -> StepComplete:
    return StepComplete(
        seq=0, run_id="r", timestamp=0, step_id=id, job_id=f"job-{id}", reason="success", **fields
    )


def test_starts_come_in_their_order_with_their_ends_and_logs() -> None:
    events: list[AnyEvent] = [
        start("a"), log("a", "1"), start("b", number=3), log("b", "2"), log("a", "3"),
        end("b"), end("a"), log("a", "late"),
    ]  # fmt: skip
    first, second = executions(events)
    assert first == Execution(start=start("a"), complete=end("a"), logs=(
        log("a", "1"), log("a", "3"), log("a", "late")
    ))  # fmt: skip
    assert second == Execution(start=start("b", number=3), complete=end("b"), logs=(log("b", "2"),))
    assert (second.job_id, second.number) == ("job-b", 3)


def test_what_has_no_start_is_left_out_and_a_start_may_have_no_end() -> None:
    assert executions([log("a"), end("a"), log(""), start("b")]) == [Execution(start=start("b"))]


def test_an_id_that_comes_again_begins_another_execution() -> None:
    first, second = executions([start("a"), log("a"), start("a"), end("a"), log("a", "2")])
    assert first == Execution(start=start("a"), logs=(log("a"),))
    assert second == Execution(start=start("a"), complete=end("a"), logs=(log("a", "2"),))


def test_the_input_is_the_output_that_has_its_id() -> None:
    dataclip = Dataclip("{}")
    output = end("a", output_dataclip_id="d", output_dataclip=dataclip)
    events: list[AnyEvent] = [
        start("a", input_id="i"), output, start("b", input_id="d"), start("c", input_id="d"),
        end("b", output_dataclip_id="e"), start("d", input_id="e"), start("e"),
    ]  # fmt: skip
    assert [each.input for each in executions(events)] == [None, dataclip, dataclip, None, None]


def test_an_output_without_an_id_is_nobodys_input() -> None:
    events: list[AnyEvent] = [start("a"), end("a", output_dataclip=Dataclip("{}")), start("b")]
    assert [each.input for each in executions(events)] == [None, None]
