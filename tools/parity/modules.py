"""ES modules of compiled jobs, with source maps, as OpenFn's runtime takes them.

Sources come from this project's compiler. The module differs from the body that runs here in its
head, which gives ``$worker`` its meaning there, and in its end, which exports the operations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from worker.compiler.compile_job import compile_job
from worker.compiler.compiled_job import CompiledJob

COMMON: Final = "@openfn/language-common"
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_IMPORT: Final = re.compile(r'\$worker\.import\((["\'])(.+?)\1(?:, \d+, \d+, (\[.*?\]))?\)')

# What OpenFn's compiler makes of a chain: the first link may be a catch, the rest is a promise's.
_WORKER: Final = """
const $thunks = []; const $chains = new WeakMap();
const $deferred = (base, links) => {
  const [first, ...rest] = links;
  const isCatch = first[0] === undefined;
  const chained = isCatch ? rest : links;
  const link = (q, [f, g]) => (f === undefined ? q.catch(g) : q.then(f));
  const complete = chained.length ? (p) => chained.reduce(link, p) : undefined;
  const operation = $defer(base, complete, isCatch ? first[1] : undefined);
  $chains.set(operation, [base, links]); return operation; };
const $worker = { default: undefined, exported: {}, meta: { url: "" },
  op: (f) => void $thunks.push(f),
  defer: (operation, f, g) => { const [base, links] = $chains.get(operation) ?? [operation, []];
    return $deferred(base, [...links, [f, g]]); },
  import: (name) => $modules[name], dynamicImport: (name) => import(name) };
"""

_END: Final = """
;const $operations = $worker.default === undefined ? [] : $worker.default;
if (Array.isArray($operations)) for (const f of $thunks) $operations.push(await f());
export { $operations as default };
"""


def module_of(step: Mapping[str, Any], exports: Collection[str]) -> dict[str, Any]:
    """Return the ``module`` and ``sourceMap`` of a step. Raises ``PlanError``."""
    source = step["expression"]
    job = compile_job(source)
    # One line, so that the body starts on the second.
    head = " ".join([*_imports(job, exports), *_WORKER.split("\n")])
    end = _END + (
        "const $execute = $worker.exported.execute; export { $execute as execute };"
        if "execute" in job.exports
        else ""
    )
    return {
        "module": f"{head}\n{job.body}\n{end}",
        "sourceMap": _source_map(job, source, step.get("name")),
    }


def _imports(job: CompiledJob, exports: Collection[str]) -> Iterator[str]:
    names = sorted(set(job.free) & set(exports))
    if names:
        yield f'import {{ {", ".join(names)} }} from "{COMMON}"; export * from "{COMMON}";'
    yield 'import { defer as $defer } from "@openfn/runtime";'
    modules = {}
    for number, (_, name, listed) in enumerate(_IMPORT.findall(job.body)):
        wanted = json.loads(listed or "[]")
        modules[name] = f"$module{number}"
        yield f'import * as $module{number} from "{name}";'
        # A name that the module lacks is an error of the import, not undefined.
        yield from (
            f'import {{ {n} as $checked{number}_{i} }} from "{name}";' for i, n in enumerate(wanted)
        )
    yield (
        "const $modules = {" + ", ".join(f"{json.dumps(n)}: {m}" for n, m in modules.items()) + "};"
    )


def _source_map(job: CompiledJob, source: str, name: str | None) -> dict[str, Any]:
    file = f"{name or 'src'}.js"
    return {
        "version": 3,
        "file": file,
        "sources": [file],
        "sourcesContent": [_with_line_feeds(source)],
        "names": [],
        "mappings": _mappings(job, source),
        "operations": [
            {"line": line, "order": order, **({"name": operation} if operation else {})}
            for order, (line, operation) in enumerate(job.operations, 1)
        ],
    }


def _with_line_feeds(source: str) -> str:
    # So does OpenFn's compiler.
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _mappings(job: CompiledJob, source: str) -> str:
    """Map each character of the body: the runtime looks up exact columns."""
    original_lines = _with_line_feeds(source).split("\n")
    lines = [""]  # the head has no original
    before = [0, 0]
    for number, text in enumerate(job.body.split("\n"), 1):
        segments = []
        column = 0
        generated = 0
        for index, character in enumerate(text, 1):
            line, original = job.origin(number, index)
            if line <= len(original_lines):
                at = _units(original_lines[line - 1][: original - 1])
                # The file is always the same: its difference is 0.
                fields = (generated - column, 0, line - 1 - before[0], at - before[1])
                segments.append("".join(map(_vlq, fields)))
                before, column = [line - 1, at], generated
            generated += _units(character)
        lines.append(",".join(segments))
    return ";".join(lines)


def _units(text: str) -> int:
    """Return the number of UTF-16 units, in which V8 counts columns."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _vlq(value: int) -> str:
    rest = (-value << 1) | 1 if value < 0 else value << 1
    digits = ""
    while True:
        digit, rest = rest & 31, rest >> 5
        digits += _BASE64[digit | (32 if rest else 0)]
        if not rest:
            return digits
