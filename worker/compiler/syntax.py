"""Parser of JavaScript, and the engine's check of sources that the parser doubts."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from worker.compiler.syntax_messages import node_message
from worker.errors import PlanError, source_line

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MARK_LIMIT = 1_000_000
"""Maximum number of marks, words and lines in one job's source."""

# A tree takes 200 bytes of memory for each byte of dense code, and 20 for long texts: a job that
# maps 1.8 MB of codes has 0.3 million marks. Counted before the parser builds anything.
_MARKS = b"(){}[],;.:?=+-*/<>&|!%^~@#\\'\"`\n\r\t\v\f"

# A module's imports are resolved after it was parsed and before it runs. With one that cannot be
# resolved, the engine checks the syntax, and the code never runs.
_UNRESOLVABLE = "\nimport 'worker:never';"


@cache
def _parser() -> Parser:
    # Imported late: a command that compiles nothing does not pay for it.
    import tree_sitter
    import tree_sitter_javascript

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_javascript.language()))


def parse(source: bytes) -> Node:
    """Parse a source; ``has_error`` of the tree means that the source may be invalid."""
    return _parser().parse(source).root_node


def with_line_feeds(source: str) -> str:
    """Replace each carriage return that ends a line alone, as JavaScript allows."""
    return re.sub(r"\r(?!\n)", "\n", source) if "\r" in source else source


def encode_source(source: str, error_type: str) -> bytes:
    """Encode a source. Raises ``PlanError`` if it is too long or not valid Unicode."""
    try:
        text = source.encode()
    except UnicodeEncodeError as error:
        raise error_at("Half of a surrogate pair", source, error.start, error_type) from None
    marks = _count_marks(text)
    if marks > MARK_LIMIT:
        raise PlanError(
            f"the source has {marks:,} marks and words, expected at most {MARK_LIMIT:,}: "
            "keep data out of the code",
            type=error_type,
        )
    return text


def _count_marks(text: bytes) -> int:
    if len(text) <= MARK_LIMIT:
        return 0
    marks = len(text) - len(text.translate(None, _MARKS))
    # A run of spaces separates two words, and indentation is no sign of much code.
    return marks + text.count(b" ") - text.count(b"  ")


def check_module(source: str) -> None:
    """Raise ``PlanError`` (SyntaxError) if the engine rejects the source of a job."""
    source = with_line_feeds(source)
    error = _syntax_error(source + _UNRESOLVABLE, module=True)
    if error is not None:
        raise _node_error(error, source, 0, "SyntaxError")


def check_expression(text: str) -> None:
    """Raise ``PlanError`` (EdgeConditionError) unless the engine accepts one expression."""
    # Only one expression is complete by itself as well as inside parentheses.
    alone = _syntax_error(text + _UNRESOLVABLE, module=True)
    if alone is not None:
        raise _node_error(alone, text, 0, "EdgeConditionError")
    inside = _syntax_error(f"(function(){{'use strict';return (\n{text}\n)}})", module=False)
    if inside is not None:
        raise _node_error(inside, text, 1, "EdgeConditionError")


def _syntax_error(source: str, *, module: bool) -> str | None:
    """Return the engine's message about a source; None if it accepts the syntax."""
    # Imported late: a process that compiles nothing must not pay for the engine's start.
    from worker.engine.shared import blank_instance

    error = blank_instance().parse(source, module=module)
    if error is None:
        return None
    # Errors of the import that cannot be resolved are no syntax errors, and are ignored.
    if "Maximum call stack size exceeded" in error or "stack overflow" in error:
        return "Nested too deeply"
    return error.removeprefix("SyntaxError: ") if error.startswith("SyntaxError: ") else None


def _node_error(error: str, source: str, lines_before: int, error_type: str) -> PlanError:
    """Convert the engine's message to an error with Node's words and its place in the source."""
    message, _, trace = error.partition("\n")
    position = re.search(r":(\d+):(\d+)", trace)
    offset = None
    if position is not None:
        offset = _offset(source, int(position[1]) - lines_before, int(position[2]))
    words, offset = node_message(message, source, offset)
    if offset is None:
        return PlanError(words, type=error_type)
    return error_at(words, source, min(offset, len(source.rstrip())), error_type)


def _offset(source: str, line: int, column: int) -> int:
    """Convert the engine's line and column to an offset."""
    # Its columns count bytes.
    lines = source.split("\n")
    if line > len(lines):
        return len(source)
    before = sum(len(text) + 1 for text in lines[: line - 1])
    return before + len(lines[line - 1].encode()[: column - 1].decode(errors="ignore"))


def error_at(message: str, source: str, offset: int, error_type: str) -> PlanError:
    """Return an error with its place in a source, which ends the message as ``(line:column)``.

    Both count from 1, and columns count code points.
    """
    start = source.rfind("\n", 0, offset) + 1
    end = source.find("\n", offset)
    line, column = source.count("\n", 0, offset) + 1, offset - start + 1
    text = source_line(source[start : end if end >= 0 else len(source)])
    return PlanError(
        f"{message} ({line}:{column})",
        type=error_type,
        line=line,
        column=column,
        # Half of a surrogate pair cannot be written anywhere.
        source_line=text.encode(errors="replace").decode(),
    )
