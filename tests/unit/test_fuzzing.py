"""Generated inputs: the learned shape, synthetic inputs without persons, deviations, shrinking."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.status import Status
from worker.errors import UsageError
from worker.fuzzing.deviations import (
    DeviationKind,
    Literals,
    apply,
    deviations_of,
    literals_of,
    places_of,
)
from worker.fuzzing.endings import RunEnding, StepFailure
from worker.fuzzing.from_schema import draw_samples
from worker.fuzzing.search import Search
from worker.fuzzing.shape import learn
from worker.fuzzing.shrink import simpler, size_of
from worker.fuzzing.synthetic import SyntheticInputs
from worker.fuzzing.text_formats import date_format
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

VISITS = [
    {"data": {"name": name, "status": status, "born": born, "phone": phone, "weight": weight}}
    for name, status, born, phone, weight in [
        ("Amina", "open", "2001-02-03", "0712345678", 51.5),
        ("Joseph", "closed", "1999-12-31", "0722345678", 60.25),
        ("Amina", "open", "1950-01-01", "0733345678", 49.0),
        ("Amina", "open", "1950-01-01", "0733345678", 49.0),
        ("Otieno", "closed", "1987-06-05", "+254 700 1", 80.0),
        ("Wanjiru", "closed", "2010-10-10", "0711", 33.75),
    ]
]

texts = st.one_of(
    st.sampled_from(["Amina", "M", "open", "1", "2001-02-03", "a@b.org", "https://x.org/p/1", "é"]),
    st.text(max_size=8),
)
numbers = st.one_of(st.integers(-5, 10**12), st.floats(-1e6, 1e6).map(lambda x: round(x, 3)))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["name", "status", "id", "254700", "Amina O."]), inner),
    ),
    max_leaves=12,
)
inputs = st.dictionaries(st.sampled_from(["data", "name", "kind"]), values, max_size=3)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


FIELDS = {"data", "name", "kind", "status", "id"}


@given(st.lists(inputs, min_size=1, max_size=2), st.integers(0, 3))
def test_no_text_of_a_sample_is_in_a_synthetic_input(samples: list[Any], seed: int) -> None:
    # Too few samples for an enumeration, so every text with a letter or a digit can be a person's.
    personal = {
        value
        for value in leaves(samples)
        if isinstance(value, str) and any(map(str.isalnum, value)) and value not in FIELDS
    }
    generator = SyntheticInputs(learn(samples), seed)
    generated = [generator.next() for _ in range(5)]
    assert not personal & {value for value in leaves(generated) if isinstance(value, str)}


@pytest.mark.slow
@given(st.lists(inputs, min_size=1, max_size=3), st.integers(0, 3))
def test_no_identifying_number_of_a_sample_is_in_a_synthetic_input(
    samples: list[Any], seed: int
) -> None:
    def large(value: Any) -> bool:
        return isinstance(value, int | float) and abs(value) >= 1000

    generator = SyntheticInputs(learn(samples), seed)
    generated = [generator.next() for _ in range(5)]
    assert not {v for v in leaves(samples) if large(v)} & {v for v in leaves(generated) if large(v)}


def test_a_synthetic_input_has_the_shape_of_the_samples() -> None:
    generator = SyntheticInputs(learn(VISITS), 0)
    for _ in range(50):
        data = generator.next()["data"]
        assert list(data) == ["name", "status", "born", "phone", "weight"]
        # An enumeration stays; a name that happens to come three times does not.
        assert data["status"] in ("open", "closed")
        assert re.fullmatch("[A-Z][a-z]+", data["name"]) and data["name"] != "Amina"
        assert date_format(data["born"]) == "%Y-%m-%d"
        assert isinstance(data["weight"], float)


def test_a_keyword_that_is_a_name_elsewhere_is_no_keyword() -> None:
    samples = [{"kind": "Amina", "name": "Amina"}] * 3
    assert learn(samples).fields["kind"].shape.keywords == ()  # type: ignore[index]


@pytest.mark.parametrize(
    ("samples", "keywords"),
    [
        ([{"who": "open"}] * 3, ("open",)),
        ([{"who": "open"}] * 2, ()),
        ([{"who": "Amina"}] * 3, ()),
        ([{"name": "open"}] * 3, ()),
        ([{"who": "code1234"}] * 3, ()),
    ],
)
def test_what_counts_as_an_enumeration(samples: list[Any], keywords: tuple[str, ...]) -> None:
    fields = learn(samples).fields
    assert fields is not None
    assert next(iter(fields.values())).shape.keywords == keywords


def test_a_text_that_only_one_sample_repeats_is_no_keyword() -> None:
    samples = [{"visits": [{"who": "amina"}] * 5}, {"visits": [{"who": "otieno"}] * 5}]
    generated = json.dumps([SyntheticInputs(learn(samples), seed).next() for seed in range(5)])
    assert "amina" not in generated and "otieno" not in generated


def test_keys_that_are_data_do_not_survive() -> None:
    samples = [{"visits": {"2547001": {"n": 1}, "2547002": {"n": 2}}}]
    generated = SyntheticInputs(learn(samples), 0).next()
    assert not {"2547001", "2547002"} & generated["visits"].keys()
    assert all(visit.keys() == {"n"} for visit in generated["visits"].values())


def test_optional_fields_and_types_are_learned() -> None:
    shape = learn([{"a": 1, "b": None}, {"a": "x"}])
    assert shape.fields is not None
    assert shape.fields["a"].shape.kinds == ("number", "text")
    assert shape.fields["b"].optional and not shape.fields["a"].optional


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = (SyntheticInputs(learn(VISITS), 5) for _ in range(2))
    assert [first.next() for _ in range(20)] == [second.next() for _ in range(20)]
    assert SyntheticInputs(learn(VISITS), 6).next() != SyntheticInputs(learn(VISITS), 5).next()


@pytest.mark.parametrize(
    ("input", "place", "value"),
    [
        ({"born": "2001-02-03"}, "born", "03/02/2001"),
        ({"age": "41"}, "age", 41),
        ({"age": 41}, "age", "41"),
        ({"items": [1, 2]}, "items", []),
        ({"items": [1, 2]}, "items", [1]),
        ({"a": {"b": 1}}, "a.b", None),
        ({"kind": "x"}, "kind", "urgent"),
        ({"age": 3}, "age", 17),
    ],
)
def test_deviations(input: Any, place: str, value: Any) -> None:
    literals = Literals(texts=("urgent",), numbers=(17,))
    assert any(
        d.value == value and d.description.startswith(place)
        for d in deviations_of(input, literals)
        if d.kind is not DeviationKind.ABSENT
    )


@given(inputs)
def test_a_deviation_changes_one_place_and_not_its_input(input: Any) -> None:
    before = json.dumps(input)
    for deviation in deviations_of(input):
        assert json.dumps(apply(input, deviation)) != before
    assert json.dumps(input) == before


def test_every_place_is_removed_first() -> None:
    input = {"a": {"b": [1, {"c": 2}]}}
    removed = [d for d in deviations_of(input) if d.kind is DeviationKind.ABSENT]
    assert [d.description for d in removed] == [
        "without a",
        "without a.b",
        "without a.b[0]",
        "without a.b[1]",
        "without a.b[1].c",
    ]
    assert apply(input, removed[-1]) == {"a": {"b": [1, {}]}}
    assert len(list(places_of(input))) == len(removed) + 1


def test_the_literals_of_conditions_come_first() -> None:
    edge = Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression="state.x === 'yes'")
    steps = (
        Step(id="a", source="fn(s => s.age > 17 && 'job')", edges=(edge,)),
        Step(id="b", source=""),
    )
    literals = literals_of(Workflow(name="w", steps=steps))
    assert literals == Literals(texts=("yes", "job"), numbers=(17, 16, 18))


@given(inputs)
def test_a_simpler_input_is_smaller(input: Any) -> None:
    assert all(size_of(candidate) < size_of(input) for candidate in simpler(input))


def test_the_largest_part_is_removed_first() -> None:
    assert next(simpler({"a": 1, "b": {"c": "long text"}})) == {"a": 1}


def ending(step: str) -> RunEnding:
    failure = StepFailure(step=step, type="TypeError", line=1, message="")
    return RunEnding(
        status=Status.FAILED, error_type="TypeError", failures=(failure,), path=(step,)
    )


def search_for(seed: int) -> list[str]:
    """Search with a run that fails at a place which depends on the input."""
    search, tried = Search([{"a": {"b": [1]}}], Literals(), seed), []
    for _ in range(5):
        for item in search.next_batch(30):
            tried.append(json.dumps(item.input))
            step = str(len(tried[-1]) % 7)
            search.observe(item, ending(step), frozenset({step}))
    return tried


@pytest.mark.slow
def test_a_search_is_stable_by_seed_and_repeats_no_input() -> None:
    first = search_for(3)
    assert first == search_for(3) != search_for(4)
    assert len(set(first)) == len(first) > 100


def test_an_input_that_comes_to_a_new_place_gets_deviations_of_its_own() -> None:
    search = Search([{"a": 1}], Literals(), 0)
    for item in search.next_batch(1 + len(deviations_of({"a": 1}))):
        # The sample has no field b, so only a deviation of this input changes it.
        is_new = item.input == {"a": "1"}
        search.observe(item, ending("x"), frozenset({"new"} if is_new else {"old"}))
    origins = [item.origin for item in search.next_batch(10)]
    assert all(origin[0] == "a is a number as text" and len(origin) == 2 for origin in origins[:3])


def test_a_search_ends_where_there_are_no_more_inputs() -> None:
    search = Search([{}], Literals(), 0)
    assert [item.input for item in search.next_batch(10)] == [{}]
    assert search.next_batch(10) == []


SCHEMA = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 1, "maximum": 9},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "born": {"type": ["string", "null"], "format": "date"},
        "parent": {"$ref": "#/$defs/parent"},
        "kind": {"enum": ["a", "b"]},
        "value": {"anyOf": [{"type": "number"}, {"const": "none"}]},
        "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 1},
    },
    "required": ["age", "code", "kind", "items", "value"],
    "additionalProperties": False,
    "$defs": {
        "parent": {
            "allOf": [{"required": ["name"]}, {"properties": {"name": {"type": "string"}}}],
            "type": "object",
        }
    },
}


@pytest.mark.slow
def test_samples_of_a_schema() -> None:
    samples = draw_samples(SCHEMA, 30, 1)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert all(validator.is_valid(sample) for sample in samples) and len(samples) > 10
    assert {"born", "parent"} <= {key for sample in samples for key in sample}
    random.seed(99)
    assert samples == draw_samples(SCHEMA, 30, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"type": "nothing"}, {"type": "object", "not": {}}, {"$ref": "#/x"}],
)
def test_a_schema_without_objects_is_an_error(schema: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no input can be made from the schema"):
        draw_samples(schema, 5, 0)
