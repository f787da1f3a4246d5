"""NUL, halves of characters and non-characters: every file that is written can be read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worker
from tests.support.command import call_worker
from worker.cli.files import write_state
from worker.cli.test import write_junit
from worker.lint.findings import Finding
from worker.lint.output import FORMATS, uri_reference
from worker.lint.rules import RULES
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import CaseResult
from worker.testing.case_text import dump_cases
from worker.testing.update import update_cases
from worker.view.graph.drawing import draw
from worker.view.graph.formats import render
from worker.workflow.documents.document import parse_json, parse_yaml

DATA = Path(__file__).parents[1] / "data"
ODD = [
    "\x00",
    "\x07",
    "\x1b",
    "\r",
    "\n",
    "\x85",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\ufffe",
    "\uffff",
    "\ufdd0",
    "\U0001fffe",
    "�",
    "�",
    "]]>",
    "<a>",
    "&amp;",
    "\\ud83d",
    "'",
    '"',
    ":",
    "#",
    "😀",
    "é",
    "--",
    "%0A",
]
# Texts that a reader of YAML could take for numbers, words, dates or merge keys.
NUMBERS = [
    "0E0",
    "1e5",
    "-.5",
    "+7",
    "0o17",
    "0x1F",
    "1_000",
    "12:30",
    "2026-01-01",
    ".inf",
    ".NaN",
]
WORDS = ["", "~", "Null", "True", "yes", "on", "<<", "=", "-", "?", "9" * 30]
TEXTS = st.lists(st.sampled_from([*ODD, " "]), max_size=8).map("".join) | st.text(
    st.characters(codec=None), max_size=12
)
TEXTS |= st.sampled_from(NUMBERS + WORDS) | st.from_regex(
    r"[-+.]?[0-9_]+[.:eExo]?[-+0-9a-f]*", fullmatch=True
)
STATES = st.recursive(
    TEXTS | st.none() | st.integers(-9, 9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=5,
)
few = settings(max_examples=25, deadline=None)


def joined(value: Any) -> Any:
    """The value with the halves of each character joined, as JSON's own escapes are."""
    return json.loads(json.dumps(value))


def schema(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((DATA / name).read_text()))


def as_tree(element: ElementTree.Element) -> dict[str, Any]:
    return {
        "tag": element.tag,
        "attributes": dict(element.attrib),
        "children": [as_tree(child) for child in element],
        "text": element.text or "",
    }


@few
@given(STATES)
def test_case_files_hold_any_state(state: Any) -> None:
    content = {"cases": [joined(state)]}
    text = dump_cases(Path("a.cases.yaml"), content)
    assert parse_yaml(text, "a")[0] == content
    assert parse_json(dump_cases(Path("a.cases.json"), content), "a") == content
    text.encode()


@few
@given(STATES)
def test_states_that_are_written_are_json(tmp_path_factory: Any, state: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "state.json"
    write_state(str(file), {"data": joined(state)})
    assert parse_json(file.read_text("utf-8"), "a") == {"data": joined(state)}


@pytest.mark.slow
@few
@given(TEXTS, TEXTS)
def test_findings_are_valid_sarif_json_and_commands(text: str, name: str) -> None:
    file = f"{name.replace(chr(0), '')}.yaml".encode(errors="replace").decode()
    findings = [
        Finding(rule=rule, message=text or "-", file=file, line=line, column=line)
        for line, rule in enumerate(RULES)
    ]
    schema("sarif.schema.json").validate(json.loads("\n".join(FORMATS["sarif"](findings))))
    for format in FORMATS:
        "\n".join(FORMATS[format](findings)).encode()
    assert all(line.count("\n") == 0 for line in FORMATS["github"](findings))


@pytest.mark.parametrize(
    ("file", "reference"),
    [
        ("my workflow.json", "my%20workflow.json"),
        ("a:b.yaml", "a%3Ab.yaml"),
        ("../é.yaml", "../%C3%A9.yaml"),
        ("./a.json", "a.json"),
        ("/nowhere/a b.json", "file:///nowhere/a%20b.json"),
        ("a\udcff.json", "a%FF.json"),
    ],
)
def test_a_path_is_a_uri_reference(file: str, reference: str) -> None:
    assert uri_reference(file) == reference
    assert uri_reference(str(Path.cwd() / "a" / "b c.json")) == "a/b%20c.json"


# --- JUnit ----------------------------------------------------------------------------------------

CASES = {"workflow": "w.json", "cases": [{"name": "n", "expect": {"status": "failed"}}]}
WORKFLOW = {"workflow": {"name": "w", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> CaseResult:
    folder = tmp_path_factory.mktemp("junit")
    (folder / "w.json").write_text(json.dumps(WORKFLOW))
    (folder / "c.cases.json").write_text(json.dumps(CASES))
    (case,) = load_cases(folder / "c.cases.json")
    return CaseResult(case=case, results=(), mismatches=("differs",), seconds=0.5)


@few
@given(TEXTS, TEXTS)
def test_junit_is_xml_that_jenkins_reads(
    tmp_path_factory: Any, result: CaseResult, name: str, mismatch: str
) -> None:
    case = replace(result.case, name=name or "-", file=name or "-")
    file = tmp_path_factory.getbasetemp() / "junit.xml"
    write_junit(file, [result, replace(result, case=case, mismatches=(mismatch,))])
    tree = as_tree(ElementTree.parse(file).getroot())
    schema("junit.schema.json").validate(tree)
    assert tree["attributes"]["failures"] == "2"


# --- whole commands -------------------------------------------------------------------------------

JOB = (
    "fn(s => { console.log('l\\ud83d'); s.data = { 'k\\ud83d': 'a\\0\\ud83d\\uffff' }; return s; })"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    step = {"id": "a", "name": "n\uffff", "adaptor": "@openfn/language-common", "expression": JOB}
    (tmp_path / "w.json").write_text(json.dumps({"workflow": {"name": "w\ufffe", "steps": [step]}}))
    return tmp_path


@pytest.mark.slow
def test_a_run_and_its_case_keep_odd_characters(folder: Path) -> None:
    done = call_worker("run", "w.json", "-o", "out.json", "--record", "rec", cwd=folder)
    assert done.returncode == 0, done.stderr
    state = parse_json((folder / "out.json").read_text("utf-8"), "out.json")
    assert state == {"data": {"k\ud83d": "a\0\ud83d\uffff"}}
    for case in ("m.cases.yaml", "n.cases.json"):
        written = call_worker("replay", "rec", "--write-case", case, cwd=folder)
        assert written.returncode == 0, written.stderr
        done = call_worker("test", case, cwd=folder)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.slow
@few
@given(TEXTS)
def test_drawings_are_xml_whatever_names_hold(name: str) -> None:
    whole = name.encode("utf-8", "replace").decode()
    steps = [
        {"id": whole or "a", "name": whole, "expression": "x", "next": {"b": {"label": whole}}}
    ]
    workflow = worker.load({"name": whole, "steps": [*steps, {"id": "b", "expression": "x"}]})
    ElementTree.fromstring(render(draw(workflow), "svg"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u.cases.yaml", "u.cases.json"])
def test_an_update_keeps_the_file_readable(folder: Path, name: str) -> None:
    expect = {"status": "failed", "state_exact": {}, "logs": ["l"]}
    content = {"workflow": "w.json", "cases": [{"name": "c", "expect": expect}]}
    (folder / name).write_text(dump_cases(folder / name, content))
    assert call_worker("test", name, "--update", cwd=folder).returncode == 0
    done = call_worker("test", name, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert update_cases(folder / name, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("character", ["\\u0000", "\\ud83d"])
@pytest.mark.parametrize("place", ["source", "id", "name", "condition", "target", "state"])
def test_odd_characters_in_a_workflow_are_errors_with_a_place(
    tmp_path: Path, character: str, place: str
) -> None:
    step = {"id": "a", "name": "n", "expression": "fn(s => s)", "state": {"x": 1}}
    next: dict[str, Any] = {"b": "state.data"}
    match place:
        case "source":
            step["expression"] = f"fn(s => s) // {character}"
        case "condition":
            next = {"b": f"state.data == {character}"}
        case "target":
            next = {f"b{character}": True}
        case "state":
            step["state"] = {"x": character, character: 1}
        case _:
            step[place] = f"a{character}"
    steps = [{**step, "next": next}, {"id": "b", "expression": "fn(s => s)"}]
    text = json.dumps({"workflow": {"name": "w", "steps": steps}}).replace("\\\\u", "\\u")
    (tmp_path / "w.json").write_text(text)
    for command in (("validate",), ("lint",), ("graph",), ("run", "--quiet"), ("explore",)):
        done = call_worker(command[0], "w.json", *command[1:], cwd=tmp_path)
        assert "defect" not in done.stderr and done.returncode in (0, 1, 2, 3), done.stderr
