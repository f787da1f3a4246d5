"""What the formats share: job bodies, credentials, conditions and the adaptors of a step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from worker.plan.document import parse_json, read_text
from worker.plan.reader import Node, kind_of
from worker.plan.workflow import Edge, EdgeKind, Language

BODY_LIMIT = 1024 * 1024
_BODY_FILE = re.compile(r"[^\n]{1,300}\.(js|mjs|cjs|py)")
_CONDITIONS = {
    "always": EdgeKind.ALWAYS,
    "never": EdgeKind.NEVER,
    "on_job_success": EdgeKind.SUCCESS,
    "on_job_failure": EdgeKind.FAILURE,
    "on_upstream_success": EdgeKind.SUCCESS,
    "on_upstream_fail": EdgeKind.FAILURE,
}


def body(node: Node) -> tuple[str, str]:
    """A job's source and the file that it came from (empty: inline).

    Written as text, as the path of a file beside the workflow, or as ``{path: ...}``.
    """
    if isinstance(node.value, Mapping):
        path = node.mapping("path").at("path")
        return beside(path, path.text(), BODY_LIMIT), path.text()
    text = node.text("")
    if _BODY_FILE.fullmatch(text.strip()) and not re.search(r"[(){};=]", text):
        return beside(node, text.strip(), BODY_LIMIT), text.strip()
    if len(text) > BODY_LIMIT:
        node.fail(f"the source is over the limit of {BODY_LIMIT // 2**20} MB")
    return text, ""


def beside(node: Node, name: str, limit: int) -> str:
    """The text of a file in the workflow's folder, or below it."""
    folder = node.document.folder
    if folder is None:
        node.fail(f"the file {name!r} cannot be read, as this workflow did not come from a file")
    root = folder.resolve()
    file = (root / name).resolve()
    if not file.is_relative_to(root):
        node.fail(f"the file {name!r} lies outside of the workflow's folder")
    if not file.is_file():
        node.fail(f"there is no file {name!r} beside the workflow")
    return read_text(file, limit)


def data_or_file(node: Node) -> Mapping[str, Any] | str | None:
    """A mapping, a name, or the content of a .json file beside the workflow."""
    if not isinstance(node.value, str):
        return None if node.value is None else node.data()
    if not node.value.endswith(".json"):
        return node.value
    found = parse_json(beside(node, node.value, BODY_LIMIT), node.value)
    if not isinstance(found, dict):
        node.fail(f"expected {node.value!r} to hold an object, found {kind_of(found)}")
    return found


def language_of(source_file: str, adaptors: tuple[str, ...]) -> Language:
    """Python for a file that ends in .py, or the adaptor ``python``."""
    python = any(re.fullmatch(r"python(@.*)?", adaptor) for adaptor in adaptors)
    return Language.PYTHON if source_file.endswith(".py") or python else Language.JAVASCRIPT


def condition(value: Any, node: Node) -> tuple[EdgeKind, str]:
    """An edge's condition: a boolean, one of the known words, or a JavaScript expression."""
    match value:
        case True:
            return EdgeKind.ALWAYS, ""
        case None | False:
            return EdgeKind.NEVER, ""
        case str(text):
            word = text.strip()
            kind = _CONDITIONS.get(word, EdgeKind.EXPRESSION if word else EdgeKind.NEVER)
            return kind, word if kind is EdgeKind.EXPRESSION else ""
        case _:
            node.fail(f"expected a condition, found {kind_of(value)}")


def without_doubles(edges: Iterable[tuple[Edge, Node]]) -> tuple[Edge, ...]:
    """The edges in their order; of two between the same steps the last holds, as on OpenFn."""
    found: dict[str, Edge] = {}
    for edge, node in edges:
        if found.pop(edge.id, None) is not None:
            node.warn(f"a second edge from '{edge.source}' to '{edge.target}' replaces the first")
        found[edge.id] = edge
    return tuple(found.values())
