"""Entries by execution of a step: all of them can be used, or the file has a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import LoadError
from worker.testing import load_cases

CASES = """workflow: w.yaml
cases:
  - name: one
    {expect}
    steps:
      a:
{entries}
"""
WORKFLOW = "name: w\nsteps: [{id: a, adaptor: common, expression: fn(s => s);}]\n"


def write(folder: Path, *keys: str, expect: str = "expect: {}") -> Path:
    (folder / "w.yaml").write_text(WORKFLOW, "utf-8")
    entries = "\n".join(f'        "{key}": {{}}' for key in keys)
    file = folder / "w.cases.yaml"
    file.write_text(CASES.format(expect=expect, entries=entries), "utf-8")
    return file


@pytest.mark.parametrize(
    ("keys", "hidden", "message"),
    [
        (("*", "0"), 1, "'0' is never used, as '*' before it has all its executions: write '0' first"),
        (("0-3", "1-2"), 1, "'1-2' is never used, as '0-3' before it"),
        (("0", "00"), 1, "'00' is never used, as '0' before it"),
        (("2", "0", "1", "0-2"), 3, "'0-2' is never used, as '0' and '1' and '2' before it"),
        (("2-1",), 0, "'2-1' has no execution: write '1-2'"),
    ],
)  # fmt: skip
def test_an_entry_that_is_never_used_is_a_mistake(
    tmp_path: Path, keys: tuple[str, ...], hidden: int, message: str
) -> None:
    file = write(tmp_path, *keys)
    with pytest.raises(LoadError) as caught:
        load_cases(file)
    assert message in caught.value.message
    assert caught.value.line == 7 + hidden


@pytest.mark.parametrize("keys", [("0", "*"), ("0-1", "1-2", "*"), ("1", "3", "0-3"), ("5", "4")])
def test_an_entry_with_an_execution_of_its_own_is_used(
    tmp_path: Path, keys: tuple[str, ...]
) -> None:
    (case,) = load_cases(write(tmp_path, *keys))
    assert len(case.script["a"]) == len(keys)


def test_expected_outputs_all_count(tmp_path: Path) -> None:
    expect = "expect: {outputs: {a: {'*': {}, '0': {}}}}"
    (case,) = load_cases(write(tmp_path, "*", expect=expect))
    assert len(case.expect.outputs) == 2
    file = write(tmp_path, "*", expect="expect: {outputs: {a: {'2-1': {}}}}")
    # It would check nothing.
    with pytest.raises(LoadError, match="'2-1' has no execution"):
        load_cases(file)
