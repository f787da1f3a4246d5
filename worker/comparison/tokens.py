"""Tokens of source code, which are the same however it is formatted."""

from __future__ import annotations

import functools
import io
import tokenize
from typing import TYPE_CHECKING

from worker.compiler.syntax import parse
from worker.workflow.model import Language

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

# Texts whose white space is part of the value.
_WHOLE = frozenset({"string", "template_string", "regex"})
# Layout of Python source that its meaning does not depend on.
_LAYOUT = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING})


# A comparison looks at the same conditions in each situation.
@functools.lru_cache(maxsize=1024)
def tokens(source: str, language: Language = Language.JAVASCRIPT) -> tuple[str, ...]:
    """Split source code into its tokens, without comments and white space.

    Source that cannot be parsed is one token: only the same text is the same code.
    """
    split = _javascript if language is Language.JAVASCRIPT else _python
    return split(source) or (source,)


def _javascript(source: str) -> tuple[str, ...]:
    tree = parse(source.encode(errors="replace"))
    return () if tree.has_error else tuple(_leaves(tree))


def _leaves(tree: Node) -> Iterator[str]:
    # A stack of our own: a long chain of calls is deeper than Python's recursion limit.
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        children = [] if node.type in _WHOLE else [*filter(_matters, node.children)]
        # The type as well: `return` before a line break and before a value are other statements.
        yield f"{node.type} {len(children)}" if children else (node.text or b"").decode()
        waiting += reversed(children)


def _matters(node: Node) -> bool:
    if node.type == ";":
        return node.parent is not None and node.parent.type == "for_statement"
    return node.type != "comment"


def _python(source: str) -> tuple[str, ...]:
    try:
        lines = tokenize.generate_tokens(io.StringIO(source).readline)
        return tuple(token.string for token in lines if token.type not in _LAYOUT)
    except (tokenize.TokenError, SyntaxError):
        return ()
