"""Keys of case files: those of each section, and the old spellings that still work."""

from __future__ import annotations

import sys
from collections.abc import Callable

from worker.testing.trigger_reader import START_KEYS
from worker.version import REMOVED_IN
from worker.workflow.documents.cursor import Cursor

FILE_KEYS = ("workflow", "pick", "defaults", "cases")
DEFAULT_KEYS = (
    *("input", "input_file", "steps", "timeout", "memory", "start_at", "stop_after", "at"),
    *("retry", "cron", "http", "credentials", "collections"),
)
CASE_KEYS = ("name", "pick", "matrix", "run_id", *START_KEYS, *DEFAULT_KEYS, "expect")
STEP_KEYS = ("returns", "leaves", "fails", "message", "details", "takes", "hangs")
RETRY_KEYS = ("times", "after", "start_at")
CRON_KEYS = ("times", "expression")
RUN_KEYS = (
    *("status", "error_type", "error_message", "path", "through", "never", "taken", "not_taken"),
    *("state", "state_exact", "state_at", "outputs", "logs", "cost", "costs"),
)
EXPECT_KEYS = (*RUN_KEYS, "collections", "runs", "trigger", "response")

# Old spelling to key, by section. They are hidden: neither the schema nor a suggestion names them.
# Remove the table, and what reads it, in REMOVED_IN.
ALIASES = {
    "case": {"start": "start_at", "end": "stop_after"},
    "retry": {"from": "start_at"},
    "expect": {"refused": "not_taken"},
}


def spellings(section: str, key: str) -> tuple[str, ...]:
    """List the key and its old spellings, which a section may use instead."""
    return key, *(old for old, new in ALIASES[section].items() if new == key)


class KeyReader:
    """Reads the keys of sections that have old spellings, and collects those that a file uses."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], int] = {}

    def check(self, node: Cursor, section: str, keys: tuple[str, ...]) -> None:
        """Require a mapping with these keys alone; an old spelling counts as its key."""
        used = [old for old in ALIASES[section] if node.has(old)]
        # Only the spellings that are used, so that none is suggested for a mistyped key.
        node.mapping(*keys, *used)
        for old in used:
            new = ALIASES[section][old]
            if node.has(new):
                node.at(old).fail(f"expected '{new}' alone, found its old name '{old}' beside it")
            self._lines.setdefault((old, new), node.at(old).position[0])

    def at(self, node: Cursor, section: str, key: str) -> Cursor:
        """Look up the value of a key, whichever way it is spelled."""
        return node.at(next((name for name in spellings(section, key) if node.has(name)), key))

    def report(self, file: str, notify: Callable[[str], None]) -> None:
        """Pass on one line for each old spelling, with the line of its first use."""
        for (old, new), line in self._lines.items():
            notify(f"{file}:{line}: '{old}' is now '{new}' (works until version {REMOVED_IN})")


def print_deprecation(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
