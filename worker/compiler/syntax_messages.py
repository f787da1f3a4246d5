"""Messages of Node about sources that do not compile, in place of the engine's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

AWAIT: Final = "await is only valid in async functions and the top level bodies of modules"

# Texts, which `re` compiles at their first use: each process of runs imports this module.
_LEXEME = (
    r"(?P<identifier>[^\W\d][\w$]*|\$[\w$]*)|(?P<number>\.?\d[\w.]*)|(?P<string>['\"])"
    r"|(?P<template>`)"
    r"|(?P<mark>=>|\.\.\.|[=!]==?|\*\*=?|\+\+|--|&&|\|\||\?\?|\?\.|<=|>=|[-+*/%&|^]=|\S)"
)
_NAME_BEFORE = r"(#?[\w$]+)\s*$"
_DECLARED_BEFORE = r"(?<![\w$.])(?:class|function\s*\*?)\s+([\w$]+)"
_INVALID = "Invalid or unexpected token"
_STRICT_FUNCTION = (
    "In strict mode code, functions can only be declared at top level or inside a block."
)
_EXPONENT = (
    "Unary operator used immediately before exponentiation expression. "
    "Parenthesis must be used to disambiguate operator precedence"
)
_STRICT_ASSIGNMENT = "Unexpected eval or arguments in strict mode"
_STRICT_NAMES: Final = frozenset(
    ("let", "static", "implements", "interface", "package", "private", "protected", "public",
     "yield")
)  # fmt: skip
_REGEXP_REASONS: Final = (
    ("expecting ')'", "Unterminated group"),
    ("invalid class range", "Range out of order in character class"),
    ("duplicate group name", "Duplicate capture group name"),
    ("invalid repetition count", "numbers out of order in {} quantifier"),
    ("invalid group name", "Invalid capture group name"),
    ("invalid escape sequence in regular expression", "Invalid escape"),
    ("nothing to repeat", "Nothing to repeat"),
    ("extraneous characters", "Unmatched ')'"),
    ("group name not defined", "Invalid named reference"),
    ("invalid group", "Invalid group"),
    ("unknown unicode property name", "Invalid property name"),
)
# Words that are no identifiers anywhere: Node calls each a token.
_WORDS: Final = frozenset(
    ("break", "case", "catch", "class", "const", "continue", "debugger", "default", "delete", "do",
     "else", "export", "extends", "false", "finally", "for", "function", "if", "import", "in",
     "instanceof", "new", "null", "return", "super", "switch", "this", "throw", "true", "try",
     "typeof", "var", "void", "while", "with")
)  # fmt: skip


def node_message(message: str, source: str, offset: int | None) -> tuple[str, int | None]:
    """Return Node's message for one of the engine, and the offset where Node reports it.

    ``offset`` is where the engine reports it; None: nowhere.
    """
    if offset is not None:
        # Outside of async functions await is a name, so that the next token is the wrong one.
        before = source[:offset].rstrip()
        if re.search(r"(?<![\w$.])await$", before):
            return AWAIT, len(before) - len("await")
    for pattern, written in _MESSAGES:
        match = re.fullmatch(pattern, message)
        if match is None:
            continue
        if isinstance(written, str):
            return match.expand(written), offset
        if offset is not None:
            return written(source, offset)
    if offset is not None:
        return _unexpected(source, offset), offset
    # Only of regular expressions the engine knows no place.
    reason = next((words for part, words in _REGEXP_REASONS if part in message), None)
    return (f"Invalid regular expression: {reason}" if reason else message), None


def _unexpected(source: str, offset: int) -> str:
    token = re.compile(_LEXEME).match(source, offset)
    if token is None:
        return "Unexpected end of input"
    match token.lastgroup:
        case "identifier" if token[0] in _WORDS:
            return f"Unexpected token '{token[0]}'"
        case "identifier" if token[0] in _STRICT_NAMES:
            return "Unexpected strict mode reserved word"
        case "identifier" if token[0] in ("enum", "await"):
            return "Unexpected reserved word"
        case "identifier":
            return f"Unexpected identifier '{token[0][:60]}'"
        case "number" | "string":
            return f"Unexpected {token.lastgroup}"
        case "template":
            return "Unexpected template string"
        case _:
            return _INVALID if token[0] in "\\@#" else f"Unexpected token '{token[0]}'"


def _declared(source: str, offset: int) -> tuple[str, int]:
    """Name the variable that is declared again, which stands before the engine's place."""
    name = re.compile(_NAME_BEFORE).search(source, 0, offset)
    if name is not None:
        return f"Identifier '{name[1]}' has already been declared", name.start()
    # Of a class or a function the engine knows it later.
    *_, name = (None, *re.compile(_DECLARED_BEFORE).finditer(source, 0, offset + 1))
    if name is None:
        return "Identifier has already been declared", offset
    return f"Identifier '{name[1]}' has already been declared", name.start(1)


def _without_loop(source: str, offset: int) -> tuple[str, int]:
    label = re.compile(_LEXEME).match(source, offset)
    name = label[0] if label else ""
    if source[:offset].rstrip().endswith("continue") and re.search(
        rf"(?<![\w$]){re.escape(name)}\s*:", source[:offset]
    ):
        words = f"'{name}' does not denote an iteration statement"
        return f"Illegal continue statement: {words}", offset
    return f"Undefined label '{name}'", offset


def _label(source: str, offset: int) -> tuple[str, int]:
    token = re.compile(_LEXEME).match(source, offset)
    return f"Label '{token[0] if token else ''}' has already been declared", offset


def _no_name(source: str, offset: int) -> tuple[str, int]:
    """Explain why no variable's name was found."""
    if source.startswith(("[", "{"), offset) or re.search(r"[\[{]\s*$", source[:offset]):
        return "Missing initializer in destructuring declaration", offset
    return _unexpected(source, offset), offset


def _lexical(source: str, offset: int) -> tuple[str, int]:
    if source.startswith("let", offset):
        return "Lexical declaration cannot appear in a single-statement context", offset
    return _unexpected(source, offset), offset


def _number(source: str, offset: int) -> tuple[str, int]:
    token = re.compile(_LEXEME).match(source, offset)
    digits = token[0] if token else ""
    if "__" in digits:
        return "Only one underscore is allowed as numeric separator", offset
    if digits.endswith("_"):
        return "Numeric separators are not allowed at the end of numeric literals", offset
    return _INVALID, offset


def _method_name(source: str, offset: int) -> tuple[str, int]:
    name = re.compile(_NAME_BEFORE).search(source, 0, offset)
    if name is None or name[1] == "prototype":
        return "Classes may not have a static property named 'prototype'", offset
    if name[1] == "#constructor":
        return "Classes may not have a field named 'constructor'", name.start()
    before = source[: name.start()].rstrip()
    if before.endswith(("get", "set")):
        return "Class constructor may not be an accessor", name.start()
    if before.endswith("*"):
        return "Class constructor may not be a generator", name.start()
    if before.endswith("async"):
        return "Class constructor may not be an async method", name.start()
    return "Classes may not have a field named 'constructor'", name.start()


def _accessor(source: str, offset: int) -> tuple[str, int]:
    head = re.search(r"\b(get|set)\s+[^(]*\([^()]*$", source[:offset])
    if head is not None and head[1] == "set":
        return "Setter must have exactly one formal parameter.", offset
    return "Getter must not have any formal parameters.", offset


def _comma(source: str, offset: int) -> tuple[str, int]:
    rest = re.search(r"\.\.\.\s*[\w$]+\s*$", source[:offset])
    if rest is not None and source.startswith(",", offset):
        return "Rest parameter must be last formal parameter", rest.start()
    return _unexpected(source, offset), offset


def _shorthand(source: str, offset: int) -> tuple[str, int]:
    if re.search(r"[{,]\s*[\w$]+\s*$", source[:offset]):
        return "Invalid shorthand property initializer", offset
    return _unexpected(source, offset), offset


def _increment(source: str, offset: int) -> tuple[str, int]:
    if source.startswith(("++", "--"), offset):
        return "Invalid left-hand side expression in postfix operation", offset
    return "Invalid left-hand side expression in prefix operation", offset


def _field_name(source: str, offset: int) -> tuple[str, int]:
    if source.startswith("`", offset):
        return "Invalid tagged template on optional chain", offset
    return _unexpected(source, offset), offset


# Users know the messages of Node, and OpenFn shows those.
_MESSAGES: Final[tuple[tuple[str, str | Callable[[str, int], tuple[str, int]]], ...]] = (
    (r"unexpected end of (string|comment)|unexpected character|invalid first char.*", _INVALID),
    (r"unexpected (line terminator in|end of) regexp", "Invalid regular expression: missing /"),
    (r"invalid regular expression flags", "Invalid regular expression flags"),
    (r"invalid number literal", _number),
    (r"invalid redefinition of .*|duplicate import binding", _declared),
    (r"private class field is already defined", _declared),
    (r"Duplicate parameter name .*", r"\g<0>"),
    (r"duplicate exported name '(.*)'", r"Duplicate export of '\1'"),
    (r"exported variable '(.*)' does not exist", r"Export '\1' is not defined in module"),
    (r"undefined private field '(.*)'",
     r"Private field '\1' must be declared in an enclosing class"),
    (r"missing initializer for .*", "Missing initializer in const declaration"),
    (r"variable name expected", _no_name),
    (r"invalid variable name in strict mode|invalid lvalue in strict mode", _STRICT_ASSIGNMENT),
    (r"invalid (assignment left-hand side|lvalue.*)", "Invalid left-hand side in assignment"),
    (r"invalid increment/decrement operand", _increment),
    (r"invalid destructuring target", "Invalid destructuring assignment target"),
    (r"rest element must be the last one", "Rest element must be last element"),
    (r"unexpected 'await' keyword", AWAIT),
    (r"for await is only valid in asynchronous functions", AWAIT),
    (r"return not in a function", "Illegal return statement"),
    (r"break must be inside .*", "Illegal break statement"),
    (r"continue must be inside .*",
     "Illegal continue statement: no surrounding iteration statement"),
    (r"break/continue label not found", _without_loop),
    (r"duplicate label name", _label),
    (r"duplicate default", "More than one default clause in switch statement"),
    (r"Octal (literals|escape sequences) are .*", r"\g<0>."),
    (r"invalid keyword: with", "Strict mode code may not include a with statement"),
    (r"cannot delete a direct reference in strict mode",
     "Delete of an unqualified identifier in strict mode."),
    (r"new\.target only allowed .*", "new.target expression is not allowed here"),
    (r"('super'|super\(\)) is only valid .*", "'super' keyword unexpected here"),
    (r"property constructor appears more than once", "A class may only have one constructor"),
    (r"invalid method name", _method_name),
    (r"invalid number of arguments for getter or setter", _accessor),
    (r"duplicate __proto__ property name",
     "Duplicate __proto__ fields are not allowed in object literals"),
    (r"function declarations can't appear .*", _STRICT_FUNCTION),
    (r"lexical declarations can't appear .*", _lexical),
    (r"function name expected", "Function statements require a function name"),
    (r"'for of' expression .*",
     "The left-hand side of a for-of loop may not be 'async'."),
    (r"a declaration in the head of a (for-\w+) loop can't have an initializer",
     r"\1 loop variable declaration may not have an initializer."),
    (r"unparenthesized unary expression .*", _EXPONENT),
    (r'"use strict" not allowed .*',
     "Illegal 'use strict' directive in function with non-simple parameter list"),
    (r"line terminator not allowed after throw", "Illegal newline after throw"),
    (r"expecting catch or finally", "Missing catch or finally after try"),
    (r"Invalid (hexadecimal|Unicode) escape sequence", r"\g<0>"),
    (r"expecting field name", _field_name),
    (r"Unexpected token ','", _comma),
    (r"Unexpected token '='", _shorthand),
)  # fmt: skip
