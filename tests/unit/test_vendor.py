"""The bundled libraries: what they leave behind, and that their licences are with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import worker
from tests.support.compiled_jobs import evaluate
from worker.engine.shared import blank_instance

VENDOR = Path(worker.__file__).parent / "sandbox/javascript/vendor"
TOOLS = Path(__file__).parents[2] / "tools/vendor"
NAMES = "JSON.stringify(Reflect.ownKeys(globalThis).map(String))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "globals"),
    [
        ("web", {"Buffer", "TextDecoder", "TextEncoder", "URL", "URLSearchParams", "structuredClone", "__core-js_shared__"}),
        ("lodash", {"__lodash"}),
        ("date-fns", {"__dateFns"}),
        ("jsonpath", {"__jsonpath"}),
        ("collation", {"__collation"}),
        ("agreement", {"__agreement"}),
        ("intl", {"__formatjs"}),
    ],
)  # fmt: skip
def test_a_bundle_adds_its_own_globals_and_changes_no_intrinsic(
    script: str, globals: set[str]
) -> None:
    instance = blank_instance()
    prototypes = "JSON.stringify([Object, Array, String, Promise, Map, RegExp].map(c => Reflect.ownKeys(c.prototype).map(String)))"
    before, intrinsics = json.loads(str(evaluate(instance, NAMES))), evaluate(instance, prototypes)
    evaluate(instance, (VENDOR / f"{script}.js").read_text())
    assert set(json.loads(str(evaluate(instance, NAMES)))) - set(before) == globals
    assert evaluate(instance, prototypes) == intrinsics


def test_lines_are_short_enough_to_be_quoted_in_an_error() -> None:
    longest = {
        file.name: max(map(len, file.read_text().splitlines())) for file in VENDOR.glob("*.js")
    }
    assert max(longest.values()) < 4000, longest


def test_every_bundled_package_has_its_licence() -> None:
    licences = (VENDOR / "LICENSES.txt").read_text()
    for name, version in json.loads((TOOLS / "package.json").read_text())["dependencies"].items():
        assert re.search(rf"^{re.escape(name)} {re.escape(version)} \(", licences, re.MULTILINE), (
            name
        )
