"""The public names: one table for each package, and everything that they mention."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import worker
import worker.testing

ROOT = Path(__file__).parents[2]
PACKAGES = (worker, worker.testing)
PUBLIC = {
    name: getattr(package, name)
    for package in PACKAGES
    for name in package.__all__
    if not name.startswith("__")
}
# `connect` and `local_fleet` create clients: the bus and the topics of one are private.
PRIVATE_CONSTRUCTORS = {worker.Client}
# Attributes that msgspec and enum add to each class.
ADDED = re.compile(r"^_|^(denominator|numerator|imag|real|name|value)$")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_table_list_and_imports_for_type_checkers_agree(package: Any) -> None:
    names = {name for name in package.__all__ if name != "__version__"}
    assert set(imports_for_type_checkers(package)) == set(package._MODULES) == names
    assert imports_for_type_checkers(package) == package._MODULES
    assert list(package.__all__) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package))


@functools.cache
def imports_for_type_checkers(module: ModuleType) -> dict[str, str]:
    """Return the names that a module imports from ours, each with its module."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("worker")
        and (node.module not in ("worker.util.lazy_exports", "worker.version"))
        for alias in node.names
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_no_module_takes_the_place_of_a_public_name(package: Any) -> None:
    """An import of a submodule sets its name in the package, whatever stood there before."""
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package.__all__)


def test_connect_is_a_function_whatever_was_imported_before() -> None:
    script = "import worker.fleet.connect, worker; print(type(worker.connect).__name__)"
    assert run_python(script) == ["function"]


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    script = "import sys, worker; print(*[m for m in sys.modules if m.split('.')[0] == 'worker'])"
    cheap = {"worker", "worker.util", "worker.util.lazy_exports", "worker.version"}
    assert set(run_python(script)) == cheap


def run_python(script: str) -> list[str]:
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, timeout=50, check=True)
    return done.stdout.split()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'worker' has no attribute 'nope'"):
        worker.nope  # noqa: B018


# --- what public names mention --------------------------------------------------------------------


def members(value: Any) -> Iterator[Any]:
    """Yield a public function, or a class with its public methods and properties."""
    yield value
    if not inspect.isclass(value):
        return
    for name, member in vars(value).items():
        constructs = name == "__init__" and value not in PRIVATE_CONSTRUCTORS
        if constructs or not ADDED.match(name):
            if isinstance(member, property):
                yield member.fget
            elif isinstance(member, classmethod | staticmethod):
                yield member.__func__
            elif inspect.isfunction(member):
                yield member


def mentioned_classes(value: Any) -> Iterator[type]:
    """Yield our classes in the annotations of a function or class, and its bases."""
    if inspect.isclass(value):
        # A base without fields is of no use to anybody.
        yield from (base for base in value.__bases__ if is_ours(base) and fields_of(base))
        annotations = {name: inspect.get_annotations(value)[name] for name in fields_of(value)}
    else:
        annotations = inspect.get_annotations(value)
    module = sys.modules[value.__module__]
    for annotation in annotations.values():
        for expression in re.findall(r"[A-Za-z_][\w.]*", str(annotation)):
            yield from classes_in(resolve(expression, module, value))


def fields_of(value: type) -> list[str]:
    return [name for name in inspect.get_annotations(value) if not name.startswith("_")]


def resolve(expression: str, module: ModuleType, owner: Any) -> Any:
    """Return what a dotted name stands for in a module, or in its imports for type checkers."""
    first, *rest = expression.split(".")
    if hasattr(module, first):
        value = getattr(module, first)
    elif first in (imported := imports_for_type_checkers(module)):
        value = getattr(importlib.import_module(imported[first]), first)
    else:
        return None
    for name in rest:
        value = getattr(value, name)
    return value


def classes_in(value: Any) -> Iterator[type]:
    """Yield our classes in a class or a type alias."""
    if inspect.isclass(value) and is_ours(value):
        yield value
    for argument in typing.get_args(value):
        yield from classes_in(argument)


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("worker.")


def callables() -> list[str]:
    return [name for name, value in PUBLIC.items() if callable(value) and is_ours(value)]


@pytest.mark.parametrize("name", callables())
def test_every_class_in_a_public_signature_is_public(name: str) -> None:
    public = {value for value in PUBLIC.values() if inspect.isclass(value)}
    for member in members(PUBLIC[name]):
        private = {cls.__qualname__ for cls in mentioned_classes(member) if cls not in public}
        assert not private, f"{member.__qualname__} mentions {private}"


@pytest.mark.parametrize("name", callables())
def test_a_public_docstring_mentions_public_names_alone(name: str) -> None:
    for member in members(PUBLIC[name]):
        text = inspect.getdoc(member) or ""
        roles = set(re.findall(r":(?:class|exc|func|data):`~?([\w.]+)`", text))
        assert roles <= set(PUBLIC), f"{member.__qualname__}: {roles - set(PUBLIC)}"
        assert not re.search(r"worker\.(?!testing\b)[a-z]+\.\w", text), member.__qualname__


# --- private packages, and the documents ----------------------------------------------------------


def test_every_other_package_calls_itself_private() -> None:
    packages = {
        module.name
        for module in pkgutil.walk_packages(worker.__path__, "worker.")
        if module.ispkg and module.name != "worker.testing"
    }
    for name in packages:
        assert "\n\nPrivate: " in (importlib.import_module(name).__doc__ or ""), name


# The text that explains the code names its modules; who contributes reads it.
FOR_CONTRIBUTORS = {"architecture.md"}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.name not in FOR_CONTRIBUTORS], ids=lambda p: p.stem
)
def test_a_document_names_public_names_alone(path: Path) -> None:
    text = path.read_text()
    names = set(re.findall(r"\bworker\.testing\.(\w+)", text))
    names |= set(re.findall(r"\bworker\.(?!testing\b)([A-Za-z_]\w*)(?!\.\w)(?![\w@/])", text))
    files = {"yaml", "toml", "db", "py", "md", "example"}
    # The stand-in for Lightning is a module of its own: it needs an extra.
    names -= {"lightning"}
    unknown = names - set(PUBLIC) - {"__version__"} - files
    assert not unknown, unknown
    assert not re.search(r"(?:import|from) worker\.(?!testing\b)", text)


def test_the_reference_describes_every_public_name_once() -> None:
    text = (ROOT / "docs/reference/python.md").read_text()
    described = re.findall(r"^::: (worker(?:\.testing)?)\.(\w+)$", text, re.MULTILINE)
    names = [name for _, name in described]
    assert sorted(names) == sorted(PUBLIC)
    assert all(hasattr(importlib.import_module(package), name) for package, name in described)
