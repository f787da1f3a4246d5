"""Replies of a process that evaluates conditions: a wrong one is an error, and ends the process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.helpers import job, workflow
from worker.core.outcome import StepError
from worker.runner.prepare import Options, prepare
from worker.sandbox.limits import Limits
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.protocol import encode_frame

FLOW = workflow(
    job("fn(s => s);", "a", next={"b": {"condition": "true"}, "c": {"condition": "true"}}),
    job("fn(s => s);", "b"),
    job("fn(s => s);", "c"),
)
ENDED = StepError(type="ProcessError", message="ended")


class Server:
    """A process whose replies the test writes."""

    def __init__(self) -> None:
        ours, self.channel = socket.socketpair()
        limits = Options(limits=Limits(state_mb=1))
        request = prepare(FLOW, {}, limits, "00000000-0000-4000-8000-000000000001")
        self.evaluator = ConditionEvaluator(ours, request, lambda: ENDED)

    def evaluate(self, reply: bytes) -> Any:
        sending = threading.Thread(target=self._send, args=(reply,))
        sending.start()
        try:
            return self.evaluator.evaluate("a", "{}", now_us=0, seed=None)
        finally:
            self.channel.close()
            sending.join()

    def _send(self, reply: bytes) -> None:
        # The evaluator closes its end as soon as it knows that a reply is wrong.
        with suppress(OSError):
            self.channel.sendall(reply)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.evaluator.close()
    server.channel.close()


def test_a_right_reply_is_the_result(server: Server) -> None:
    result = server.evaluate(encode_frame({"taken": [True, False], "error": None}, '{"n":1}'))
    assert (result.taken, result.state, result.error) == ((True, False), '{"n":1}', None)


@pytest.mark.parametrize(
    "reply",
    [
        b"\xff" * 64,
        encode_frame({"taken": [True]}),
        encode_frame({"taken": [True, "yes"]}),
        encode_frame({"taken": 2}),
        encode_frame({"other": 1}),
        encode_frame({"error": {"type": "JobError"}}),
        encode_frame({"taken": [True, False]}, "{not json"),
        encode_frame({"taken": [True, False]}, "[" * 5000 + "]" * 5000),
        encode_frame({"taken": [True, False]}, '"' + "x" * (4 << 20) + '"'),
    ],
    ids=range(9),
)
def test_a_wrong_reply_is_a_protocol_error(server: Server, reply: bytes) -> None:
    result = server.evaluate(reply)
    assert result.error is not None and result.error.type == "ProtocolError"
    assert result.taken == () and server.evaluator.closed


def test_many_states_have_a_reply_each(server: Server) -> None:
    pair = [[True, False], None]
    server.channel.sendall(encode_frame({"all": [pair, pair]}))
    assert [result.taken for result in server.evaluator.evaluate_all("a", ["{}", "{}"])] == [
        (True, False)
    ] * 2
    server.channel.sendall(encode_frame({"all": [pair]}))
    errors = [result.error for result in server.evaluator.evaluate_all("a", ["{}", "{}"])]
    assert [error.type for error in errors if error] == ["ProtocolError"] * 2


def test_a_process_that_has_ended_gives_its_cause(server: Server) -> None:
    server.channel.close()
    assert server.evaluator.startup_error() == ENDED
