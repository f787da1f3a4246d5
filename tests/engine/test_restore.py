"""After a run the memory is the image, byte for byte, and nothing of the run can be read."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.engine.failures import OutOfMemory, ScriptError
from worker.engine.image import PAGE, Image
from worker.engine.instance import Instance, Runtime
from worker.engine.prepared_files import anonymous_file
from worker.engine.restore import CopiedMemory, mapping_works
from worker.sandbox.javascript.engine import Engine, load_realm

MIB = 1024 * 1024

# Places where a script can leave something, each with C for the canary.
PLACES = {
    "global": "globalThis.left = C + 'x';",
    "own property of a function": "f.left = C;",
    "prototype": "Object.prototype.left = C; Array.prototype[C] = 1;",
    "closure": "const c = C; globalThis.g = () => c;",
    "symbol": "Symbol.for(C);",
    "atom": "({})[C] = {[C]: C};",
    "rejected promise": "Promise.reject(new Error(C));",
    "pending promise": "new Promise(() => C).then(() => C);",
    "microtask": "Promise.resolve(C).then((v) => { globalThis.m = v; });",
    "thrown": "globalThis.e = new Error(C); try { throw e } catch {}",
    "uncaught": "throw new Error(C);",
    "buffer": "globalThis.b = new Uint8Array(100000); for (let i = 0; i < C.length; i++) b[i] = C.charCodeAt(i);",
    "wide text": "globalThis.w = C + '\\u4e2d';",
    "freed text": "for (let i = 0; i < 1000; i++) (C + i).split('');",
    "regular expression": "globalThis.r = new RegExp(C + '+').exec(C);",
    "map and weak map": "const k = {}; globalThis.m = new Map([[C, C]]); new WeakMap([[k, C]]);",
    "generator": "globalThis.it = (function* () { yield C; yield C; })(); it.next();",
    "parsed": "globalThis.j = JSON.parse(JSON.stringify({[C]: [C, {C}]}));",
    "result": "f(C);",
    "growth": "globalThis.a = new Array(900000).fill(C);",
    "deep stack": "(function f(n) { const c = C + n; return n ? f(n - 1) : c })(500);",
    "source": "(0, eval)('// ' + C);",
}
PRELUDE = "function f(x) { return x; } "


def spaced(canary: str) -> list[bytes]:
    """The forms in which a text lies in memory: bytes and UTF-16."""
    return [canary.encode(), canary.encode("utf-16-le")]


def memory(instance: Instance) -> bytes:
    return bytes(instance.content())


def copied(instance: Instance, image: Image) -> None:
    """Make an instance restore by copying."""
    instance._content = CopiedMemory(instance._address)
    instance._content.load(image)


@pytest.fixture(params=["mapped", "copied"])
def reused(request: pytest.FixtureRequest, shared: Runtime, blank: Image) -> Instance:
    instance = Instance(shared, blank)
    if request.param == "copied":
        copied(instance, blank)
    return instance


@pytest.mark.slow
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    places=st.lists(st.sampled_from(sorted(PLACES)), min_size=1, max_size=6),
    canary=st.text("abcdefghijklmnopqrstuvwxyz", min_size=16, max_size=40),
)
def test_nothing_of_a_run_is_left(
    reused: Instance, blank: Image, places: list[str], canary: str
) -> None:
    image, clean = blank, bytes(blank.view)
    reused.limit_memory(64 * MIB)
    for place in places:
        source = f"{{ const C = {json.dumps(canary)}; {PLACES[place]} }}"
        reused.evaluate(PRELUDE + source, f"{canary}.js")
        with contextlib.suppress(ScriptError):
            reused.call("drain")
    assert any(form in memory(reused) for form in spaced(canary))
    assert reused.restore()
    after = memory(reused)
    assert after[: image.size] == clean
    assert not any(after[image.size :])
    assert not any(form in after for form in spaced(canary))


def test_a_restored_instance_is_as_new(reused: Instance) -> None:
    source = "globalThis.n = (globalThis.n ?? 0) + 1; n"
    for _ in range(3):
        reused.limit_memory(MIB)
        assert reused.evaluate(source)
        assert reused.call("read_register") == 1
        assert reused.restore()


def test_mapping_works_here() -> None:
    assert mapping_works() is (sys.platform == "linux")


def test_an_instance_that_grew_too_much_is_not_used_again(reused: Instance) -> None:
    reused.limit_memory(64 * MIB)
    reused.evaluate("new Uint8Array(40 * 2 ** 20).fill(7)")
    assert not reused.restore()
    assert not reused.is_usable


def test_an_instance_that_was_refused_memory_starts_afresh_when_restored(reused: Instance) -> None:
    reused.limit_memory(MIB)
    with pytest.raises(OutOfMemory):
        reused.evaluate("new Uint8Array(40 * 2 ** 20)")
    assert reused.restore()
    assert not reused.is_exhausted


def test_derived_images_share_their_base(shared: Runtime, blank: Image) -> None:
    first, second = Instance(shared, blank), Instance(shared, blank)
    first.evaluate("globalThis.who = 'first'")
    second.evaluate("globalThis.who = 'second'")
    images = [first.snapshot(), second.snapshot()]
    assert all(image.changed_bytes < 400_000 for image in images)
    instance = Instance(shared, images[0])
    for image, who in ((images[0], "first"), (images[1], "second"), (images[0], "first")):
        assert instance.load(image)
        assert memory(instance)[: image.size] == bytes(image.view)
        assert instance.evaluate("who += '!'; who")
        assert instance.call("read_register") == f"{who}!"
        assert instance.restore()
        assert memory(instance)[: image.size] == bytes(image.view)


def test_images_of_the_same_sources_are_the_same(shared: Runtime) -> None:
    digests = set()
    for _ in range(2):
        instance = Instance(shared)
        instance.evaluate("globalThis.a = new Map([[1, {b: Math.random()}]])")
        digests.add(instance.snapshot().digest)
    assert len(digests) == 1


def test_the_stack_pointer_is_the_only_mutable_global(shared: Runtime) -> None:
    import wasmtime

    exports = shared.code.module.exports
    assert [export.name for export in exports if isinstance(export.type, wasmtime.MemoryType)] == [
        "memory"
    ]
    assert [(item.module, item.name) for item in shared.code.module.imports] == [("host", "call")]


RUNS = """
import resource, sys
from worker.engine.instance import Instance
from worker.sandbox.javascript.engine import realm_image
from worker.engine.shared import runtime
image = realm_image()
instance = Instance(runtime(), image)
source = "(() => { const s = JSON.parse(JSON.stringify({a: [1, 2, 3]})); return s.a.map((x) => x * 2).join() })()"
peaks = []
for number in range(20_000):
    instance.limit_memory(64 * 2**20)
    instance.evaluate(source)
    assert instance.call("read_register") == "2,4,6"
    assert instance.restore()
    if number in (2_000, 19_999):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
assert bytes(instance.content()[: image.size]) == bytes(image.view)
assert peaks[1] - peaks[0] < 2_000, peaks
"""


@pytest.mark.slow
def test_memory_is_flat_over_twenty_thousand_runs() -> None:
    subprocess.run([sys.executable, "-c", RUNS], check=True, timeout=110)


def test_logs_of_a_run_reach_the_host(realm: Engine) -> None:
    lines: list[tuple[str, ...]] = []
    record: Callable[[str, str, str], None] = lambda *line: lines.append(line)  # noqa: E731
    realm.log = record
    realm.evaluate("(async function () { console.log('hello \\u{1F600}', 1) })", "job:a")
    realm.job("job:a", '{"adaptors":[],"sites":{},"free":[]}')
    realm.begin("job:a", "a", "{}", "{}", "{}", "{}")
    realm.run_pending()
    assert lines == [("info", "JOB", "hello \U0001f600 1")]


@pytest.mark.slow
# With 3,000 and 11,000 names the tables would be nearly full.
@pytest.mark.parametrize("names", [0, 3_000, 11_000])
def test_few_pages_are_written_by_a_run_with_any_adaptor(names: int) -> None:
    """Where a table of the engine had to grow in each run, that wrote all over the image."""
    exports = "".join(f"a.name{n} = 1;" for n in range(names))
    bundle = f"const a = globalThis.__adaptor = {{}};{exports}"
    descriptor = anonymous_file(load_realm({"@mine/thing@1.0.0": bundle}).image_bytes())
    engine = Engine(Image(descriptor))
    os.close(descriptor)
    engine.limit_memory(64 * 2**20)
    source = "".join(f"kept.push({{['own' + {n}]: 0}});" for n in range(1000))
    engine.evaluate(f"(() => {{ const kept = []; {source} return kept; }})()", "job")
    written = sum(end - start for start, end in engine.instance._content.written())
    assert written < 330 * PAGE
