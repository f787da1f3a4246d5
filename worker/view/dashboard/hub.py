"""One ear for all browsers: what the control plane says is heard once, and handed to each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from worker.core.events import StepComplete, StepStart
from worker.fleet.client import Client, Gap, News
from worker.fleet.messaging import messages as wire
from worker.fleet.monitor.decode import heard
from worker.fleet.monitor.run_tracker import RunTracker
from worker.view.dashboard.lines import line_of
from worker.view.dashboard.listener import Listener

LISTENERS = 200
"""How many pages may be open at once."""


class Hub:
    """Hears what becomes of all runs, and knows the browsers that look."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._listeners: set[Listener] = set()
        self.ledger = RunTracker()

    async def run(self) -> None:
        """Listen until cancelled."""
        async for several in self._client.news():
            for news in several:
                self.heed(news)

    def heed(self, news: News) -> None:
        self.ledger.heed(news, int(time.monotonic()))
        match news:
            case wire.RunState() | wire.OrderState() | wire.Alert():
                run_id = getattr(news, "run_id", "")
                for one in self._listeners:
                    if one.cares(run_id=run_id, order_id=news.order_id):
                        one.changed()
            case wire.RunEvents():
                self._events(news)
            case Gap():
                for one in self._listeners:
                    one.lost()

    @contextlib.contextmanager
    def listen(self, *, run_id: str = "", order_id: str = "") -> Iterator[Listener]:
        """A listener, for as long as a browser looks."""
        listener = Listener(run_id=run_id, order_id=order_id)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @property
    def full(self) -> bool:
        return len(self._listeners) >= LISTENERS

    def pace(self) -> tuple[int, ...]:
        """How many runs ended in each of the last seconds."""
        return self.ledger.pace(int(time.monotonic()))

    def close(self) -> None:
        """Tell the browsers that there is no more to come."""
        for one in self._listeners:
            one.end()

    def _events(self, told: wire.RunEvents) -> None:
        listeners = [one for one in self._listeners if one.run_id == told.run_id]
        if not listeners:
            return
        for fact in heard(told):
            line = line_of(fact)
            for one in listeners:
                if line is not None:
                    one.add(line)
                if isinstance(fact, StepStart | StepComplete):
                    one.changed()
