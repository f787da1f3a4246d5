"""Rules of the linter, with their codes and severities."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    # Numbers, as --fail-on compares: this severity or a worse one.
    NOTE = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Kind of mistake; ``help`` is its remedy.

    Codes are never reused: people's suppressions name them.
    """

    code: str
    name: str
    severity: Severity
    help: str


def _rule(code: str, name: str, severity: Severity, help: str) -> Rule:
    return Rule(code=code, name=name, severity=severity, help=help)


# A suppression without a reason is no suppression, so that the next reader knows why.
BARE_SUPPRESSION = _rule(
    "W000",
    "bare-suppression",
    Severity.WARNING,
    "Add the reason: # worker-lint: ignore W008 -- reason",
)
UNREACHABLE = _rule(
    "W001", "unreachable-step", Severity.WARNING, "Lead an edge to the step, or remove it."
)
CUT_OFF = _rule(
    "W002", "cut-off", Severity.WARNING, "Enable the edge, or remove what lies behind it."
)
# A note: many workflows leave it to the run's status that something failed.
UNHANDLED = _rule(
    "W003", "unhandled-failure", Severity.NOTE, "Add an edge with on_job_failure, or accept it."
)
THROWS = _rule(
    "W004", "throwing-condition", Severity.WARNING, "Write ?. before what the state may lack."
)
# An error: OpenFn never sets state.error, so the condition has the same value in every run.
SINGULAR = _rule("W005", "singular-error", Severity.ERROR, "Write state.errors, in the plural.")
LINGERING = _rule(
    "W006",
    "lingering-errors",
    Severity.WARNING,
    "Use on_job_success: state.errors stays set after an error was handled.",
)
PRECEDENCE = _rule("W007", "negation-precedence", Severity.ERROR, "Write !(a === b), or a !== b.")
UNPINNED = _rule(
    "W008", "unpinned-adaptor", Severity.WARNING, "Write NAME@VERSION: the newest release changes."
)
UNDECLARED = _rule(
    "W009", "undeclared-variable", Severity.ERROR, "Declare it, or import it: the run will crash."
)
# Errors of the compiler, as findings: a file with several mistakes shows them all.
BROKEN = _rule("W010", "cannot-run", Severity.ERROR, "Correct it: the workflow cannot run.")
# An error: the author meant a key that would have changed the run.
UNKNOWN_KEY = _rule(
    "W011", "unknown-key", Severity.ERROR, "Correct the key: what it holds is not used."
)
QUESTIONABLE = _rule(
    "W012", "questionable-entry", Severity.WARNING, "Correct the entry: it is not used as written."
)
UNKNOWN_TRIGGER = _rule("W013", "unknown-trigger", Severity.ERROR, "Write webhook, cron or kafka.")
CRON = _rule(
    "W014", "invalid-cron", Severity.ERROR, "Write five fields: minute hour day month weekday."
)
CONSTANT = _rule(
    "W015", "constant-condition", Severity.WARNING, "Write an expression over state, or always."
)
DEAD = _rule(
    "W016", "dead-operation", Severity.ERROR, "Call the operation on its own, at the top level."
)
LAZY_STATE = _rule(
    "W017", "lost-lazy-state", Severity.ERROR, "Write state => ... and use state in it."
)
LACKING = _rule(
    "W018", "not-on-openfn", Severity.ERROR, "Use what OpenFn has: the run would fail there."
)
# A note: what a call answers here is right, and on another server it can differ.
LOCALE = _rule(
    "W019", "locale-call", Severity.NOTE, "Use dateFns.format or toFixed, or accept the locale."
)
EARLY_STATE = _rule(
    "W020", "early-state", Severity.WARNING, "Write state => ..., or $: it is the current state."
)
UNAWAITED = _rule(
    "W021", "unawaited-callback", Severity.WARNING, "Use for (... of ...) with await, or each."
)
# A note: it concerns this machine, and a test can script the step.
NOT_INSTALLED = _rule(
    "W022",
    "not-installed",
    Severity.NOTE,
    "Install the adaptor (worker adaptors install NAME@VERSION), or script the step in a case.",
)

RULES = (
    *(BARE_SUPPRESSION, UNREACHABLE, CUT_OFF, UNHANDLED, THROWS, SINGULAR),
    *(LINGERING, PRECEDENCE, UNPINNED, UNDECLARED, BROKEN),
    *(UNKNOWN_KEY, QUESTIONABLE, UNKNOWN_TRIGGER, CRON, CONSTANT, DEAD),
    *(LAZY_STATE, LACKING, LOCALE, EARLY_STATE, UNAWAITED, NOT_INSTALLED),
)
