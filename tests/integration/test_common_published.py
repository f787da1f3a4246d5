"""The built-in common beside @openfn/language-common 3.3.4, over generated calls."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.common_calls import (
    NAMES,
    RECORDED,
    VERSION,
    Call,
    generate,
    outcomes_here,
    outcomes_published,
)
from tests.support.helpers import run_job


def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]


def test_generated_calls_end_as_the_recorded_ones_of_the_published_common() -> None:
    lines = recorded()
    assert len(lines) >= 300
    here = outcomes_here([Call(line["code"], line["state"]) for line in lines])
    differing = [
        (line["code"], line["outcome"], outcome)
        for line, outcome in zip(lines, here, strict=True)
        if line["outcome"] != outcome
    ]
    assert differing == []


def test_each_name_of_the_published_common_is_called_or_refused() -> None:
    called = " ".join(line["code"] for line in recorded())
    refused = {"http", "parseCsv", "validate"}
    assert [name for name in NAMES if f"{name}(" not in called and f"{name}." not in called] == sorted(refused)  # fmt: skip


def test_the_built_in_common_exports_the_published_names() -> None:
    source = "import * as common from '@openfn/language-common';\nfn(() => ({ names: Object.keys(common).sort(), dates: Object.keys(dateFns).sort() }));"
    state = run_job(source).final_state
    assert state["names"] == sorted((*NAMES, "default"))
    assert state["dates"] == ["format", "parse"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("parseCsv('a,b')", "parseCsv()"),
        ("validate({}, $.data)", "validate()"),
        ("http.get('https://example.org')", "http.get()"),
        ("fn(state => http.post('https://example.org', {})(state))", "http.post()"),
        ("fn(() => util.request('GET', 'https://example.org'))", "util.request()"),
    ],
)
def test_a_function_that_the_built_in_common_lacks_is_refused_by_name(
    source: str, name: str
) -> None:
    result = run_job(source)
    assert (result.status, result.error_type) == ("exception", "AdaptorError")
    assert f"{name} is not in the built-in common" in str(result.error_message)
    assert "worker adaptors install @openfn/language-common" in str(result.error_message)


@pytest.mark.npm
@pytest.mark.slow
def test_generated_calls_end_as_in_the_published_common(tmp_path: Path) -> None:
    package = f"@openfn/language-common@{VERSION}"
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", package], cwd=tmp_path, check=True)
    calls = generate()
    published = outcomes_published(calls, tmp_path)
    assert published == outcomes_here(calls)
    # The everyday test reads the same calls and outcomes from a file.
    assert [line["outcome"] for line in recorded()] == published
