"""Attacks on the mask: secrets in every spelling that JavaScript and Python give them.

Each spelling is computed by the real engine, in a run that has the secrets as plain input. A second
run has them as a credential and lets them out in every way.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from tests.support.helpers import check_events, job, logs, workflow
from worker.core.events import to_json
from worker.fleet.worker.run_executor import Allowance
from worker.runner.result import Result
from worker.workflow.save import to_execution_plan

SPELLINGS = """
const spell = (s, add) => {
  const attempt = (name, make) => { try { add(name, String(make())); } catch {} };
  attempt('plain', () => s);
  attempt('encodeURIComponent', () => encodeURIComponent(s));
  attempt('lower case', () => encodeURIComponent(s).replace(/%../g, (code) => code.toLowerCase()));
  attempt('encodeURIComponent twice', () => encodeURIComponent(encodeURIComponent(s)));
  attempt('encodeURI', () => encodeURI(s));
  attempt('URLSearchParams', () => new URLSearchParams({ x: s }).toString().slice(2));
  for (const part of ['username', 'password', 'search', 'hash', 'pathname'])
    attempt('URL ' + part, () => {
      const url = new URL('https://h.test/');
      url[part] = s;
      return url.href.replace(/^https:\\/\\/(h.test\\/)?[?#]?|:?@?h.test\\/$|^:/g, '');
    });
  attempt('URL query', () => new URL('https://h.test/?' + s).href.slice(16));
  attempt('JSON', () => JSON.stringify(s).slice(1, -1));
  attempt('JSON twice', () => JSON.stringify(JSON.stringify(s)).slice(3, -3));
  attempt('JSON three times', () => JSON.stringify(JSON.stringify(JSON.stringify(s))).slice(7, -7));
  attempt('base64', () => Buffer.from(s).toString('base64'));
  attempt('base64url', () => Buffer.from(s).toString('base64url'));
  attempt('base64 in a query', () => encodeURIComponent(Buffer.from(s).toString('base64')));
  attempt('btoa', () => btoa(s));
  for (const before of ['x', 'xy', 'nurse:'])
    for (const after of ['', 'z', 'zz']) {
      attempt('base64 inside', () => Buffer.from(before + s + after).toString('base64'));
      attempt('base64url inside', () => Buffer.from(before + s + after).toString('base64url'));
    }
};
"""
PYTHON_SPELLINGS = """
import base64, html, json
from urllib.parse import quote, quote_plus, urlencode

def spell(s):
    yield s
    yield json.dumps(s)[1:-1]
    yield json.dumps(json.dumps(s))[3:-3]
    yield json.dumps(json.dumps(s, ensure_ascii=False), ensure_ascii=False)[3:-3]
    yield quote(s)
    yield quote(s, safe="")
    yield quote_plus(s)
    yield urlencode({"x": s})[2:]
    yield base64.b64encode(s.encode()).decode()
    yield base64.urlsafe_b64encode(s.encode()).decode()

def step(state):
    state["lines"] = [text for s in READ for text in spell(s)]
    for line in state["lines"]:
        print("<" + line + ">")
    return state
"""
CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    + 3 * " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    + "\n\t\u00e9\u00fc\u00df\u0434\u0436\u4e2d\u2028\U0001f511"
)


def random_secrets(seed: int, count: int = 8) -> list[str]:
    generator = random.Random(seed)
    secrets = []
    for _ in range(count):
        length = generator.randint(6, 40)
        secret = "x" + "".join(generator.choices(CHARACTERS, k=length)) + "9"
        # A URL drops the dots of a path (/../ and /./), and with them what is between slashes.
        secrets.append(re.sub(r"([/\\])\.+", r"\1", secret))
    return secrets


def javascript(read: str, act: str) -> str:
    body = f"{read}.forEach((s) => spell(s, (name, text) => {{ {act} }}));"
    return f"{SPELLINGS}\nfn((s0) => {{ const out = []; {body} return {{ ...s0, out }}; }});"


def spellings(secrets: list[str]) -> list[tuple[str, str]]:
    """Compute what the engine makes of the secrets; in this run they are data."""
    source = javascript("s0.data.secrets", "out.push([name, text]);")
    result = worker.run(workflow(job(source)), {"data": {"secrets": secrets}})
    assert result.status == "success", result.error
    return [(name, text) for name, text in result.final_state["out"]]


def residue(masked: str) -> str:
    """Return what a mask leaves of a text, but for the signs between values."""
    return re.sub(r"\*\*\*|=|%3D|%3d", "", masked)


# A text in base64 around a secret leaves its own characters, and one at each end is shared.
ALLOWED = {"base64 inside": 13, "base64url inside": 13}


def configured(source: str, secrets: list[str], **fields: Any) -> worker.Workflow:
    return workflow(job(source, configuration={"keys": secrets, "username": "nurse"}, **fields))


def everything(result: Result) -> str:
    texts = [to_json(event) for event in result.events]
    return "\n".join([*texts, result.final_text or "", json.dumps(result.error_message)])


@pytest.mark.parametrize("seed", range(6))
def test_no_spelling_of_javascript_leaves_a_trace_in_a_log_line(seed: int) -> None:
    """A job logs random secrets in all spellings, hoping that one of them is not recognised."""
    secrets = random_secrets(seed)
    source = javascript("s0.configuration.keys", "console.log('<' + text + '>'); out.push(text);")
    result = worker.run(configured(source, secrets), {})
    expected = spellings(secrets)
    lines = logs(result)
    assert len(lines) == len(expected) == len(result.final_state["out"])
    for (name, text), line, member in zip(expected, lines, result.final_state["out"], strict=True):
        for masked in (line[1:-1], member):
            left = residue(masked)
            assert masked != text and len(left) <= ALLOWED.get(name, 1), (name, text, masked)


@pytest.mark.parametrize("seed", range(6, 9))
def test_no_spelling_leaves_in_states_keys_errors_and_details(seed: int) -> None:
    """A job lets secrets out as keys, in JSON in JSON, in the message and details of an error."""
    secrets = random_secrets(seed)
    act = "out.push({ [text]: JSON.stringify({ body: JSON.stringify([text]) }) });"
    throw = "throw Object.assign(new Error(JSON.stringify(out)), { details: out, cause: new Error(out.map((o) => Object.keys(o)).join()) });"
    source = javascript("s0.configuration.keys", act).replace("return {", f"{throw} return {{")
    text = everything(worker.run(configured(source, secrets), {}))
    for name, spelled in spellings(secrets):
        for form in (spelled, json.dumps(spelled)[1:-1], json.dumps(json.dumps(spelled))[3:-3]):
            assert form not in text, name


@pytest.mark.parametrize("seed", range(9, 12))
def test_no_spelling_of_python_leaves_a_trace(seed: int) -> None:
    """A Python step prints and returns secrets as its standard library encodes them."""
    secrets = random_secrets(seed)
    source = PYTHON_SPELLINGS.replace("READ", 'state["configuration"]["keys"]')
    flow = workflow(
        {
            "id": "a",
            "adaptors": ["python"],
            "expression": source,
            "configuration": {"keys": secrets},
        }
    )
    result = worker.run(flow, {})
    assert result.status == "success", result.error
    lines = logs(result)
    assert len(lines) == 10 * len(secrets)
    for masked in [*(line[1:-1] for line in lines), *result.final_state["lines"]]:
        assert len(residue(masked)) <= 1, masked


NUMBER = 1764200000
DIGITS = [str(number) for number in range(1000000, 1000020)]


@pytest.mark.slow
def test_digits_of_a_secret_in_ids_and_times_damage_no_event(tmp_path: Path) -> None:
    """A credential is made of short digits, so that masking would tear up ids, times and counts."""
    numbers = [*range(100000, 100400), 1048576]
    flow = configured("fn((s) => { console.log('at 100007'); throw new Error('100008'); });", [])
    configuration = {"pins": [str(n)[:4] for n in range(1000, 10000, 21)], "numbers": numbers}
    (tmp_path / "c.json").write_text(json.dumps({"pins": configuration}))
    plan = to_execution_plan(flow, {"a": "pins"})
    (tmp_path / "w.json").write_text(json.dumps(plan))
    record, journal = tmp_path / "r.jsonl", tmp_path / "j.jsonl"
    line = ("run", tmp_path / "w.json", "--credentials", tmp_path / "c.json")
    done = call_worker(*line, "--record", record, "--journal", journal)
    assert "at ***" in journal.read_text(), done.stderr
    uuid = re.compile(r'"(?:run|step)_id":"([^"]*)"')
    for file in (record, journal):
        ids = uuid.findall(file.read_text())
        assert ids and all(re.fullmatch(r"[0-9a-f-]{36}", id) for id in ids), ids
        assert not re.search(r'"(?:timestamp|seq|mem|duration)":"', file.read_text())
        # The source of the job is in the recording as it was written.
        outputs = [line for line in file.read_text().splitlines() if '"expression"' not in line]
        assert '"message":"at ***"' in "".join(outputs) and "at 100007" not in "".join(outputs)
    replayed = call_worker("replay", record)
    assert "divergence" not in replayed.stdout + replayed.stderr, replayed.stdout
    assert call_worker("report", record, "-o", tmp_path / "r.html").returncode == 0


def leaking(secrets: list[str]) -> tuple[str, list[tuple[str, str]]]:
    act = "console.log(text); out.push({ [text]: [text] });"
    throw = "throw Object.assign(new Error(JSON.stringify(out)), { details: out });"
    source = javascript("s0.configuration.keys", act).replace("return {", f"{throw} return {{")
    return source, spellings(secrets)


def assert_no_leak(text: str, spelled: list[tuple[str, str]]) -> None:
    for name, secret in spelled:
        for form in {secret, json.dumps(secret)[1:-1]}:
            assert form not in text, name


@pytest.mark.slow
def test_no_file_and_no_terminal_holds_a_secret(tmp_path: Path) -> None:
    """A job leaks into the terminal, journal, recording, report, JUnit and JSON outputs."""
    secrets = random_secrets(100, 3)
    source, spelled = leaking(secrets)
    plan = to_execution_plan(workflow(job(source, configuration="keys")))
    (tmp_path / "w.json").write_text(json.dumps(plan))
    (tmp_path / "c.json").write_text(json.dumps({"keys": {"keys": secrets, "username": "nurse"}}))
    credentials = ("--credentials", tmp_path / "c.json")
    files = [tmp_path / name for name in ("r.jsonl", "j.jsonl", "o.json")]
    record, journal, output = files
    outputs = ("--record", record, "--journal", journal, "-o", output)
    done = [call_worker("run", tmp_path / "w.json", *credentials, *outputs)]
    done.append(call_worker("run", tmp_path / "w.json", *credentials, "--json"))
    for source_file in (record, journal):
        page = source_file.with_suffix(".html")
        done.append(call_worker("report", source_file, "-o", page))
        files.append(page)
    done.append(call_worker("recording", "show", record))
    done.append(call_worker("replay", record))
    for result in done:
        assert_no_leak(result.stdout + result.stderr, spelled)
    for file in files:
        if file.exists():
            assert_no_leak(file.read_text(), spelled)
    assert record.exists() and journal.exists() and record.with_suffix(".html").exists()


@pytest.mark.slow
async def test_neither_the_database_nor_a_client_of_a_fleet_gets_a_secret(tmp_path: Path) -> None:
    """A job leaks into the events that a fleet stores, forwards to clients and displays."""
    secrets = random_secrets(101, 3)
    source, spelled = leaking(secrets)
    plan = to_execution_plan(workflow(job(source, configuration="keys")))
    database = tmp_path / "fleet.sqlite"
    allowance = Allowance(credentials={"keys": {"keys": secrets, "username": "nurse"}})
    async with worker.local_fleet(store=f"sqlite:///{database}", allowance=allowance) as client:
        order = await client.submit(plan=plan, input={})
        run = await client.wait(order["last_run"])
        events = await client.events(run["run_id"], clips=True)
    assert run["status"] == "failed" and len(events) > 10
    assert_no_leak(json.dumps([run, events], ensure_ascii=False), spelled)
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir()).decode("utf-8", "replace")
    assert_no_leak(content, spelled)


def test_what_an_input_configures_is_a_secret_too() -> None:
    """An input brings a credential of its own; a job copies it, or its dataclip shows it."""
    source = "fn((s) => { console.log(JSON.stringify(s)); return s; });"
    input = {"configuration": {"password": "s3cr3t-of-input"}, "copy": "s3cr3t-of-input"}
    result = worker.run(workflow(job(source)), input)
    check_events(result)
    assert "s3cr3t-of-input" not in everything(result)
