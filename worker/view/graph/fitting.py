"""How large each box and label is, and the lines of text in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.view.graph.drawing import Arrow, DrawnNode, NodeKind, Style
from worker.view.graph.palette import TONES
from worker.view.graph.text import width, wrap

LINE = 1.32
CHIP = 16
_TITLE, _SMALL, _LABEL = 13.0, 11.0, 11.0
_NODE_TEXT, _LABEL_TEXT = 180.0, 150.0


class Role(StrEnum):
    """What a line of text is, which decides its font."""

    TITLE = "title"
    SUBTITLE = "subtitle"
    BADGE = "badge"
    LABEL = "label"
    CODE = "code"
    RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; ``middle`` is its height above (-) or below the middle of the whole."""

    text: str
    role: Role
    middle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Lines of text and the room that they take, around their middle."""

    lines: tuple[Line, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Font:
    size: float
    bold: bool = False
    mono: bool = False


FONTS = {
    Role.TITLE: _Font(_TITLE, bold=True),
    Role.SUBTITLE: _Font(_SMALL),
    Role.BADGE: _Font(_SMALL, bold=True),
    Role.LABEL: _Font(_LABEL, bold=True),
    Role.CODE: _Font(10.0, mono=True),
    Role.RULE: _Font(_LABEL),
}
_LEAST_BOX, _EDGE_ROOM, _WIDEST_BOX = 96.0, 20.0, 480.0
_PADDING = {NodeKind.TRIGGER: 22.0}


def fit_node(node: DrawnNode, edges: int = 0) -> Fitted:
    """The box of a node; a mark's chip stands at its left, its badge on a line of its own.

    It is wide enough that so many edges on one side of it can be told apart.
    """
    texts = _wrapped(node.title, Role.TITLE, _NODE_TEXT, 2)
    texts += _wrapped(node.subtitle, Role.SUBTITLE, _NODE_TEXT, 1)
    texts += _badge(node.mark.badge if node.mark else "")
    across = _PADDING.get(node.kind, 14.0) + (CHIP + 4 if node.mark else 0)
    return _stacked(
        texts, across=across, down=9.0, least=max(_LEAST_BOX, min(edges * _EDGE_ROOM, _WIDEST_BOX))
    )


def fit_label(arrow: Arrow) -> Fitted:
    """The label of an edge; of no size where there is nothing to say."""
    texts = _wrapped(arrow.label, Role.LABEL, _LABEL_TEXT, 2)
    role = Role.CODE if _is_code(arrow) else Role.RULE
    texts += _wrapped(arrow.condition, role, _LABEL_TEXT, 2)
    if arrow.style is Style.DISABLED:
        texts.append(("⊘ disabled", Role.RULE))
    if arrow.mark:
        texts += _badge(f"{TONES[arrow.mark.tone].sign} {arrow.mark.badge}".strip())
    return _stacked(texts, across=5.0, down=2.0) if texts else Fitted(lines=(), width=0, height=0)


def _is_code(arrow: Arrow) -> bool:
    """Our own words for a condition start with a sign that no JavaScript starts with."""
    return not arrow.condition.startswith(("✓", "✗", "⊘"))


def _badge(text: str) -> list[tuple[str, Role]]:
    return [(text, Role.BADGE)] if text else []


def _wrapped(text: str, role: Role, limit: float, lines: int) -> list[tuple[str, Role]]:
    font = FONTS[role]
    found = wrap(text, limit, font.size, lines, bold=font.bold, mono=font.mono)
    return [(line, role) for line in found]


def _stacked(
    texts: list[tuple[str, Role]], *, across: float, down: float, least: float = 0
) -> Fitted:
    heights = [FONTS[role].size * LINE for _, role in texts]
    top = -sum(heights) / 2
    lines = []
    for (text, role), height in zip(texts, heights, strict=True):
        lines.append(Line(text=text, role=role, middle=top + height / 2))
        top += height
    widest = max((_width(text, role) for text, role in texts), default=0)
    return Fitted(
        lines=tuple(lines),
        width=round(max(least, widest + 2 * across), 1),
        height=round(sum(heights) + 2 * down, 1),
    )


def _width(text: str, role: Role) -> float:
    font = FONTS[role]
    return width(text, font.size, bold=font.bold, mono=font.mono)
