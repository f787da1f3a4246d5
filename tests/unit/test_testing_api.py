"""The public names of ``worker.testing``: one table, and everything that they mention."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import worker
import worker.testing
from worker.testing import case, pytest_plugin

PUBLIC = {name: getattr(worker.testing, name) for name in worker.testing.__all__}
# Known to whoever writes Python, or public in `worker`.
ELSEWHERE = {"Any", "AsyncIterator", "Callable", "Iterable", "Mapping", "None", "Path", "Sequence"}


def test_the_table_the_list_and_the_imports_for_type_checkers_agree() -> None:
    tree = ast.parse(Path(str(worker.testing.__file__)).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("worker.")
        for alias in node.names
    }
    assert imported == set(worker.testing._MODULES) == set(worker.testing.__all__)
    assert sorted(worker.testing.__all__) == worker.testing.__all__
    assert set(worker.testing.__all__) <= set(dir(worker.testing))


def test_no_module_takes_the_place_of_a_public_name() -> None:
    """Importing a submodule sets its name in the package, whatever stood there before."""
    modules = {file.stem for file in Path(str(worker.testing.__file__)).parent.glob("*.py")}
    assert not modules & set(worker.testing.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"worker\.testing.* has no attribute 'nope'"):
        worker.testing.nope  # noqa: B018


def signatures(value: Any) -> Iterator[str]:
    """The annotations of a function, or of the fields and public methods of a class."""
    if inspect.isfunction(value):
        yield from map(str, inspect.get_annotations(value).values())
    elif inspect.isclass(value) and value.__module__.startswith("worker."):
        yield from map(str, inspect.get_annotations(value).values())
        for name, member in vars(value).items():
            function = member.fget if isinstance(member, property) else member
            if not name.startswith("_") and inspect.isfunction(function):
                yield from signatures(function)


OWN = [name for name, value in PUBLIC.items() if value.__module__.startswith("worker.testing")]


@pytest.mark.parametrize("name", OWN)
def test_what_a_public_signature_or_docstring_mentions_is_public(name: str) -> None:
    known = {*worker.testing.__all__, *worker.__all__, *ELSEWHERE}
    mentioned = set(re.findall(r"\b[A-Z]\w+", " ".join(signatures(PUBLIC[name]))))
    assert mentioned <= known, mentioned - known
    text = " ".join(
        inspect.getdoc(value) or "" for value in (PUBLIC[name], *_members(PUBLIC[name]))
    )
    referred = set(re.findall(r":(?:class|exc):`(?:[\w.]*\.)?(\w+)`", text))
    assert referred <= known, referred - known


def _members(value: Any) -> list[Any]:
    return (
        [one for key, one in vars(value).items() if key[:1] != "_"]
        if inspect.isclass(value)
        else []
    )


def test_the_plugin_loads_nothing_of_the_worker_until_it_needs_it() -> None:
    assert pytest_plugin.SUFFIXES == case.SUFFIXES
    script = "import sys, worker.testing.pytest_plugin as p; print(*[m for m in sys.modules if m.startswith('worker.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50
    )
    assert set(done.stdout.split()) <= {
        "worker.version",
        "worker.testing",
        "worker.testing.pytest_plugin",
    }
