"""Generated calls of common's functions, and their outcomes in the published one and in ours."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.support.helpers import run_job

VERSION = "3.3.4"
RECORDED = Path(__file__).parents[1] / "data" / f"common-{VERSION}.jsonl"
COUNT, SEED = 360, 334

_VALUES = """
1 | 0 | -2.5 | '' | 'a' | 'ab cd' | 'snake_case-AND more' | null | undefined | true | false | [] | {} | [1, 2, 3]
['b', 'a'] | {a: 1, b: {c: 2}} | [[1], [2, [3]]] | [{x: 1, k: 'p'}, {x: 2, k: 'q'}, {x: 3, k: 'p'}] | $ => $.data
$ => $.data.items | [$ => $.data.n, 2] | {n: $ => $.data.n, deep: {s: $ => $.data.s}} | /re/g | new Date(0)
Buffer.from('hi') | new Map([[1, 2]]) | $ => () => 5 | '2024-02-29' | 'today' | '3 days ago' | NaN | Symbol.iterator
"""
_PATHS = """
'$.data.items[*]' | '$.data.items' | 'data.items[*]' | '$.data.s' | '$.data.none[*]' | '$..x' | '$.references[*]'
'items[*].x' | 's' | '.n' | '$.n' | '$.data.items[?(@.x > 1)]' | '$' | '' | 'data.items[0:2]' | '$.data.items.length'
"""
_OPERATIONS = """
s => ({...s, seen: [...(s.seen ?? []), s.data, s.index]}) | async s => ({...s, late: s.index}) | s => s
fn(s => ({...s, data: 7, extra: true})) | s => { s.data = 'mutated'; return s; } | s => ({data: s.index ?? null})
s => { throw new Error('inside'); } | s => undefined | fnIf($ => $.index !== 1, s => ({...s, hit: s.index}))
combine(s => ({...s, p: 1}), s => ({...s, q: s.p})) | alterState(async s => ({...s, data: {late: 1}}))
"""
_ITEMS = f"{_PATHS} | [1, 2] | [] | $ => $.data.items | $ => $.data | [{{x: 1}}] | {{}} | null | undefined | 'nope' | 5 | $ => undefined"
_CALLS = """
each(ITEMS, OPERATION)(state) | each(ITEMS, OPERATION)(state) | beta.each(ITEMS, OPERATION)(state) | combine(OPERATION, OPERATION)(state)
execute(OPERATION, OPERATION)(state) | fn(OPERATION)(state) | fnIf(VALUE, OPERATION)(state) | as(VALUE, OPERATION)(state)
as('k', OPERATION)(state) | map(ITEMS, (x, i, s) => [x, i, Object.keys(s)])(state) | map(ITEMS, async x => x?.x)(state)
group(ITEMS, VALUE)(state) | group($ => $.data.items, 'k')(state) | group(VALUE, 'k', s => ({...s, n: 1}))(state)
merge(PATH, VALUE)(state) | merge(PATH, fields(field('k', dataValue('s'))))(state) | join(PATH, PATH, 'key')(state)
source(PATH)(state) | sourceValue(PATH)(state) | dataValue(PATH)(state) | dataPath(PATH) | referencePath(PATH)
lastReferenceValue(PATH)(state) | jsonValue(state, PATH) | field(VALUE, VALUE) | fields(field('a', VALUE), field('b', VALUE))
index()({index: VALUE}) | toArray(VALUE) | arrayToString(VALUE, ', ') | arrayToString([VALUE, 2]) | asData(VALUE, state) | asData(PATH, state)
chunk([1, 2, 3, 4, 5], 2) | chunk(VALUE, 3) | splitKeys({a: 1, b: 2, 3: 4}, ['a', 'z']) | splitKeys(VALUE, 'a') | humanProper(VALUE)
humanProper('AMA mensAH o\\'neil-smith_x éa') | scrubEmojis(VALUE) | scrubEmojis('a 😀 b © ™ ⌚ é 🦄', '-') | scrubEmojis('x 🦄', '')
composeNextState(state, VALUE) | composeNextState({data: 1, references: [0]}, VALUE) | assert(VALUE)(state) | assert(VALUE, VALUE)(state)
cursor(VALUE)(state) | cursor(VALUE, {defaultValue: VALUE})(state) | cursor(VALUE, {key: 'page'})(state) | cursor(22, {format: c => `c${c}`})(state)
cursor('WHEN', {format: d => [d.getHours(), d.getMinutes()].map(String).slice(0, 0)})(state) | cursor('today', {format: d => [d.getHours(), d instanceof Date]})(state)
log(VALUE, VALUE)(state) | debug(VALUE)(state) | util.expandReferences(state, VALUE, VALUE) | util.encode(VALUE) | util.decode('eyJhIjoxfQ==')
util.decode(util.encode(VALUE)) | util.decode('W2E=') | util.throwError('CODE', {description: 'd', fix: 'f', more: VALUE}) | util.throwError(VALUE)
util.makeBasicAuthHeader('u', VALUE) | util.normalizeOauthConfig({access_token: VALUE}) | util.normalizeOauthConfig({accessToken: VALUE, b: 1})
util.assertRelativeUrl('https://a/b') | util.assertRelativeUrl('/a/b') | util.parseDate('start', 5) | util.parseDate(VALUE) | util.uuid().replace(/[0-9a-f]/g, 'x')
util.logResponse({method: 'GET', url: 'u', statusCode: 200, duration: 1, query: {a: VALUE}}) | dateFns.format(VALUE, 'yyyy-MM-dd HH:mm')
dateFns.format(new Date(2024, 1, 29, 22, 30), FORMAT) | dateFns.parse('29/02/2024', 'dd/MM/yyyy', new Date(0)) | dateFns.parse(VALUE, FORMAT, new Date(0))
_.get(state, 'data.items[1].x', VALUE) | _.groupBy(VALUE, 'k') | _.isEmpty(VALUE) | _.merge({a: 1}, VALUE) | Object.keys(dateFns).sort()
"""
_FORMATS = "'d MMM yyyy' | 'dd/MM/yy' | 'EEEE do' | \"yyyy-MM-dd'T'HH:mm\" | 'YYYY' | 'PPpp' | 'I w Q' | 'n'"
_STATES = (
    {
        "data": {"items": [{"x": 1, "k": "p"}, {"x": 2, "k": "q"}], "n": 4, "s": "text"},
        "references": [{"r": 9, "n": 1}],
    },
    {"data": {}, "references": []},
    {"data": [{"x": 5, "k": None}, {"x": None}], "n": 0, "configuration": {"a": 1}},
    {"data": {"items": [], "s": ""}, "response": {"body": 1}},
)

# Both sides evaluate this, so that a value is written in the same way.
OUTCOME = """
const written = (_key, value) => {
  if (value === undefined) return '(undefined)';
  if (typeof value === 'function' || typeof value === 'symbol') return `(${typeof value})`;
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value instanceof Map ? [...value] : value;
};
const outcome = async (call, state) => {
  try {
    const result = call(state);
    const isPromise = typeof result?.then === 'function';
    const value = await result;
    return { isPromise, text: JSON.stringify({ value, state }, written) };
  } catch (error) {
    return { name: error?.name, message: String(error?.message), text: JSON.stringify({ ...error, state }, written) };
  }
};
"""


class Call(Struct, frozen=True):
    """A call of a function of common, as JavaScript over ``state``."""

    code: str
    state: dict[str, Any]


def generate() -> list[Call]:
    """Return the calls that the seed gives."""
    draw = random.Random(SEED)
    templates = _pool(_CALLS)
    # Each template in turn, so that every function is called several times.
    return [
        Call(_filled(templates[number % len(templates)], draw), draw.choice(_STATES))
        for number in range(COUNT)
    ]


def _pool(text: str) -> list[str]:
    return [
        part.strip() for line in text.splitlines() for part in line.split(" | ") if part.strip()
    ]


def _filled(template: str, draw: random.Random) -> str:
    pools = {
        "ITEMS": _ITEMS, "OPERATION": _OPERATIONS, "PATH": _PATHS, "VALUE": _VALUES, "FORMAT": _FORMATS,
    }  # fmt: skip
    words = "now | end | start | 2 hours ago | 10 days ago | yesterday"
    for name, pool in {**pools, "WHEN": words}.items():
        while name in template:
            template = template.replace(name, draw.choice(_pool(pool)), 1)
    return template


def _cases(calls: list[Call]) -> str:
    cases = ",\n".join(f"[state => ({call.code}), {json.dumps(call.state)}]" for call in calls)
    return f"[\n{cases}\n]"


def outcomes_here(calls: list[Call]) -> list[dict[str, Any]]:
    """Return the outcomes of the built-in common."""
    body = f"{OUTCOME}\nfn(async () => {{ const all = []; for (const [call, state] of {_cases(calls)}) all.push(await outcome(call, state)); return {{ all }}; }});"
    result = run_job(body)
    assert result.status == "success", result.error
    outcomes: list[dict[str, Any]] = result.final_state["all"]
    return outcomes


def outcomes_published(calls: list[Call], folder: Path) -> list[dict[str, Any]]:
    """Return the outcomes of the common that is installed in a folder, in Node."""
    names = "import * as common from '@openfn/language-common';\nconst {default: ignored, ...names} = common;"
    free = "const {" + ", ".join(NAMES) + "} = names;"
    script = f"{names}\n{free}\n{OUTCOME}\nconst all = []; console.log = console.warn = console.debug = console.error = () => {{}};\nfor (const [call, state] of {_cases(calls)}) all.push(await outcome(call, state));\nprocess.stdout.write(JSON.stringify(all));"
    file = folder / "calls.mjs"
    file.write_text(script, "utf-8")
    done = subprocess.run(
        ["node", file.name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )
    outcomes: list[dict[str, Any]] = json.loads(done.stdout)
    return outcomes


NAMES = (
    *("_", "alterState", "arrayToString", "as", "asData", "assert", "beta", "chunk", "combine"),
    *("composeNextState", "cursor", "dataPath", "dataValue", "dateFns", "debug", "each", "execute"),
    *("field", "fields", "fn", "fnIf", "group", "http", "humanProper", "index", "join"),
    *("jsonValue", "lastReferenceValue", "log", "map", "merge", "parseCsv", "referencePath"),
    *("scrubEmojis", "source", "sourceValue", "splitKeys", "toArray", "util", "validate"),
)
"""Names that the published one exports, besides ``default``."""
