"""Samples of a JSON Schema, drawn with hypothesis and checked with jsonschema."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from worker.errors import UsageError
from worker.fuzzing.schema_cycles import applies_itself
from worker.util.json import dumps

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_NEEDS = "a JSON Schema needs the extra fuzz: pip install 'workflow-worker[fuzz]'"
_NO_INPUT = "no input can be made from the schema"
_CONTAINS_ITSELF = f"{_NO_INPUT}: it contains itself, or nests too deep"
_DEPTH_LIMIT = 8
_ITEMS_LIMIT = 3
# References multiply the parts of a schema: thirty lines can have more than memory has bytes.
_PARTS_LIMIT = 5_000
_LEAST_LIMITS = {"minItems": 100, "minLength": 1000}
TIME_LIMIT_S = 60.0
"""Time to draw samples; a pattern of a schema can be one that backtracks without end."""
_REPEAT_S = 1.0
_TYPES = ("null", "boolean", "integer", "string", "array", "object")
_NUMBER_LIMIT = 10**6


def draw_samples(schema: Mapping[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Draw up to ``count`` different objects of a JSON Schema; the same each time for a seed.

    Raises :class:`UsageError` for a schema that no object meets, and where the extra is missing.
    """
    try:
        import hypothesis
        import jsonschema
        from jsonschema_specifications import REGISTRY
    except ImportError as error:
        raise UsageError(_NEEDS) from error
    samples: dict[str, dict[str, Any]] = {}

    def collect(value: Any) -> None:
        samples.setdefault(dumps(value), value)

    # Nothing that depends on earlier calls or on the speed of this machine.
    settings = hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    # With a registry of its own: the default one fetches references, also `file:` ones.
    validator = jsonschema.Draft202012Validator(schema, registry=REGISTRY)
    with _explained_errors():
        validator.check_schema(schema)
        strategies = _SchemaStrategies(schema)
        if applies_itself(schema, strategies.part):
            raise UsageError(_CONTAINS_ITSELF)
        valid = strategies.strategy(schema).filter(
            lambda value: isinstance(value, dict) and validator.is_valid(value)
        )
        hypothesis.seed(seed)(settings(hypothesis.given(valid)(collect)))()
    return list(samples.values())


@contextmanager
def _explained_errors() -> Iterator[None]:
    """Raise :class:`UsageError` for all that a schema may end with, also after ``TIME_LIMIT_S``."""
    import jsonschema
    from hypothesis.errors import HypothesisException, Unsatisfiable
    from referencing.exceptions import Unresolvable

    try:
        with _time_limit(TIME_LIMIT_S):
            yield
    except Unsatisfiable as error:
        raise UsageError(f"{_NO_INPUT}: no object meets it") from error
    except jsonschema.SchemaError as error:
        raise UsageError(f"{_NO_INPUT}: {error.message}") from error
    except (HypothesisException, Unresolvable, OverflowError, re.error) as error:
        raise UsageError(f"{_NO_INPUT}: {error}") from error
    except RecursionError as error:
        raise UsageError(_CONTAINS_ITSELF) from error
    except _OutOfTime as error:
        text = f"{_NO_INPUT} within {TIME_LIMIT_S:.0f} s"
        raise UsageError(f"{text} (is there a slow pattern in it?)") from error
    except BaseException as error:
        # The library that looks up references, in Rust, makes a panic of a RecursionError.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise UsageError(_CONTAINS_ITSELF) from error


class _OutOfTime(BaseException):
    """The end of the time. No ``Exception``, which hypothesis would repeat as a failure."""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`_OutOfTime` after a time, also within a search; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise _OutOfTime

    handler = signal.signal(signal.SIGALRM, interrupt)
    # Again and again: an exception that meets a finalizer on its way is lost.
    before = signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


class _SchemaStrategies:
    """Strategies of the parts of a schema, for its most common keywords.

    The others are left to the filter on whole values.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = 0

    def strategy(self, schema: Any, depth: int = 0) -> SearchStrategy[Any]:
        from hypothesis import strategies as st

        if not isinstance(schema, Mapping):
            return st.just({}) if schema else st.nothing()
        schema = self._merged(schema)
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if alternatives:
            rest = {key: item for key, item in schema.items() if key not in ("anyOf", "oneOf")}
            every = ({**rest, **self._merged(item)} for item in alternatives)
            return st.one_of([self.strategy(item, depth) for item in every])
        # A schema can contain itself: the filter decides whether null will do.
        if depth > _DEPTH_LIMIT:
            return st.none()
        types = schema.get("type", _TYPES if depth else "object")
        names = [types] if isinstance(types, str) else types
        return st.one_of([self._of_type(name, schema, depth) for name in names])

    def _merged(self, schema: Any) -> dict[str, Any]:
        """Return a schema with its reference and its ``allOf`` in the place of them."""
        if not isinstance(schema, Mapping):
            return {}
        self._parts += 1
        if self._parts > _PARTS_LIMIT:
            raise UsageError(f"{_NO_INPUT}: it has too many parts")
        parts = [self._resolve(schema["$ref"])] if "$ref" in schema else []
        parts += schema.get("allOf", [])
        own = {key: item for key, item in schema.items() if key not in ("$ref", "allOf")}
        merged: dict[str, Any] = {}
        for part in (*map(self._merged, parts), own):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            merged |= part
            merged |= {"properties": properties} if properties else {}
            merged |= {"required": required} if required else {}
        return merged

    def part(self, reference: str) -> Any:
        """Return the part that a reference names, or ``None``."""
        try:
            return self._resolve(reference)
        except UsageError:
            return None

    def _resolve(self, reference: str) -> Any:
        node: Any = self._root
        for key in reference.removeprefix("#").strip("/").split("/"):
            name = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or (name and name not in node):
                raise UsageError(f"{_NO_INPUT}: no {reference} in it")
            node = node[name] if name else node
        return node

    def _of_type(self, name: str, schema: Mapping[str, Any], depth: int) -> SearchStrategy[Any]:
        from hypothesis import strategies as st

        match name:
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                low, high = _range(schema)
                return st.integers(int(low), int(high))
            case "number":
                low, high = _range(schema)
                return st.floats(low, high).map(lambda number: round(number, 3))
            case "string":
                return _texts(schema)
            case "array":
                return self._array(schema, depth)
            case _:
                return self._object(schema, depth)

    def _array(self, schema: Mapping[str, Any], depth: int) -> SearchStrategy[Any]:
        from hypothesis import strategies as st

        least = _least(schema, "minItems")
        most = min(schema.get("maxItems", least + _ITEMS_LIMIT), least + _ITEMS_LIMIT)
        items = self.strategy(schema.get("items", {"type": "string"}), depth + 1)
        return st.lists(items, min_size=least, max_size=most)

    def _object(self, schema: Mapping[str, Any], depth: int) -> SearchStrategy[Any]:
        from hypothesis import strategies as st

        required = set(schema.get("required", ()))
        # A required field may have no description: then it is any value.
        described = {key: {} for key in sorted(required)} | schema.get("properties", {})
        fields = {key: self.strategy(item, depth + 1) for key, item in described.items()}
        needed = {key: item for key, item in fields.items() if key in required}
        optional = {key: item for key, item in fields.items() if key not in required}
        return st.fixed_dictionaries(needed, optional=optional)


def _range(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -_NUMBER_LIMIT))
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + _NUMBER_LIMIT))
    return min(low, high), high


def _least(schema: Mapping[str, Any], keyword: str) -> int:
    least = int(schema.get(keyword, 0))
    if least > _LEAST_LIMITS[keyword]:
        limit = f"{keyword} is {least:,}, and the limit is {_LEAST_LIMITS[keyword]:,}"
        raise UsageError(f"{_NO_INPUT}: {limit}")
    return least


def _texts(schema: Mapping[str, Any]) -> SearchStrategy[str]:
    from hypothesis import strategies as st

    if "pattern" in schema:
        return st.from_regex(schema["pattern"], alphabet=st.characters(max_codepoint=126))
    formats: dict[str, SearchStrategy[str]] = {
        "date": st.dates().map(lambda date: date.isoformat()),
        "date-time": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
        "email": st.emails(),
        "uuid": st.uuids().map(str),
    }
    least = _least(schema, "minLength")
    most = schema.get("maxLength", least + 20)
    plain = st.text(
        st.characters(min_codepoint=32, max_codepoint=126), min_size=least, max_size=most
    )
    return formats.get(schema.get("format", ""), plain)
