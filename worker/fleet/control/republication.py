"""States that are published again, page by page, so that no turn grows with their number. Pure."""

from __future__ import annotations

Place = tuple[int, str]
"""The time of a run's last change, and its id."""
FIRST: Place = (0, "")
STATES_PAGE = 100
"""The runs of a page. Each has its state and, most often, that of its order."""
PAGE_INTERVAL_S = 0.05
MAX_UNSENT = 100
"""While more messages wait to be sent, no page is published: replies would wait behind them."""


class Republication:
    """The place after which states are to be published again; ``None`` where there are none."""

    def __init__(self) -> None:
        self.after: Place | None = None

    def request(self, after: Place) -> None:
        """Publish the states after a place, too."""
        self.after = after if self.after is None else min(self.after, after)

    def published(self, after: Place, end: Place | None) -> None:
        """Record the page after a place; ``end`` is where the next one begins, if there is one."""
        # An earlier place may have been requested since.
        if self.after is None or self.after >= after:
            self.after = end
