"""Parsing JavaScript, and the last word of the engine on what it refuses."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from worker.errors import PlanError

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

SOURCE_LIMIT = 1_000_000
"""Bytes of one job's source."""

# A module's imports are resolved after it was parsed and before it runs. One that nobody can
# resolve therefore gives the engine's verdict on the syntax, and the code never runs.
_UNRESOLVABLE = "\nimport 'worker:never';"

_TOKEN = re.compile(
    r"(?P<identifier>[^\W\d][\w$]*|\$[\w$]*)|(?P<number>\d[\w.]*)|(?P<string>['\"])|(?P<template>`)"
    r"|(?P<mark>=>|\.\.\.|\S)"
)

_INVALID = "Invalid or unexpected token"
_WORDINGS = (
    (r"unexpected end of (string|comment)|unexpected character|invalid first char.*", _INVALID),
    (r"unexpected (line terminator in|end of) regexp", "Invalid regular expression: missing /"),
    (r"invalid redefinition of .*", "Identifier has already been declared"),
    (r"missing initializer for .*", "Missing initializer in const declaration"),
    (r"invalid (assignment left-hand side|lvalue.*)", "Invalid left-hand side in assignment"),
    (r"return not in a function", "Illegal return statement"),
    (r"break must be inside .*", "Illegal break statement"),
    (r"continue must be inside .*", "Illegal continue statement"),
    (r"Octal literals are .*", "Octal literals are not allowed in strict mode"),
)


@cache
def _parser() -> Parser:
    import tree_sitter
    import tree_sitter_javascript

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_javascript.language()))


def parse(source: bytes) -> Node:
    """The syntax tree; ``has_error`` tells that the parser doubts the source."""
    return _parser().parse(source).root_node


def encode_source(source: str, error_type: str) -> bytes:
    """The source as bytes. Raises ``PlanError`` on one that is too long or not Unicode."""
    try:
        text = source.encode()
    except UnicodeEncodeError as error:
        place = _place(source, error.start)
        raise PlanError(f"Half of a surrogate pair {place}", type=error_type) from None
    if len(text) > SOURCE_LIMIT:
        raise PlanError(
            f"the source has {len(text):,} bytes, expected at most {SOURCE_LIMIT:,}: "
            "keep data out of the code",
            type=error_type,
        )
    return text


def check_module(source: str) -> None:
    """Raise ``PlanError`` (SyntaxError) where the engine, too, refuses the source of a job."""
    refusal = _refusal(source + _UNRESOLVABLE, module=True)
    if refusal is not None:
        raise PlanError(_worded(refusal, source, 0), type="SyntaxError")


def check_expression(text: str) -> None:
    """Raise ``PlanError`` (EdgeConditionError) unless the engine reads one expression.

    Only that is whole by itself as well as inside parentheses.
    """
    alone = _refusal(text + _UNRESOLVABLE, module=True)
    if alone is not None:
        raise PlanError(_worded(alone, text, 0), type="EdgeConditionError")
    inside = _refusal(f"(function(){{'use strict';return (\n{text}\n)}})", module=False)
    if inside is not None:
        raise PlanError(_worded(inside, text, 1), type="EdgeConditionError")


def _refusal(source: str, *, module: bool) -> str | None:
    """The engine's message about a source, or None where it has nothing against the syntax."""
    import _quickjs

    context = _quickjs.Context()
    try:
        (context.module if module else context.eval)(source)
    except _quickjs.StackOverflow:
        return "Nested too deeply"
    except _quickjs.JSException as error:
        text = str(error)
        if "Maximum call stack size exceeded" in text or "stack overflow" in text:
            return "Nested too deeply"
        return text.removeprefix("SyntaxError: ") if text.startswith("SyntaxError: ") else None
    return None


def _worded(refusal: str, source: str, lines_before: int) -> str:
    """The engine's message in Node's words, with line and column in the source (from 1)."""
    message, _, trace = refusal.partition("\n")
    at = re.search(r":(\d+):(\d+)", trace)
    if at is None:
        return message
    offset = _offset(source, int(at[1]) - lines_before, int(at[2]))
    for pattern, wording in _WORDINGS:
        if re.fullmatch(pattern, message):
            return f"{wording} {_place(source, offset)}"
    return f"{_unexpected(source, offset)} {_place(source, min(offset, len(source.rstrip())))}"


def _unexpected(source: str, offset: int) -> str:
    token = _TOKEN.match(source, offset)
    if token is None:
        return "Unexpected end of input"
    match token.lastgroup:
        case "identifier":
            return f"Unexpected identifier '{token[0][:60]}'"
        case "number" | "string":
            return f"Unexpected {token.lastgroup}"
        case "template":
            return "Unexpected template string"
        case _:
            return f"Unexpected token '{token[0]}'"


def _offset(source: str, line: int, column: int) -> int:
    """The offset of a place that the engine gives: its columns count bytes."""
    lines = source.split("\n")
    if line > len(lines):
        return len(source)
    before = sum(len(text) + 1 for text in lines[: line - 1])
    return before + len(lines[line - 1].encode()[: column - 1].decode(errors="ignore"))


def format_position(source: bytes, offset: int) -> str:
    """``(line:column)`` of a byte, from 1, in code points."""
    before = source[:offset].decode(errors="ignore")
    return _place(before, len(before))


def _place(source: str, offset: int) -> str:
    line_start = source.rfind("\n", 0, offset) + 1
    return f"({source.count(chr(10), 0, offset) + 1}:{offset - line_start + 1})"
