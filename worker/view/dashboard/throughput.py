"""Chart of the runs that ended in each second, stacked by status, with axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from markupsafe import Markup

from worker.fleet.monitor.run_tracker import WINDOW_S

_WIDTH, _HEIGHT = 360.0, 130.0
_LEFT, _TOP, _BOTTOM = 34.0, 8.0, 18.0


def throughput_chart(counts: Mapping[str, Sequence[int]]) -> Markup:
    """Draw the counts of each second, the newest last, by status."""
    totals = [sum(second) for second in zip(*counts.values(), strict=True)] or [0]
    top = axis_end(max(totals))
    label = (
        f"Runs ended per second in the last {WINDOW_S} seconds: "
        f"{sum(totals)} in all, at most {max(totals)} in a second"
    )
    root = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}",
            "class": "pace",
            "role": "img",
            "aria-label": label,
        },
    )
    _draw_axes(root, top)
    _draw_bars(root, counts, top)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 (built as a tree)


def axis_end(largest: int) -> int:
    """Round up to 1, 2 or 5 times a power of ten, at least 2: half of it is on the axis too."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= max(largest, 2):
                return factor * power
        power *= 10


def _y(count: float, top: int) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * count / top


def _draw_axes(root: ET.Element, top: int) -> None:
    for value in (0.0, top / 2, float(top)):
        y = _y(value, top)
        ET.SubElement(root, "path", {"class": "grid", "d": f"M{_LEFT:g} {y:g}H{_WIDTH:g}"})
        _text(root, f"{value:g}", _LEFT - 5, y + 3.5, "end")
    middle = (_LEFT + _WIDTH) / 2
    ends = ((f"{WINDOW_S} s ago", _LEFT, "start"), (f"{WINDOW_S // 2} s", middle, "middle"))
    for text, x, anchor in (*ends, ("now", _WIDTH, "end")):
        _text(root, text, x, _HEIGHT - 4, anchor)


def _text(root: ET.Element, text: str, x: float, y: float, anchor: str) -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}
    ET.SubElement(root, "text", place).text = text


def _draw_bars(root: ET.Element, counts: Mapping[str, Sequence[int]], top: int) -> None:
    step = (_WIDTH - _LEFT) / WINDOW_S
    below = [0] * WINDOW_S
    for status, seconds in counts.items():
        group = ET.SubElement(root, "g", {"class": f"s-{status}"})
        for number, count in enumerate(seconds):
            if not count:
                continue
            y, bottom = _y(below[number] + count, top), _y(below[number], top)
            below[number] += count
            box = {"x": f"{_LEFT + number * step:.1f}", "y": f"{y:.1f}", "width": f"{step - 1:.1f}"}
            ET.SubElement(group, "rect", {**box, "height": f"{bottom - y:.1f}"})
