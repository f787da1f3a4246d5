"""Errors and warnings of loading: one clear message for each way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker
from tests.support.workflow_files import edges_of, write_file
from worker.errors import LoadError
from worker.workflow.model import EdgeKind

# --- what is wrong with a file ----------------------------------------------------------------------

WRONG = [
    ("steps: 7", "steps: expected a list, found the number 7"),
    ("steps:\n- id: a\n  expression: [1]", "steps[0].expression: expected text, found a list"),
    ("steps:\n- id: [x]", "steps[0].id: expected text, found a list"),
    (
        "steps:\n- id: a\n  next: {b: 7}",
        "steps[0].next.b: expected a condition, found the number 7",
    ),
    (
        "steps:\n- id: a\n  next: {b: {disabled: 'no'}}",
        "disabled: expected true or false, found the text 'no'",
    ),
    ("steps: []\noptions: {payload: openfnn}", "options.payload: expected 'openfn'"),
    ("steps: []\noptions: {permissive_globals: 'yes'}", "expected true or false"),
    ("hello", "expected a project (workflows)"),
    ("a: 1", "found 'a'"),
    ("", "found nothing"),
    ("a: b: c", ":1:5: not YAML: ': ' within the text of 'a'; write it below 'a: |', or quote it"),
    (
        "jobs:\n  a:\n    body: fn(s => {\n      return {\n        a: 1 }})",
        "w.yaml:5:10: not YAML: ': ' within the text of 'body', which begins in line 3; "
        "write it below 'body: |', or correct the indentation of this line",
    ),
    (
        "- body:\n    fn(s => {\n      let x = { a: 1 }})",
        "': ' within the text of 'body', which begins in line 1",
    ),
    ("name: a\n  body: x", "the text of 'name', which begins in line 1"),
    ("adaptor: @openfn/language-http", "a text cannot begin with '@'; quote it"),
    ("a: [1", "not YAML"),
    ("a: 1\na: 2", "the key 'a' stands here and on line 1"),
    ("a: !!python/object:os.system {}", "not allowed"),
    ("a: !!python/name:os.system x", "not allowed"),
    ("a: *nothing", "names no anchor"),
    ("---\na: 1\n---\nb: 2", "more than one YAML document"),
    ("? [a, b]\n: 1", "a key must be a word"),
    ("jobs: {a: {body: {path: ../../secret.js}}}", "lies outside of the workflow's folder"),
    ("jobs: {a: {body: {path: /etc/passwd.js}}}", "lies outside of the workflow's folder"),
    ("jobs: {a: {body: {path: nowhere.js}}}", "there is no file 'nowhere.js'"),
    ("jobs: {a: {body: x}}\nedges: {e: {source_job: z, target_job: a}}", "there is no job 'z'"),
    ("jobs: {a: {body: x}}\nedges: {e: {target_job: a}}", "expected source_trigger or source_job"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_bad_file_gets_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        worker.load(write_file(tmp_path, text))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "w.yaml"))


def test_an_error_names_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        worker.load(write_file(tmp_path, "steps:\n- id: a\n  next:\n    b: 7\n"))
    assert (caught.value.line, caught.value.column) == (4, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('{"a": 1', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested more than 200 levels"),
    ],
)
def test_a_bad_json_file_gets_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        worker.load(write_file(tmp_path, text, "w.json"))
    assert message in str(caught.value)


def test_a_deeply_nested_file_is_refused(tmp_path: Path) -> None:
    for text in ("a: " + "[" * 100_000, "- " * 5000, "{a: " * 1000):
        with pytest.raises(LoadError, match=r"nested more than|not YAML"):
            worker.load(write_file(tmp_path, text))


def test_a_file_of_aliases_that_explode_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(LoadError, match="more than 2,000,000 values"):
        worker.load(write_file(tmp_path, "\n".join(lines)))


def test_a_file_of_50_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(LoadError, match=r"the file is 50\.0 MB, over the limit of 20 MB"):
        worker.load(huge)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LoadError, match="not UTF-8"):
        worker.load(tmp_path / "w.yaml")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    write_file(tmp_path, "secret", "outside.js")
    (tmp_path / "inside/job.js").symlink_to(tmp_path / "outside.js")
    with pytest.raises(LoadError, match="lies outside"):
        worker.load(write_file(tmp_path / "inside", "jobs: {a: {body: {path: job.js}}}"))


def test_a_dict_names_no_files() -> None:
    with pytest.raises(LoadError, match="did not come from a file"):
        worker.load({"steps": [{"id": "a", "expression": "./job.js"}]})


def test_a_dict_that_contains_itself_is_refused() -> None:
    endless: dict[str, Any] = {"steps": []}
    endless["steps"].append(endless)
    with pytest.raises(LoadError, match="nested more than"):
        worker.load(endless)


def test_unknown_keys_warn_and_suggest() -> None:
    loaded = worker.load({"steps": [{"id": "a", "expression": "x", "adapter": "common"}]})
    assert loaded.warnings[0].path == "steps[0].adapter"
    assert "did you mean 'adaptor'?" in loaded.warnings[0].message


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"steps": [{"id": "a", "body": "x"}]}, "unknown key 'body'; here it is 'expression'"),
        (
            {"steps": [{"id": "a", "expression": "x", "credential": "c"}]},
            "unknown key 'credential'; here it is 'configuration'",
        ),
        ({"jobs": {"a": {"expression": "x"}}}, "unknown key 'expression'; here it is 'body'"),
    ],
)
def test_a_key_of_another_format_warns_with_the_name_that_it_has_here(
    document: dict[str, Any], found: str
) -> None:
    assert worker.load(document).warnings[0].message == found


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    text = "base: &b {adaptor: common}\nsteps:\n- {<<: *b, id: a, expression: fn(s => s)}\n"
    assert worker.load(write_file(tmp_path, text)).steps[0].adaptors == ("common",)


# --- what else a document can have wrong, or nearly so -----------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"workflow": {"name": "x"}}, "workflow.steps: expected a list of steps, found nothing"),
        ({"jobs": "x"}, "jobs: expected a mapping of jobs, or a list, found the text 'x'"),
        ({"jobs": [5], "edges": []}, "jobs[0]: expected a mapping, found the number 5"),
        ({"steps": [{"id": "a", "next": 5}]}, "steps[0].next: expected a step, or a mapping"),
        ({"steps": [{"id": "a", "state": "x"}]}, "state: expected a mapping, or the path of"),
        ({"steps": [{"id": "a", "configuration": []}]}, "configuration: expected a mapping"),
        ({"steps": [{"id": "a", "state": {"x": {1}}}]}, "steps[0].state.x: expected data as in"),
        (
            {"jobs": {"a": {}}, "edges": {"e": {"source_job": "aa", "target_job": "a"}}},
            "edges.e.source_job: there is no job 'aa'; did you mean 'a'?",
        ),
        (
            {
                "jobs": {"a": {}},
                "edges": {
                    "e": {
                        "source_job": "a",
                        "target_job": "a",
                        "condition_type": "on_job_sucess",
                    }
                },
            },
            "found the text 'on_job_sucess'; did you mean 'on_job_success'?",
        ),
    ],
)
def test_a_bad_dict_gets_one_clear_error(document: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError) as caught:
        worker.load(document)
    assert message in str(caught.value)


@pytest.mark.parametrize("source", [5, None, ["steps"], b"w.yaml"])
def test_what_is_no_path_and_no_mapping_is_refused(source: Any) -> None:
    with pytest.raises(LoadError, match="expected a path or a mapping"):
        worker.load(source)


@pytest.mark.parametrize("name", ["a\0.js", "a" * 290 + ".js", "loop.js", "folder.js", "latin.js"])
def test_a_body_that_cannot_be_read_is_an_error_at_the_step(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop.js").symlink_to(tmp_path / "loop.js")
    (tmp_path / "folder.js").mkdir()
    (tmp_path / "latin.js").write_bytes(b"\xe9")
    plan = {"steps": [{"id": "a", "expression": "x"}, {"id": "b", "expression": name}]}
    with pytest.raises(LoadError) as caught:
        worker.load(write_file(tmp_path, json.dumps(plan, indent=1), "w.json"))
    assert (caught.value.path, caught.value.line) == ("steps[1].expression", 9)


def test_an_absolute_path_is_refused_even_inside_the_folder(tmp_path: Path) -> None:
    body = write_file(tmp_path, "fn(s => s)", "job.js")
    with pytest.raises(LoadError, match="lies outside"):
        worker.load(write_file(tmp_path, f"steps: [{{id: a, expression: {body}}}]"))


def test_a_body_may_be_as_large_as_a_file(tmp_path: Path) -> None:
    write_file(tmp_path, "fn(s => s) //" + "x" * (2 * 2**20), "job.js")
    loaded = worker.load(write_file(tmp_path, "steps: [{id: a, expression: job.js}]"))
    assert len(loaded.steps[0].source) > 2 * 2**20
    write_file(tmp_path, "x" * (20 * 2**20 + 1), "job.js")
    with pytest.raises(
        LoadError, match=r"'job\.js': the file is 20\.0 MB, over the limit of 20 MB"
    ):
        worker.load(write_file(tmp_path, "steps: [{id: a, expression: job.js}]"))


def test_a_file_that_many_steps_name_is_held_once(tmp_path: Path) -> None:
    write_file(tmp_path, "fn(state => ({ ...state, long: 'enough' }))", "job.js")
    steps = [{"id": str(n), "expression": "job.js"} for n in range(3)]
    first, *others = worker.load(write_file(tmp_path, json.dumps({"steps": steps}))).steps
    assert all(other.source is first.source for other in others)


def test_a_credential_of_version_3_is_a_name_whatever_it_ends_in() -> None:
    project = {
        "jobs": {"a": {"body": "x", "credential": "me-creds.json"}, "b": {"credential": None}}
    }
    assert [step.configuration for step in worker.load(project).steps] == ["me-creds.json", None]


def test_steps_that_share_an_id_are_all_kept_for_the_plan_to_refuse() -> None:
    run = {"jobs": [{"id": "a"}, {"id": "a"}], "triggers": [{"id": "t"}, {"id": "t"}], "edges": []}
    assert [step.id for step in worker.load(run).steps] == ["t", "t", "a", "a"]


def test_the_last_of_two_edges_holds_in_the_place_of_the_first() -> None:
    """As in OpenFn, which keeps them in an object by target."""
    edges = [{"source_job_id": "a", "target_job_id": to} for to in ("b", "c", "b")]
    edges[2]["condition"] = "on_job_failure"
    run = {"jobs": [{"id": id} for id in "abc"], "edges": edges}
    loaded = edges_of(worker.load(run))
    assert [(edge.target, edge.kind) for edge in loaded] == [
        ("b", EdgeKind.FAILURE),
        ("c", EdgeKind.ALWAYS),
    ]


def test_a_trigger_and_a_job_of_one_name_are_two_steps() -> None:
    project = {
        "triggers": {"a": {"type": "cron"}},
        "jobs": {"a": {"body": "x"}},
        "edges": {"e": {"source_trigger": "a", "target_job": "a"}},
    }
    loaded = worker.load(project)
    assert [step.id for step in loaded.steps] == ["trigger:a", "a"]
    assert loaded.start == "trigger:a" and edges_of(loaded)[0].target == "a"


def test_a_file_of_junk_warns_a_hundred_times_at_most() -> None:
    junk = {f"key{n}": n for n in range(5000)}
    assert len(worker.load({"steps": [{"id": "a", "expression": "x", **junk}]}).warnings) == 100


def test_unknown_keys_of_a_project_warn() -> None:
    loaded = worker.load({"descripton": "x", "workflows": {"a": {"jobs": {}}}})
    assert loaded.warnings[0].message == "unknown key 'descripton'; did you mean 'description'?"


def test_steps_and_edges_of_json_have_places_when_asked_for(tmp_path: Path) -> None:
    text = '{"steps": [\n {"id": "a", "expression": "\\ud83d\\ude00",\n  "next": {"b": true}}]}'
    file = write_file(tmp_path, text, "w.json")
    (step,) = worker.load(file, located=True).steps
    assert (step.position, step.edges[0].position) == ((2, 2), (3, 17))
    assert worker.load(file).steps[0].position == (0, 0)


# Explicit alphabets: Hypothesis takes a second to list all characters in a fresh clone.
WORDS = st.text("ab/.js->@ \n\x00\x1bé😀", max_size=10)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "workflows",
                    "workflow",
                    "steps",
                    "jobs",
                    "edges",
                    "triggers",
                    "id",
                    "next",
                    "body",
                    "expression",
                    "options",
                    "start",
                    "adaptor",
                    "configuration",
                    "type",
                    "a",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    st.dictionaries(
        st.sampled_from(["workflows", "workflow", "steps", "jobs", "edges", "triggers", "options"]),
        JUNK,
        max_size=5,
    )
)
def test_no_document_raises_anything_but_a_load_error(document: dict[str, Any]) -> None:
    with contextlib.suppress(LoadError):
        worker.load(document)


@given(st.text("ab019 \n\t:-?,[]{}#&*!|>'\"%@`<~.\x00é\ufeff", max_size=200))
def test_no_text_raises_anything_but_a_load_error(text: str) -> None:
    from worker.workflow.documents.document import parse_yaml

    with contextlib.suppress(LoadError):
        parse_yaml(text, "x")


def test_half_a_character_in_a_name_is_refused() -> None:
    with pytest.raises(LoadError, match="half of a character"):
        worker.load({"steps": [{"id": "a\ud800", "expression": "x"}]})
