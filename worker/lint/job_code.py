"""Mistakes in the code of a job that end in success: operations that never run, lost values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.lint import rules
from worker.lint.rules import Rule
from worker.lint.source_tree import (
    FUNCTIONS,
    Place,
    first_of,
    root_name,
    short_text,
    strip,
    text_of,
    walk,
)

if TYPE_CHECKING:
    from tree_sitter import Node

# A job on OpenFn has none of these: there they are ReferenceErrors.
LACKING = frozenset(
    (
        *("AbortController", "Blob", "DOMException", "Event", "EventTarget", "FormData", "Headers"),
        *("MessageChannel", "Request", "Response", "TextDecoder", "TextEncoder", "URL"),
        *("URLSearchParams", "WebSocket", "__dirname", "__filename", "atob", "btoa"),
        *("clearImmediate", "crypto", "exports", "fetch", "global", "module", "navigator"),
        *("performance", "process", "queueMicrotask", "require", "setImmediate", "structuredClone"),
    )
)
_CONSOLE = ("log", "info", "debug", "warn", "error", "success", "always")
_LOCALE_CALLS = (
    *("toLocaleString", "toLocaleDateString", "toLocaleTimeString", "localeCompare"),
    *("toLocaleUpperCase", "toLocaleLowerCase"),
)
_OWN_DOLLAR = re.compile(
    r"\b(?:const|let|var|function|import)\s+(?:\{[^}]{0,2000})?\$(?![\w$])|\(\$\)|\$\s*=>"
)
_MEMBERS = ("member_expression", "subscript_expression")
_CALLS = ("call_expression", "new_expression")
# Methods of lists that ask a function for a truth.
_TESTS = ("every", "filter", "find", "findIndex", "findLast", "findLastIndex", "some")
_CALL = re.compile(r"=>|\w\(")
_DECLARATIONS = (
    *("lexical_declaration", "variable_declaration", "function_declaration", "class_declaration"),
    *("comment", "import_statement", "empty_statement", "generator_function_declaration"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Mistake on a line of a job's code, counted from 1."""

    rule: Rule
    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCode:
    """Code of a job: its tree, the names that it does not declare, and the operations of these.

    ``helpers`` are global functions of the workflow, which may be operations or plain functions.
    """

    source: str
    root: Node
    free: frozenset[str]
    operations: frozenset[str]
    helpers: frozenset[str] = frozenset()

    @property
    def namespaces(self) -> frozenset[str]:
        """Undeclared names whose members are used: ``http`` in ``http.get(x)``."""
        objects = (
            text_of(place.node.child(0))
            for place in walk(self.root)
            if place.node.type == "member_expression"
        )
        return self.free.intersection(objects)

    def is_operation(self, node: Node | None) -> bool:
        """Return whether a node is a call that makes an operation, and does not apply it."""
        call = strip(node)
        if call is None or call.type != "call_expression":
            return False
        callee = strip(call.child_by_field_name("function"))
        direct = callee is not None and callee.type in ("identifier", "member_expression")
        inner = callee
        while inner is not None and inner.type == "member_expression":
            inner = strip(inner.child(0))
        named = inner is not None and inner.type == "identifier"
        return direct and named and text_of(inner) in self.operations


def job_mistakes(code: JobCode) -> Iterator[Mistake]:
    """Yield the mistakes of a job, in the order of its code, each once."""
    places = list(walk(code.root))
    mistakes = [
        Mistake(rule=rule, line=place.line, message=message)
        for check in _CHECKS
        for place, rule, message in check(code, places)
    ]
    unique = {(mistake.rule.code, mistake.message): mistake for mistake in reversed(mistakes)}
    yield from sorted(unique.values(), key=lambda mistake: (mistake.line, mistake.rule.code))


Reports = Iterator[tuple[Place, Rule, str]]


# --- operations that never run --------------------------------------------------------------------


def _dead_operations(code: JobCode, places: list[Place]) -> Reports:
    uses = Counter(text_of(place.node) for place in places if place.node.type == "identifier")
    for place in places:
        match place.node.type:
            case "expression_statement" if place.in_function:
                yield from _dropped(code, place)
            case "expression_statement":
                yield from _misplaced(code, place)
            case "variable_declarator" if not place.in_function:
                yield from _unused(code, place, uses)
            case "call_expression" if _method(place.node) == "forEach":
                yield from _dropped_by_loop(code, place)


def _dropped(code: JobCode, place: Place) -> Reports:
    """Report a call in a function that makes an operation and drops it."""
    yield from _report_dropped(code, place, strip(first_of(place.node)))


def _dropped_by_loop(code: JobCode, place: Place) -> Reports:
    """Report a function without a block that makes operations for forEach, which drops them."""
    callback = _callback(place.node)
    if callback is not None:
        yield from _report_dropped(code, place, strip(callback.child_by_field_name("body")))


def _report_dropped(code: JobCode, place: Place, value: Node | None) -> Reports:
    if value is not None and value.type == "await_expression":
        value = strip(first_of(value))
    if value is not None and code.is_operation(value):
        call = short_text(value)
        text = f"{call} in a function makes an operation that never runs: call it with the state, "
        yield place, rules.DEAD, f"{text}{root_name(value)}(...)(state)"


def _method(call: Node) -> str:
    """Return the name of the method that a call calls, or ``""``."""
    callee = call.child_by_field_name("function")
    return text_of(callee.child_by_field_name("property")) if callee is not None else ""


def _callback(call: Node) -> Node | None:
    """Return the function that is a call's first argument, if it is written there."""
    arguments = call.child_by_field_name("arguments")
    first = first_of(arguments) if arguments is not None else None
    return first if first is not None and first.type in FUNCTIONS else None


def _misplaced(code: JobCode, place: Place) -> Reports:
    """Report operations that are not statements of their own at the top level."""
    value = strip(first_of(place.node))
    at_top = place.parent is not None and place.parent.node.type == "program"
    if value is None or (at_top and value.type == "call_expression"):
        return
    where = "" if at_top else " inside a block"
    for inner in walk(value):
        if not inner.in_function and code.is_operation(inner.node):
            text = f"{short_text(inner.node)} never runs{where}: an operation stands alone on the "
            yield Place(inner.node), rules.DEAD, f"{text}top level; a condition is fnIf(...)"
            return


def _unused(code: JobCode, place: Place, uses: Counter[str]) -> Reports:
    name, value = (place.node.child_by_field_name(field) for field in ("name", "value"))
    while value is not None and value.type == "await_expression":
        value = strip(first_of(value))
    if value is not None and code.is_operation(value) and uses[text_of(name)] == 1:
        text = f"the operation in '{text_of(name)}' never runs: nothing uses the variable"
        yield place, rules.DEAD, text


def _no_operation(code: JobCode, places: list[Place]) -> Reports:
    """Report code without any statement that does something, as a folded comment is."""
    types = [child.type for child in code.root.named_children]
    # Prose, or code on several lines, was commented by its author: the job waits to be written.
    if types == ["comment"] and _CALL.search(code.source):
        yield places[0], rules.DEAD, "all of the code is in one comment, so it does nothing"
    elif {*types} - {"comment"} and all(type in _DECLARATIONS for type in types):
        text = "the code declares names and has no operation, so it does nothing"
        yield places[0], rules.DEAD, text


# --- $ --------------------------------------------------------------------------------------------


def _lazy_state(code: JobCode, places: list[Place]) -> Reports:
    if "$" not in code.source or _OWN_DOLLAR.search(code.source):
        return
    for place in places:
        parent = place.parent
        is_dollar = place.node.type == "identifier" and text_of(place.node) == "$"
        if is_dollar and parent is not None and parent.node.type in _MEMBERS:
            yield from _dollar(code, place)


def _dollar(code: JobCode, place: Place) -> Reports:
    """Report a ``$`` that is not the state of an operation around it."""
    child = place
    for ancestor in place.ancestors():
        if ancestor.node.type in FUNCTIONS:
            text = "$ in a function is not the state: use the function's parameter"
            yield place, rules.LAZY_STATE, text
            return
        if child.node.type == "arguments" and ancestor.node.type in _CALLS:
            callee = ancestor.node.child_by_field_name("function") or first_of(ancestor.node)
            name = root_name(callee)
            if name in code.operations | code.helpers:
                return
            # A call that hangs on $ itself becomes a function of the state as a whole.
            if name != "$":
                call = short_text(callee) if callee is not None else "this call"
                text = f"$ as an argument of {call}() is a function and not the state: write "
                yield place, rules.LAZY_STATE, f"{text}state => {call}(state...)"
                return
        child = ancestor


# --- what OpenFn lacks, or does otherwise ---------------------------------------------------------


def _lacking(code: JobCode, places: list[Place]) -> Reports:
    for place in places:
        what = _lacks(code, place)
        if what:
            yield place, rules.LACKING, f"OpenFn has no {what}: the run would fail there"


def _lacks(code: JobCode, place: Place) -> str:
    node, text = place.node, text_of(place.node)
    parent = place.parent.node if place.parent is not None else None
    match node.type:
        case "identifier" if text in LACKING & code.free:
            # Only a test for the name: it is undefined there, and no error.
            tests = parent is not None and text_of(parent.child(0)) == "typeof"
            return "" if tests else text
        case "number" if text.endswith("n"):
            return f"BigInt literal {text} (BigInt({text[:-1]}) works)"
        case "private_property_identifier":
            return f"private member {text} of classes"
        case "member_expression" if text_of(node.child(0)) == "console":
            name = text_of(node.child_by_field_name("property"))
            return "" if name in _CONSOLE else f"console.{name}"
        case "import" if parent is not None and parent.type == "call_expression":
            return "import()"
        case "new_expression" if text_of(node.child_by_field_name("constructor")) == "Buffer":
            return "new Buffer() (Buffer.from() works)"
        case _:
            return ""


def _locale_calls(code: JobCode, places: list[Place]) -> Reports:
    for place in places:
        name = text_of(place.node)
        called = place.node.type == "property_identifier" and name in _LOCALE_CALLS
        if called or (place.node.type == "identifier" and name == "Intl" and name in code.free):
            text = f"{name} follows a locale and a time zone, which differ from server to server"
            yield place, rules.LOCALE, text


# --- state, and callbacks that nobody awaits ------------------------------------------------------


def _early_state(code: JobCode, places: list[Place]) -> Reports:
    ends = [
        statement.end_byte
        for statement in code.root.named_children
        if statement.type == "expression_statement" and _begins_with_operation(code, statement)
    ]
    if not ends or "state" not in code.free:
        return
    for place in places:
        named = place.node.type in ("identifier", "shorthand_property_identifier")
        is_state = named and text_of(place.node) == "state" and place.node.start_byte >= ends[0]
        if is_state and not _declares_state(place) and not _becomes_function(place):
            text = "this state is the step's input, also after the operations before it: "
            yield place, rules.EARLY_STATE, f"{text}write state => ..., or $"
            return


def _begins_with_operation(code: JobCode, statement: Node) -> bool:
    value = strip(first_of(statement))
    is_call = value is not None and value.type == "call_expression"
    return is_call and root_name(value) in code.operations


def _declares_state(place: Place) -> bool:
    """Return whether a function or block around a name declares ``state``."""
    return any(_binds_state(ancestor.node) for ancestor in place.ancestors())


def _becomes_function(place: Place) -> bool:
    """Return whether a name stands in an argument that ``$`` makes a function of the state."""
    argument = place
    for ancestor in place.ancestors():
        if ancestor.node.type == "arguments" and _has_dollar(argument.node):
            return True
        argument = ancestor
    return False


def _has_dollar(node: Node) -> bool:
    names = (inner.node for inner in walk(node) if inner.node.type == "identifier")
    return any(text_of(name) == "$" for name in names)


def _binds_state(node: Node) -> bool:
    if node.type in FUNCTIONS or node.type == "catch_clause":
        patterns = [node.child_by_field_name(name) for name in ("parameter", "parameters", "name")]
        if any(_names_state(pattern) for pattern in patterns if pattern is not None):
            return True
    declarations = [
        child.child_by_field_name("name")
        for statement in node.named_children
        if statement.type in ("lexical_declaration", "variable_declaration")
        for child in statement.named_children
    ]
    own = node.child_by_field_name("left") if node.type == "for_in_statement" else None
    return any(_names_state(name) for name in (*declarations, own) if name is not None)


def _names_state(pattern: Node) -> bool:
    names = ("identifier", "shorthand_property_identifier_pattern")
    return any(
        place.node.type in names and text_of(place.node) == "state" for place in walk(pattern)
    )


def _unawaited(code: JobCode, places: list[Place]) -> Reports:
    for place in places:
        if place.node.type != "call_expression":
            continue
        name, callback = _method(place.node), _callback(place.node)
        if callback is None or not text_of(callback).startswith("async"):
            continue
        if name == "forEach" or (name == "map" and _is_statement(place)):
            text = f"{name} does not wait for an async function: use for (... of ...), or each"
            yield place, rules.UNAWAITED, text
        elif name in _TESTS:
            text = f"{name} takes the promise of an async function for true: "
            yield place, rules.UNAWAITED, f"{text}use for (... of ...) with await"


def _is_statement(place: Place) -> bool:
    return place.parent is not None and place.parent.node.type == "expression_statement"


_CHECKS: tuple[Callable[[JobCode, list[Place]], Reports], ...] = (
    *(_dead_operations, _no_operation, _lazy_state, _lacking, _locale_calls),
    *(_early_state, _unawaited),
)
