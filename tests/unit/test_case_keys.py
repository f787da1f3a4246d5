"""Old spellings of keys in case files: they work, name the new one, and are hidden."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.test_scenarios import suite
from worker.errors import LoadError
from worker.testing import load_cases, run_case, update_cases
from worker.testing.case_keys import ALIASES
from worker.testing.json_schema import case_schema
from worker.version import REMOVED_IN, VERSION

# A value for each key that has an old spelling; a row without one fails here.
VALUES: dict[tuple[str, str], Any] = {
    ("case", "start_at"): "a",
    ("case", "stop_after"): "a",
    ("retry", "start_at"): "ok",
    ("expect", "not_taken"): ["a->bad"],
}
ROWS = [(section, old, new) for section, keys in ALIASES.items() for old, new in keys.items()]


def case_with(section: str, key: str, value: Any) -> dict[str, Any]:
    match section:
        case "case":
            return {key: value, "expect": {}}
        case "retry":
            return {"retry": {"times": 1, key: value}, "expect": {}}
        case _:
            return {"expect": {"runs": [{key: value}], key: value}}


def read(file: Path) -> tuple[list[Any], list[str]]:
    lines: list[str] = []
    return load_cases(file, notify=lines.append), lines


@pytest.mark.parametrize(("section", "old", "new"), ROWS)
def test_an_old_spelling_means_the_new_one_and_names_it(
    section: str, old: str, new: str, tmp_path: Path
) -> None:
    value = VALUES[section, new]
    file = suite(tmp_path, *[case_with(section, old, value)] * 2)
    by_old, lines = read(file)
    suite(tmp_path, *[case_with(section, new, value)] * 2)
    by_new, none = read(file)
    assert by_old == by_new and none == []
    # One line for a file, however often it has the old spelling.
    (line,) = lines
    assert line.startswith(f"{file}:") and f"'{old}' is now '{new}'" in line and REMOVED_IN in line
    written = yaml.safe_dump(case_with(section, old, value)).splitlines()
    assert any(f"{old}:" in text for text in written)
    number = int(line.removeprefix(f"{file}:").partition(":")[0])
    suite(tmp_path, *[case_with(section, old, value)] * 2)
    assert f"{old}:" in "".join(file.read_text().splitlines()[number - 2 : number])


@pytest.mark.parametrize(("old", "new"), ALIASES["case"].items())
def test_defaults_know_the_old_spellings_of_a_case(old: str, new: str, tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {}}, {new: "ok", "expect": {}}, defaults={old: "a"})
    (first, second), lines = read(file)
    assert (getattr(first, new), getattr(second, new)) == ("a", "ok") and len(lines) == 1


@pytest.mark.parametrize(("section", "old", "new"), ROWS)
def test_both_spellings_at_once_are_an_error(
    section: str, old: str, new: str, tmp_path: Path
) -> None:
    value = VALUES[section, new]
    case = case_with(section, old, value)
    for mapping in (case, case.get("retry"), case["expect"]):
        if isinstance(mapping, dict) and old in mapping:
            mapping[new] = value
    with pytest.raises(LoadError, match=f"expected '{new}' alone, found its old name '{old}'"):
        load_cases(suite(tmp_path, case))


def test_the_schema_and_suggestions_know_the_new_spellings_alone(tmp_path: Path) -> None:
    definitions = case_schema()["$defs"]
    for section, old, new in ROWS:
        names = definitions[section]["properties"].keys()
        assert new in names and old not in names
        assert old not in definitions["run" if section == "expect" else "defaults"]["properties"]
    with pytest.raises(LoadError) as caught:
        load_cases(suite(tmp_path, {"expect": {"refuse": ["a->ok"]}}))
    assert "unknown key 'refuse'" in str(caught.value) and "refused" not in str(caught.value)


def test_the_old_spellings_go_with_the_version_that_is_named() -> None:
    assert tuple(map(int, VERSION.split("."))) < tuple(map(int, REMOVED_IN.split(".")))


def test_without_a_receiver_the_line_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = suite(tmp_path, {"expect": {"refused": ["a->bad"]}})
    load_cases(file)
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"warning: {file}:")
    assert printed.err.count("\n") == 1 and "'not_taken'" in printed.err


@pytest.mark.slow
def test_pytest_shows_the_line_and_is_green_where_warnings_are_errors(tmp_path: Path) -> None:
    suite(tmp_path, {"expect": {"refused": ["a->bad"]}})
    line = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*line, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0 and "1 passed, 1 warning" in done.stdout, done.stdout
    assert "'refused' is now 'not_taken'" in done.stdout


def test_an_update_keeps_the_spelling_of_the_file(tmp_path: Path) -> None:
    source = suite(tmp_path, {"expect": {"refused": ["a->ok", "a->bad"]}})
    file = tmp_path / "w.cases.json"
    file.write_text(json.dumps(yaml.safe_load(source.read_text())))
    (case,), _ = read(file)
    assert update_cases(file, [run_case(case)]) == ["case 0"]
    assert json.loads(file.read_text())["cases"][0]["expect"] == {"refused": ["a->bad"]}


@pytest.mark.parametrize("key", ["case", "Cases", "casess", "test_cases"])
def test_a_key_like_cases_is_named_with_its_place(key: str, tmp_path: Path) -> None:
    file = tmp_path / "w.cases.yaml"
    file.write_text(f"workflow: w.yaml\n{key}:\n- name: x\n")
    with pytest.raises(LoadError, match=f":3:1: {key}: unknown key '{key}'; did you mean 'cases'"):
        load_cases(file)
