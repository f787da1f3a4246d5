"""Anonymous functions that V8 names in stacks; what was expected was recorded with Node 20."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.compiler.compile_job import _inferred, _operations, compile_job
from worker.compiler.compiled_job import CompiledJob
from worker.runner.prepare import _ENTRY_BYTES, _job_bytes

NAMED = """
call(s => T(), {a: 1})
call(s => T(), {...x})
call(s => T(), {f() {}})
call(s => T(), {a})
call(s => T(), {get a() { return 1 }})
call(s => T(), ({data}) => 1)
call(s => T(), (a, b = 1) => 1)
call([s => T()], {a: 1})
call((() => T()), {a: 1})
call(function () { T() }, {a: 1})
call(async s => T(), {a: 1})
call(async (s) => T(), {a: 1})
x.y.call(s => T(), {a: 1})
call(s => T(), [{a: 1}])
call(s => T(), `${{a: 1}}`)
call(s => T(), class { m() {} })
call(s => T(), (y = 1))
call(s => T(), a ||= 1)
call(s => T(), [{a} = {}])
call(s => T(), call(s => 1), {a: 1})
call(s => T(), s => 1, call(0), {a: 1})
call(s => T(), () => 1, new C(), {a: 1})
call(s => T(), x => ({a: 1}))
call(s => T(), s => { const z = 1; })
call(s => T(), s => { const {z} = s; })
call(s => T(), s => { s.z = 1; })
call(s => T(), s => { for (let z = 0; z < 1; z++) {} })
call(s => T(), s => { call(x => 1); const z = 5; })
call(s => T(), (function () { ({a: 1}) }), 1)
call(s => T(), s => 1) || ({a: 1})
o.f = () => T()
o.f = [() => T()]
const q = 1 ? () => T() : 0
const q = [() => T()]
const q = {p: new C(() => T())}
const q = {p: call(() => T(), () => 1), r: 2}
const q = await call(() => T(), () => 1)
const q = call(() => T(), () => 1).z
const q = [1]?.map(x => T(), y => 1)
call(s => T(), s => 1); call(0, {a: 1})
call(s => { return {a: [1].map(x => T(), 1, y => 2), b: 1}; })
call(s => { call(s => T(), s => 1); ({a: 1}); })
call(s => { if (call(s => T(), s => 1)) { const z = 1; } })
call(s => { call(s => T(), function () { const z = 1; }); })
function f() { call(s => T(), s => 1); const z = 1 }
call($.T(), {a: 1})
"""

ANONYMOUS = """
call(s => T())
call({a: 1}, s => T())
call(s => T(), s => T())
call(s => T(), {})
call(0, [s => T()])
call(s => T(), call(0), {a: 1})
call(s => T(), y = call(0))
call(s => T(), y += 1)
call(s => T(), class {})
call(s => T(), function () { ({a: 1}) }, 1)
call(s => T(), ([p]) => 1)
call(s => T(), function (a, b = 1) {})
call(s => T(), s => { call(0); const z = 1; })
call(s => T(), s => { let z; })
call(s => T(), s => { const [z] = []; })
call(s => T(), s => { s.z = call(); })
const q = call(() => T())
const q = new C(() => T())
const q = {p: call(() => T(), 1), r: 2}
const q = call(() => T(), () => 1)
x.y = call(s => T(), s => 1)
const q = (call(s => T(), s => 1))
const q = (() => T())()
call(s => T()); call(0, {a: 1})
call(s => T(), s => 1); call(0); call(1, {a: 1})
call(s => { return {a: [1].map(x => T()), b: 1}; })
call(s => ({...s, a: call(x => ({ b: T() }))}))
call(s => { const r = call(call(x => T()), {a: 1}) })
function f() { call(s => T(), function () { const z = 1; }); }
call({a: 1}, $.T())
"""


def _cases() -> list[tuple[str, bool]]:
    lists = ((NAMED, True), (ANONYMOUS, False))
    return [(source, named) for text, named in lists for source in text.strip().split("\n")]


@pytest.mark.parametrize(("source", "named"), _cases(), ids=[source for source, _ in _cases()])
def test_a_function_has_a_name_in_stacks_where_v8_infers_one(source: str, named: bool) -> None:
    assert compile_job(source).has_inferred_name(1, source.index("T()") + 1) == named


def test_places_are_counted_in_characters_of_lines() -> None:
    job = compile_job("fn(s => s);\n/* é😀 */ call(s => T(), {a: 1})")
    assert job.inferred == ((2, 15), (2, 23))


def test_a_deeply_nested_source_takes_no_time_of_its_square() -> None:
    source = "f(s => {" * 400 + "1" + "}, {a: 1})" * 400
    # Functions below a depth have no name: there are fewer places than functions.
    assert 0 < len(compile_job(source).inferred) < 100


class ReadSource(bytes):
    """Source that counts the bytes that are searched and copied."""

    read = 0

    def _note(self, start: int, end: int) -> None:
        self.read += end - start

    def __getitem__(self, index: Any) -> Any:
        self._note(index.start, index.stop)
        return super().__getitem__(index)

    def count(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        self._note(start, end)
        return super().count(sub, start, end)

    def rfind(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        self._note(start, end)
        return super().rfind(sub, start, end)


def test_places_on_one_long_line_are_counted_in_one_pass() -> None:
    source = ReadSource("s.é=()=>1;".encode() * 200)
    starts = range(0, len(source), 11)
    walk: Any = SimpleNamespace(
        source=source,
        operations=[SimpleNamespace(start=start, end=start, name="f") for start in starts],
        inferred=SimpleNamespace(starts_and_ends=lambda operations: starts),
    )
    assert list(_inferred(walk)) == [(1, 10 * index + 1) for index in range(200)]
    assert list(_operations(walk)) == [(1, "f")] * 200
    # Lines are searched once for the operations, and lines and columns once for the functions.
    assert source.read <= 4 * len(source)


def test_the_size_of_a_compiled_job_counts_its_places_and_operations() -> None:
    small = CompiledJob(body="")
    for job in (
        CompiledJob(body="", inferred=((1, 1), (1, 2))),
        CompiledJob(body="", operations=((1, "fn"), (2, "fn"))),
    ):
        assert _job_bytes(job, "") == _job_bytes(small, "") + 2 * _ENTRY_BYTES
