"""Arguments that run, run_async and Pool.run share, resolved into the options of one run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

import msgspec

from worker.adaptors.collections.settings import Collections
from worker.core.scripted import Script
from worker.errors import UsageError
from worker.runner.prepare import Options, check_workflow
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits, resolve_limits
from worker.workflow.limit_ranges import RANGES
from worker.workflow.model import Workflow
from worker.workflow.step_names import find_step

F = TypeVar("F", bound=Callable[..., Any])


class RunFields(TypedDict, total=False):
    """Options of one run by name: limits by themselves, and the fields of :class:`Options`.

    ``timeout`` is in seconds; it and the sizes in MB count before the limits of the workflow's
    file. ``limits`` sets all of them at once.
    """

    timeout: float | None
    memory_mb: int | None
    state_mb: float | None
    payload_mb: float | None
    fuel_limit: int | None
    credentials: Mapping[str, Mapping[str, Any]] | None
    allow_hosts: Sequence[str] | None
    start: str
    end: str
    only: str
    limits: Limits | None
    allow_python: bool
    modules: Iterable[str]
    script: Script
    clock: ClockKind
    clock_start_us: int
    moments_us: Mapping[tuple[str, int], int]
    collections: str | Path | Collections | None
    fuel: bool


_LIMITS: Final = {
    "timeout": "timeout_s",
    "memory_mb": "memory_mb",
    "state_mb": "state_mb",
    "payload_mb": "payload_mb",
    "fuel_limit": "fuel",
}
_STEPS: Final = frozenset(("start", "end", "only"))
_EXPECTED: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "credentials": (Mapping, "a dict of credentials by name"),
    "start": (str, "the id of a step"),
    "end": (str, "the id of a step"),
    "only": (str, "the id of a step"),
    "limits": (Limits, "a worker.Limits"),
    "allow_python": (bool, "True or False"),
    "script": (Mapping, "a worker.Script"),
    "clock": (ClockKind, "a worker.ClockKind"),
    "clock_start_us": (int, "microseconds since the epoch"),
    "moments_us": (Mapping, "a dict"),
    "fuel": (bool, "True or False"),
    "collections": ((str, Path, Collections), "a folder or a URL"),
}


def shares_run_fields(function: F) -> F:
    """Show the fields of :class:`RunFields` in the signature, for help() and notebooks."""
    signature = inspect.signature(function)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    fields = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_text(annotation)
        )
        for name, annotation in RunFields.__annotations__.items()
    ]
    function.__signature__ = signature.replace(parameters=[*named, *fields])  # type: ignore[attr-defined]
    return function


def _text(annotation: Any) -> str:
    # Annotations are texts in this module, as a type that is a name of it alone would be no help.
    return str(getattr(annotation, "__forward_arg__", annotation))


def options_of(workflow: Workflow, options: Options | None, fields: Mapping[str, Any]) -> Options:
    """Resolve the arguments of a run into its options.

    Raises :class:`UsageError` for an unknown name, a wrong type or value, and arguments that
    contradict each other.
    """
    check_workflow(workflow)
    if options is not None and not isinstance(options, Options):
        kind = type(options).__name__
        raise UsageError(f"options: expected worker.Options, found {kind}: {_shorten(options)}")
    for name in fields:
        if name not in RunFields.__annotations__:
            raise UsageError(_unknown(name))
    present = {name: value for name, value in fields.items() if value is not None}
    if options is None and not present:
        return _USUAL
    if options is not None and present:
        names = " and ".join(f"{name}=" for name in present)
        raise UsageError(f"options= holds all options: leave out {names}, or options=")
    _check_types(present)
    _check_contradictions(present)
    for name in _STEPS & present.keys():
        present[name] = find_step(workflow, present[name], name)
    limits = {_LIMITS[name]: present.pop(name) for name in _LIMITS if name in present}
    if limits:
        present["limits"] = resolve_limits(workflow.options, limits)
    for name, collection in (("allow_hosts", tuple), ("modules", frozenset)):
        if name in present:
            present[name] = collection(present[name])
    chosen = Options(**present) if options is None else options
    # As the command: the hosts that credentials name can be reached without further options.
    return chosen if chosen.allow_hosts is not None else with_hosts(chosen)


def with_hosts(options: Options) -> Options:
    """Return options that allow the hosts of credentials alone."""
    return msgspec.structs.replace(options, allow_hosts=())


# The same for all runs, so that what follows from options can be kept by their identity.
_USUAL = with_hosts(Options())


def _check_types(present: Mapping[str, Any]) -> None:
    for name, value in present.items():
        expected, text = _EXPECTED.get(name, (object, ""))
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise UsageError(f"{name}: expected {text}, found {_shorten(value)}")
        if name in _LIMITS and (problem := RANGES[_LIMITS[name]].problem(value)):
            raise UsageError(f"{name}: {problem}")
        if name in ("allow_hosts", "modules") and not _is_list_of_texts(value):
            raise UsageError(f"{name}: expected a list of strings, found {_shorten(value)}")
    for name, content in (present.get("credentials") or {}).items():
        if not isinstance(content, Mapping):
            # Never the content: it can be a password.
            kind = type(content).__name__
            raise UsageError(f"credentials: expected a dict for '{name}', found a {kind}")


def _check_contradictions(present: Mapping[str, Any]) -> None:
    limits = [name for name in _LIMITS if name in present]
    if "limits" in present and limits:
        raise UsageError(f"limits= and {limits[0]}= both set a limit: leave one out")
    if present.get("only") and (present.get("start") or present.get("end")):
        raise UsageError("only= starts and ends at one step: leave out start= and end=")


def _is_list_of_texts(value: object) -> bool:
    # A string is a sequence too: of its letters.
    texts = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return texts and all(isinstance(item, str) for item in value)  # type: ignore[attr-defined]


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    synonyms = {"inputs": "input", "state": "input", "hosts": "allow_hosts", "memory": "memory_mb"}
    close = [synonyms[name]] if name in synonyms else []
    close += get_close_matches(name, RunFields.__annotations__, n=1)
    if close:
        return f"unknown option '{name}'; did you mean '{close[0]}'?"
    return f"unknown option '{name}' (expected one of {', '.join(RunFields.__annotations__)})"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
