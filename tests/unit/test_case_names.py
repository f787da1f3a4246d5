"""Names of cases identify them in reports: two of one name in a file are a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import LoadError
from worker.testing import load_cases

WORKFLOW = "steps: [{id: a, expression: ''}]\n"


def _load(folder: Path, cases: str) -> list[str]:
    (folder / "w.yaml").write_text(WORKFLOW)
    file = folder / "w.cases.yaml"
    file.write_text(f"workflow: w.yaml\ncases:\n{cases}")
    return [case.name for case in load_cases(file)]


def test_two_cases_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    case = "  - {name: same, expect: {}}\n"
    other = "  - {name: other, expect: {}}\n"
    with pytest.raises(LoadError, match="'same': the case in line 3 has this name too") as caught:
        _load(tmp_path, case + other + case)
    assert (caught.value.line, caught.value.column) == (5, 12)


def test_a_matrix_that_makes_one_name_twice_is_refused(tmp_path: Path) -> None:
    case = """\
  - name: %s
    matrix: {a: [1], b: [2, 3]}
    input: {a: "${a}", b: "${b}"}
    expect: {}
"""
    assert _load(tmp_path, case % "plain") == ["plain [1, 2]", "plain [1, 3]"]
    with pytest.raises(LoadError, match="its matrix makes two cases of this name"):
        _load(tmp_path, case % "with ${a}")
