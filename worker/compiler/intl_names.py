"""Names in a job's source that need the image with locales and time zones."""

from __future__ import annotations

from typing import Final

_NAMES: Final = frozenset(
    (
        b"Intl",
        b"toLocaleDateString",
        b"toLocaleString",
        b"toLocaleTimeString",
        # Functions of date-fns that call them.
        b"intlFormat",
        b"intlFormatDistance",
    )
)
_NAMING_NODES: Final = frozenset(
    (
        "identifier",
        "property_identifier",
        "shorthand_property_identifier",
        "shorthand_property_identifier_pattern",
        "string_fragment",
    )
)


def uses_intl(source: str) -> bool:
    """Return True if a job or a condition names a function that takes a locale or a time zone.

    A name in a comment or in a longer text does not count. A name that is put together at run time
    cannot be seen here: the realm refuses such a call.
    """
    text = source.encode("utf-8", "surrogatepass")
    # Most sources name none of them, and need no tree.
    if not any(name in text for name in _NAMES):
        return False
    from worker.compiler.syntax import parse

    waiting = [parse(text)]
    while waiting:
        node = waiting.pop()
        if node.type in _NAMING_NODES and text[node.start_byte : node.end_byte] in _NAMES:
            return True
        waiting += node.named_children
    return False
