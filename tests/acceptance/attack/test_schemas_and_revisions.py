"""Attacks by the files that ``worker fuzz`` and ``worker diff`` read: schemas, samples, revisions."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from worker.cli.diff_sources import Versions
from worker.errors import UsageError
from worker.fuzzing import from_schema
from worker.fuzzing.from_schema import draw_samples
from worker.fuzzing.text_formats import TextFormat, format_of
from worker.workflow.model import Workflow

pytest.importorskip("jsonschema")

SELF: dict[str, Any] = {"$ref": "#"}
DOUBLED = {
    f"d{number}": {"allOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(40)
}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


WIDE = {"properties": {f"p{number}": SELF for number in range(12)}, "required": ["p0"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (SELF, "contains itself"),
        ({"allOf": [SELF]}, "contains itself"),
        ({"anyOf": [SELF, {"type": "object"}]}, ""),
        ({"not": {"$ref": "#"}}, "contains itself"),
        ({"if": {"then": {"oneOf": [True, {"else": SELF}]}}}, "contains itself"),
        ({"properties": {"a": {"dependentSchemas": {"b": {"$dynamicRef": "#/properties/a"}}}}},
         "contains itself"),
        ({"properties": {"a": {"$ref": "#/$defs/x"}},
          "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"allOf": [{}, {"$ref": "#/$defs/x"}]}}},
         "contains itself"),
        (nested(150), "nests too deep"),
        ({"allOf": [{"$ref": "#/$defs/d0"}], "$defs": {**DOUBLED, "d40": {}}}, "too many parts"),
        (WIDE, "too many parts"),
        ({"properties": {"n": {"type": "integer", "minimum": 1e400}}}, ""),
        ({"properties": {"n": {"type": "integer", "minimum": 1e308, "maximum": 2e308}}}, ""),
        ({"properties": {"a": {"type": "array", "minItems": 10**12}}, "required": ["a"]}, "no input"),
        ({"properties": {"a": {"minLength": 10**12, "type": "string"}}, "required": ["a"]}, "no inp"),
        ({"properties": {"a": {"pattern": "(", "type": "string"}}, "required": ["a"]}, "no input"),
        ({"properties": {"a": {"enum": []}}, "required": ["a"]}, "no input"),
        ({"properties": {"a": {"$ref": "#/nothing"}}}, "no #/nothing in it"),
    ],
)  # fmt: skip
def test_a_schema_that_never_ends_is_an_error(schema: dict[str, Any], message: str) -> None:
    """References to itself, exponential ones, and numbers beyond all memory."""
    try:
        assert len(draw_samples(schema, 3, 1)) <= 3
    except UsageError as error:
        assert message in str(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"next": {"anyOf": [SELF, {"type": "null"}]}}},
        {"properties": {"a": {"const": {"$ref": "#/$defs/nothing"}}}},
        {
            "allOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}],
            "$defs": {"x": {"type": "object"}},
        },
    ],
)
def test_a_schema_whose_parts_refer_to_the_whole_has_samples(schema: dict[str, Any]) -> None:
    assert draw_samples(schema, 3, 1)


def test_a_panic_of_a_library_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema on which the library in Rust panics, as its comparison meets the stack's end."""
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def applies_itself(*_: object) -> bool:
        raise panic

    monkeypatch.setattr(from_schema, "applies_itself", applies_itself)
    with pytest.raises(UsageError, match="nests too deep"):
        draw_samples({"type": "object"}, 3, 1)


@pytest.mark.timeout(60)
# The first end of the time may meet a finalizer, which loses it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pattern_that_backtracks_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text for one pattern is searched with another one, in exponential time."""
    monkeypatch.setattr(from_schema, "TIME_LIMIT_S", 0.3)
    texts = {"type": "string", "pattern": "^a{40}b$", "not": {"pattern": "^(a|aa|aaa)+$"}}
    schema = {"type": "object", "properties": {"a": texts}, "required": ["a"]}
    began = time.monotonic()
    with pytest.raises(UsageError, match="slow pattern"):
        draw_samples(schema, 5, 1)
    assert time.monotonic() - began < 20


class Recorder(http.server.BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.mark.slow
def test_a_schema_fetches_nothing(tmp_path: Path) -> None:
    """References to an address of the cloud, and to a file of this machine."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"type": "object"}')
    server = http.server.HTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for url in (f"http://127.0.0.1:{server.server_port}/latest/meta-data", secret.as_uri()):
            for hidden in (
                {"not": {"$ref": url}},
                {"if": {"$ref": url}},
                {"contains": {"$ref": url}},
            ):
                schema = {"type": "object", "properties": {"a": hidden}, "required": ["a"]}
                with contextlib.suppress(UsageError):
                    draw_samples({**schema, "allOf": [hidden]}, 3, 1)
    finally:
        server.shutdown()
        server.server_close()
    assert Recorder.requests == []


@pytest.mark.parametrize(
    "text", ["a@" + "." * 200_000 + " ", "1" * 200_000 + "x", "http://" + "x" * 200_000 + " "]
)
def test_the_format_of_a_long_text_is_found_at_once(text: str) -> None:
    """A sample that takes minutes: its pattern is tried at each of its characters."""
    began = time.process_time()
    assert format_of(text) is TextFormat.PLAIN
    assert time.process_time() - began < 5


# --- revisions ------------------------------------------------------------------------------------

WORKFLOW = {"workflow": {"name": "w", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}


def load_version(source: str) -> Workflow:
    no_fleet: Any = None
    return Versions(workflow=None, connection=no_fleet, project="default").load(source)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", ".")
    (folder / "w.json").write_text(json.dumps(WORKFLOW))
    (folder / "passwords").symlink_to("/etc/passwd")
    (folder / "outside.json").symlink_to("../../../../../../../etc/hostname")
    (tmp_path / "secret.json").write_text(json.dumps(WORKFLOW))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "x")
    monkeypatch.chdir(folder)
    return folder


def test_links_of_a_revision_lead_nowhere(repository: Path) -> None:
    """A link to a file of this machine beside the workflow, and one as the workflow."""
    assert load_version("HEAD:w.json").name == "w"
    for name in ("passwords", "outside.json"):
        with pytest.raises(UsageError, match="there is no file"):
            load_version(f"HEAD:{name}")


@pytest.mark.parametrize(
    "source",
    [
        "--output=stolen:w.json",
        "--remote=.:w.json",
        "--exec=touch stolen:w.json",
        "-o:w.json",
        "HEAD:/etc/passwd",
        "HEAD:../secret.json",
        "HEAD:../../../../etc/passwd",
        "HEAD::(top)w.json",
        "HEAD;touch stolen:w.json",
        "$(touch stolen):w.json",
        "HEAD --output=stolen:w.json",
        "@{upstream}:w.json",
    ],
)
def test_a_revision_is_no_option_and_no_path_outside(repository: Path, source: str) -> None:
    """What a script passes on from somebody else: options of git, shells, and paths."""
    with pytest.raises(UsageError):
        load_version(source)
    assert not (repository / "stolen").exists()


def test_a_folder_that_looks_like_a_repository_executes_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout contains a bare repository, whose settings name commands."""
    inner = repository / "inner"
    git(repository, "clone", "-q", "--bare", ".", "inner")
    command = f"touch {repository / 'executed'}"
    git(inner, "config", "filter.x.smudge", command)
    git(inner, "config", "core.fsmonitor", command)
    git(inner, "config", "alias.archive", f"!{command}")
    (inner / "info").mkdir(exist_ok=True)
    (inner / "info" / "attributes").write_text("* filter=x\n")
    # As its own top it would be found by git in this folder.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(repository))
    monkeypatch.chdir(inner)
    with pytest.raises(UsageError, match="git"):
        load_version("HEAD:w.json")
    assert not (repository / "executed").exists()
