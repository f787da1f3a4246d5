"""Positions of compiled jobs: the sites of errors, and the way back to the author's source."""

from __future__ import annotations

import itertools
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.compiled_jobs import run
from worker.compiler.compile_job import compile_job
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.edits import Edits

# --- sites ------------------------------------------------------------------------------------

SETTING = (
    "let u, k = 'zz', f, z, x, h = () => 1, d = {p: {q: 1}}, é = {},"
    " o = {g() { return {k: {}} }, a: {b: {}}, k: 1, h() {}};\n"
)


def site_of(source: str) -> str | None:
    """The text at the place that the engine reports for the error that a source throws."""
    job = compile_job(SETTING + source)
    ran = run(job)
    assert ran.name == "TypeError", ran
    site = job.sites.get(f"{ran.at[0]}:{ran.at[1]}", {})
    # A call and the iteration of its result can share a position: the message decides.
    keys = ("iterated",) if "iter" in ran.error.lower() else ("called", "constructed")
    key = next((key for key in keys if key in site), "")
    return None if (text := site.get(key)) is None else str(text)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("0, f();", "f"),
        ("0, f(1, 2);", "f"),
        ("x = f(d.p, d.p.q);", "f"),
        ("0, f\n (\n  1);", "f"),
        ("0, f(1,\n  2\n);", "f"),
        ("0, f(() => { d.p; h(1) });", "f"),
        ("0, f(...[d.p]);", "f"),
        ("0, f(u + 1);", "f"),
        ("0, f(undefined);", "f"),
        ("0, f(...[1], u);", "f"),
        ("0, (f)(1);", "f"),
        ("0, o.foo();", "o.foo"),
        ("0, o.a.b.c?.d, o.a.b.c2();", "o.a.b.c2"),
        ("0, o\n  .g()\n  .foo(1)\n  .bar();", "o.g(...).foo"),
        ("0, o.g(1).k.x(2);", "o.g(...).k.x"),
        ("0, o['foo']();", "o.foo"),
        ("0, o['a b'](1);", "o.a b"),
        ("0, o[k]();", "o[k]"),
        ("0, o[0]();", "o[0]"),
        ("0, o?.foo();", "o?.foo"),
        ("0, o.a.b?.c();", "o.a.b?.c"),
        ("0, o.k?.();", "o.k"),
        ("new f();", "f"),
        ("new f;", "f"),
        ("new o.foo(d.p);", "o.foo"),
        ("0, f`x${u}`;", "f"),
        ("0, o.foo`x`;", "o.foo"),
        ("0, 's'.foo();", '"s".foo'),
        ("0, [1].foo();", "[1].foo"),
        ("0, ({}).foo();", "{}.foo"),
        ("0, new Date().foo();", "(intermediate value).foo"),
        ("0, (await h()).foo();", "(intermediate value).foo"),
        ("0, é.x(1);", "é.x"),
        ("'é😀'; 0, o.foo(1);", "o.foo"),
        ("0, JSON.stringify(f(u));", "f"),
        ("[...u];", "u"),
        ("0, Math.max(...o.foo);", "o.foo"),
        ("for (const q of o.k) {}", "o.k"),
        ("for (\n  const q\n  of u\n) {}", "u"),
        ("await (async () => { for await (const q of u) {} })();", "u"),
        ("(function* () { yield* o.k })().next();", "o.k"),
        ("await (async function () { return o.foo(1) })();", "o.foo"),
        ("(() => o.foo(1))();", "o.foo"),
        ("class A { x = o.foo(1) }; new A();", "o.foo"),
        ("class A { static { o.foo(u) } }", "o.foo"),
        ("if (u) { h(1) } else { o.foo(2) }", "o.foo"),
        ("try { h() } finally { o.foo() }", "o.foo"),
        ("throw o.foo();", "o.foo"),
        ("x = {a: 1, b: o.foo()};", "o.foo"),
        ("x = `a${o.foo(u)}`;", "o.foo"),
        ("0, /* c */ f(/* d */ 1);", "f"),
        ("0, f( // c\n 1);", "f"),
        ("fn(s => s.foo(1));", "s.foo"),
        ("set('a', $.foo(1));", "$.foo"),
        ("fn(s => s).then(s => s.foo());", "s.foo"),
        ("fn(s => s)\n  .then(s => 1)\n  .then(s => s.foo($.x));", "s.foo"),
        ("fn(s => s.foo({a: h($.x), c: u, d: $.y}));", "s.foo"),
    ],
)
def test_the_engine_reports_an_error_where_its_site_is(source: str, text: str) -> None:
    assert site_of(source) == text


@pytest.mark.parametrize("source", ["0, f(h(1));", "0, h(f(1));", "0, h(...f(1));"])
def test_calls_inside_calls_have_places_of_their_own(source: str) -> None:
    assert site_of(source) == "f"


def test_iterating_what_a_call_returned_names_the_call() -> None:
    assert site_of("for (const q of JSON.parse('1')) {}") == (
        "JSON.parse is not a function or its return value"
    )


def test_the_text_of_a_site_is_short() -> None:
    sites = compile_job("x." + "y" * 100 + "();" + "a" + ".b()" * 50).sites.values()
    assert sites
    assert max(len(str(site["called"])) for site in sites) <= 60


# --- positions --------------------------------------------------------------------------------


def test_an_error_in_an_operation_is_traced_to_the_authors_column() -> None:
    source = "import d from 'x'; set('é', $.a.b.c);\nfn(s => s.x())"
    job = compile_job(source)
    line, column = run(job, a={"b": {}}).at
    assert job.origin(line, column) == (2, 11)


def written(job: CompiledJob) -> str:
    """Return the lines of a body that are the author's."""
    return job.body.partition("\n;$worker.exported")[0]


PIECES = st.sampled_from(
    [
        "@($.@.@)",
        "@('é😀', {id: $.@, n: [$.@, @]}).then(@).catch(@)",
        "each('$.x', @('名', $.@)\n  .then(@ => @)\n  .catch(@)).then(@)",
        "fn(state => $.@ + @)",
        "import {IMPORTED,\n b as IMPORTED} from 'm'",
        "import IMPORTED, * as IMPORTED from \"n\" with {type: 'json'}",
        "export const @ = @",
        "export function @() {}",
        "fn(await import(@), import.meta.@, @)",
        "fn(await (@)(@))",
        "console.log('😀', @)",
        "const @ = {名: @} /* 😀 */",
        "(@(@))",
        "`multi\nline ${@(@)}`",
    ]
)
NAME = re.compile("@|IMPORTED")


@given(
    st.lists(PIECES, max_size=8), st.sampled_from(["; ", ";\n", ";\n\n  ", ";\r\n", " ; /*é*/ "])
)
def test_every_name_of_the_source_is_found_again_from_its_place_in_the_body(
    pieces: list[str], separator: str
) -> None:
    numbers = itertools.count()
    source = NAME.sub(
        lambda name: f"{'i' if name[0] != '@' else ''}v{next(numbers)}_", separator.join(pieces)
    )
    job = compile_job(source)
    assert written(job).count("\n") == source.count("\n")
    for name in re.findall(r"\bv\d+_", source):
        place = job.origin(*_place(job.body, job.body.index(name)))
        assert place == _place(source, source.index(name))


RANGES = st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True).map(sorted)


@given(st.text(string.ascii_letters + "é😀\n", min_size=31, max_size=40), RANGES, st.data())
def test_characters_that_no_edit_touches_map_back_to_themselves(
    source: str, cuts: list[int], data: st.DataObject
) -> None:
    offsets = [len(source[:cut].encode()) for cut in cuts]
    edits, touched = Edits(source.encode()), set()
    for cut, start, end in zip(cuts[::2], offsets[::2], offsets[1::2], strict=False):
        if data.draw(st.booleans()):
            edits.replace(start, end, data.draw(st.sampled_from([b"", b"state", b"<>"])))
            touched |= set(range(cut, cuts[cuts.index(cut) + 1]))
        else:
            edits.wrap(start, end, b"op(() => ", b")")
    edited = edits.apply()
    job = CompiledJob(body=edited.body.decode(), positions=edited.positions())
    assert written(job).count("\n") == source.count("\n")
    for index in set(range(len(source))) - touched:
        at = len(edited.body[: edited.moved(len(source[:index].encode()))].decode())
        assert job.body[at] == source[index]
        assert job.origin(*_place(job.body, at)) == _place(source, index)


def _place(text: str, offset: int) -> tuple[int, int]:
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1
