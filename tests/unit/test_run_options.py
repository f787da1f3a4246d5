"""Options of a run, as its runner receives them: without those that are usual."""

from __future__ import annotations

import base64
import pickle

import pytest
from msgspec.structs import asdict

from tests.support.helpers import job, workflow
from worker.runner.prepare import Options, prepare
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits
from worker.sandbox.parent.runner_client import encode_options
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
    options = pickle.loads(base64.b64decode(encode_options(request_)))
    rest = {name: getattr(request_, name) for name in (*OWN_FIELDS, *PROGRAM_FIELDS)}
    assert RunRequest(**rest, **options) == request_


def test_what_is_usual_is_left_out() -> None:
    assert (
        not {"clock", "realm", "script"}
        & pickle.loads(base64.b64decode(encode_options(USUAL))).keys()
    )
