"""Options of a run, as its runner receives them: without those that are usual."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from tests.support.helpers import job, workflow
from worker.core.outcome import StepError
from worker.core.scripted import ScriptedStep
from worker.runner.prepare import Options, prepare
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits
from worker.sandbox.parent.runner_client import ProgramEncoder
from worker.sandbox.protocol import OWN_FIELDS, PROGRAM_FIELDS, RealmContents, RunRequest

FLOW = workflow(job("fn(s => s);"))
USUAL = prepare(FLOW, {}, Options(), "r")
OTHER = RunRequest(
    **{
        **asdict(USUAL),
        "limits": Limits(memory_mb=64),
        "redacts_payload": True,
        "configurations": {"a": "{}"},
        "secrets": ("hunter22",),
        "modules": frozenset({"m"}),
        "credentials": '{"x":1}',
        "missing": {"a": "c"},
        "clock": ClockKind.RECORDED,
        "clock_start_us": 5,
        "moments_us": {("a", 0): 1},
        "realm": RealmContents(metered=True),
    }
)


@pytest.mark.parametrize("request_", [USUAL, OTHER], ids=["usual", "other"])
def test_runner_receives_the_request(request_: RunRequest) -> None:
    options = decoded(ProgramEncoder(), request_)
    rest = {name: getattr(request_, name) for name in (*OWN_FIELDS, *PROGRAM_FIELDS)}
    assert RunRequest(**rest, **options) == request_


def test_what_is_usual_is_left_out() -> None:
    assert not {"clock", "realm", "script"} & decoded(ProgramEncoder(), USUAL).keys()


def test_options_of_the_run_before_are_not_those_of_a_run_whose_options_are_equal() -> None:
    """To Python, True equals 1; to a job's code, which reads the details, it does not."""
    encoder = ProgramEncoder()
    for detail in (1, True, 1.0):
        error = StepError(type="JobError", message="", details={"code": detail})
        request = replace(USUAL, script={"a": (ScriptedStep(error=error),)})
        (step,) = decoded(encoder, request)["script"]["a"]
        assert type(step.error.details["code"]) is type(detail)


def test_options_that_are_the_same_objects_are_encoded_once() -> None:
    encoder = ProgramEncoder()
    first, second = prepare(FLOW, {}, Options(), "r"), prepare(FLOW, {}, Options(), "s")
    assert encoder.encode_options(first) is encoder.encode_options(second)


def test_a_script_that_its_caller_changes_between_two_runs_is_sent_as_it_is_then() -> None:
    encoder = ProgramEncoder()
    options = Options(script={"a": (ScriptedStep(returns="1"),)})
    decoded(encoder, prepare(FLOW, {}, options, "r"))
    options.script["a"] = (ScriptedStep(returns="2"),)  # type: ignore[index]
    (step,) = decoded(encoder, prepare(FLOW, {}, options, "s"))["script"]["a"]
    assert step.returns == "2"


def decoded(encoder: ProgramEncoder, request: RunRequest) -> dict[str, Any]:
    options: dict[str, Any] = pickle.loads(base64.b64decode(encoder.encode_options(request)))
    return options
