"""Fan-out of notifications: one subscription at the control plane for all browsers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

from worker.core.events import StepComplete, StepStart
from worker.errors import WorkerError
from worker.fleet.client import Client
from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
from worker.fleet.monitor.decode import decode_events
from worker.fleet.monitor.run_tracker import RunTracker
from worker.fleet.notifications import Gap, Notification
from worker.view.dashboard.listener import Listener
from worker.view.dashboard.log_lines import log_line

# Open pages at once: each is a connection and a bounded queue.
MAX_LISTENERS = 200
# Pages show within about this many seconds that the control plane does not respond.
CHECK_S = 3.0
# Only these change the steps on a page; a log line is sent as a line.


class Hub:
    """Receives notifications of all runs, and passes them to the listeners of browsers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._listeners: set[Listener] = set()
        self.tracker = RunTracker()
        self.responds = True

    async def check_control_plane(self) -> None:
        """Check by requests that the control plane runs, until cancelled, while pages are open."""
        while True:
            if self._listeners:
                self._set_responds(await self._has_response())
            await asyncio.sleep(CHECK_S)

    async def _has_response(self) -> bool:
        # The cheapest query. An open connection to the broker does not show that anybody works.
        try:
            async with asyncio.timeout(CHECK_S):
                await self._client.workflows()
        except (TimeoutError, WorkerError):
            return False
        return True

    def _set_responds(self, responds: bool) -> None:
        if responds != self.responds:
            self.responds = responds
            for listener in self._listeners:
                listener.mark_presence(responds)

    async def run(self) -> None:
        """Receive notifications until cancelled."""
        async for batch in self._client.notifications():
            for notification in batch:
                self.handle(notification)

    def handle(self, notification: Notification) -> None:
        self.tracker.handle(notification, int(time.monotonic()))
        match notification:
            case RunState() | OrderState() | Alert():
                run_id = getattr(notification, "run_id", "")
                for listener in self._listeners:
                    if listener.matches(run_id=run_id, order_id=notification.order_id):
                        listener.mark_changed()
            case RunEvents():
                self._events(notification)
            case Gap():
                for listener in self._listeners:
                    listener.require_reload()

    @contextlib.contextmanager
    def listen(self, *, run_id: str = "", order_id: str = "") -> Iterator[Listener]:
        """Register a listener for the duration of the context."""
        listener = Listener(run_id=run_id, order_id=order_id)
        listener.mark_presence(self.responds)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)

    @property
    def full(self) -> bool:
        return len(self._listeners) >= MAX_LISTENERS

    def runs_ended(self) -> dict[str, tuple[int, ...]]:
        """Count the runs that ended in each of the last seconds, by status."""
        return self.tracker.ended_by_status(int(time.monotonic()))

    def close(self) -> None:
        """End the streams of all browsers."""
        for listener in self._listeners:
            listener.end()

    def _events(self, message: RunEvents) -> None:
        # Events are decoded only for a run that a browser shows.
        listeners = [listener for listener in self._listeners if listener.run_id == message.run_id]
        if not listeners:
            return
        for event in decode_events(message):
            line = log_line(event)
            for listener in listeners:
                if line is not None:
                    listener.add(line)
                if isinstance(event, StepStart | StepComplete):
                    listener.mark_changed()
