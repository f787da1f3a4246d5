"""Attacks by what a worker keeps: of secrets without number, and of workflows of any size."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.helpers import job
from worker.adaptors import names
from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest
from worker.errors import PlanError
from worker.replay.scrub import MAX_REPLY_SECRETS, Scrubber, scrub_exchange
from worker.runner import prepare
from worker.runner.prepare import Options
from worker.util import masking
from worker.util.bounded_cache import BoundedCache
from worker.util.masking import MASK, MAX_SECRETS, Mask, collect_secrets
from worker.util.nesting import NESTING_LIMIT
from worker.util.size_in_memory import size_in_memory
from worker.workflow.load import load

MANY = {f"key{number}": f"secret{number:06}" for number in range(3000)}
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an input": ({}, {"configuration": MANY}),
    "a step": ({"configuration": MANY}, {}),
    "a public address": ({}, {"configuration": {"baseUrl": "https://h/" + "/aB3xxxxxxx" * 9 +
                              "/".join(f"aB{number:07}" for number in range(3000))}}),
    "lines": ({"configuration": {"key": "\n".join(f"{number:020}" for number in range(9000))}}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "input"), WAYS.values(), ids=list(WAYS))
def test_secrets_without_number_make_no_run(fields: Any, input: Any) -> None:
    """Tries to hold up a worker, and to alert its operator: the mask took longer than the start."""
    workflow = load({"workflow": {"steps": [job("fn(s => s)", **fields)]}})
    with pytest.raises(PlanError, match="more than 5,000 secrets"):
        prepare.prepare(workflow, input, Options(), "")


def test_accounts_of_many_services_make_a_run() -> None:
    """A dozen keys of service accounts, each of 26 lines."""
    accounts = [
        {"private_key": "\n".join(f"{number:03}/{line:02}+" + "k" * 57 for line in range(26))}
        for number in range(12)
    ]
    steps = [job(f"fn(s => {number})", id=f"s{number}", configuration=account)
             for number, account in enumerate(accounts)]  # fmt: skip
    request = prepare.prepare(load({"workflow": {"steps": steps}}), {}, Options(), "")
    assert 1000 < len(request.secrets) <= MAX_SECRETS


def test_a_mask_of_too_many_secrets_hides_all() -> None:
    for mask in (Mask(map(str, range(MAX_SECRETS + 1))), Mask.hiding_all()):
        assert (mask.text("abc"), mask.json('{"a": 1}')) == (MASK, f'"{MASK}"')
    assert Mask([*map(str, range(MAX_SECRETS)), "1"]).text("abc") == "abc"


def test_each_secret_is_compared_with_a_number_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_SHARED_CORES", 2)
    secrets = [f"{number:02}secret{number:02}" for number in range(20)]
    assert len(masking._searches((*secrets, "x-00secret00-x", "x-09secret09-x"))) == 21
    mask = Mask([*secrets, "x-09secret09-x"])
    assert mask.text(" ".join([*secrets, "x-09secret09-x"])) == " ".join([MASK] * 21)


def exchanged(body: bytes) -> Exchange:
    request, reply = HttpRequest(method="GET", url="http://x"), HttpReply(status=200, body=body)
    return Exchange(step="a", execution=1, sent_us=0, arrived_us=0, request=request, reply=reply)


def test_tokens_without_number_in_a_reply_hide_the_rest_of_a_recording() -> None:
    """Tries to hold up a worker that records: each reply brought the mask more to search for."""
    tokens = [{"access_token": f"{number:09}"} for number in range(MAX_REPLY_SECRETS + 1)]
    scrubber, scrubbed = scrub_exchange(Scrubber(), exchanged(json.dumps(tokens).encode()))
    assert scrubbed.reply.body == MASK.encode() and scrubber.json('{"a": 1}') == f'"{MASK}"'
    few, scrubbed = scrub_exchange(Scrubber(), exchanged(json.dumps(tokens[:9]).encode()))
    assert b"access_token" in scrubbed.reply.body and few.text("abc") == "abc"


@pytest.mark.parametrize("depth", [199, 300, *range(900, 1010, 2)])
@pytest.mark.parametrize("around", [b'{"a":%b}', b"[%b]"], ids=["objects", "arrays"])
def test_a_deep_reply_is_hidden(around: bytes, depth: int) -> None:
    """Tries to end a run as a defect of the worker that records it, at the limit of its stack."""
    start, end = around.split(b"%b")
    body = start * depth + b"1" + end * depth
    _, scrubbed = scrub_exchange(Scrubber(["hunter2!"]), exchanged(body))
    assert scrubbed.reply.body == (body if depth <= NESTING_LIMIT else MASK.encode())


# --- caches ---------------------------------------------------------------------------------------


def test_the_size_of_a_value_is_that_of_all_that_it_holds() -> None:
    step = job("fn(s => s)", state={"a": ["x" * 10_000, {"y" * 10_000: 1}]})
    workflow = load({"workflow": {"name": "n" * 10_000, "steps": [step]}})
    assert 30_000 < size_in_memory(workflow) < 40_000


@pytest.mark.parametrize(
    "field", [{"state": {"a": "x" * 100_000}}, {"configuration": {"a": "x" * 100_000}},
              {"name": "x" * 100_000}, {"adaptor": "x" * 100_000}],
    ids=["state", "configuration", "name", "adaptor"],
)  # fmt: skip
def test_no_cache_keeps_workflows_without_counting_them(field: dict[str, Any]) -> None:
    """Tries to fill the memory of a worker, with orders whose plans are large but not their code."""
    cache: BoundedCache[Any, Any] = prepare._compiled_workflow
    before = cache.held_bytes
    step = {**job("fn(s => s)"), **field}
    workflow = load({"workflow": {"steps": [step]}})
    prepare.prepare(workflow, {}, Options(), "")
    assert cache.held_bytes - before > 100_000


def test_no_cache_keeps_names_and_secrets_of_any_length() -> None:
    names._parsed.cache_clear()
    assert names.parse_or_none("x" * 100_000) is None
    assert names._parsed.cache_info().currsize == 0
    before = masking._secrets_in.held_bytes
    collect_secrets([{"password": "x" * 100_000}])
    assert masking._secrets_in.held_bytes - before > 100_000
