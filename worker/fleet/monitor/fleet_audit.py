"""Audit of a fleet while it works: each notification is checked against the rules of a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.audit.laws import Auditor, Breach, first_breach
from worker.audit.order_laws import OrderBreach
from worker.core.events import AnyEvent, RunComplete, RunStart
from worker.core.status import STATUS_OF_REASON, STATUSES, Status
from worker.fleet.messaging.state_messages import RunEvents, RunState
from worker.fleet.monitor.decode import decode_events
from worker.fleet.notifications import Gap, Notification

MAX_RUNS = 10_000
"""Runs that are followed at a time; the oldest is dropped, as its end may have been missed."""


MAX_EVENTS = 20_000
"""Events of a run that are kept to its end; a longer run is checked as far as its order goes."""

# A step without code has no events: which edges led on through one shows at the end of the run.
_AT_THE_END = (4, 7)


@dataclass(slots=True)
class _FollowedRun:
    attempt: int
    auditor: Auditor = field(default_factory=Auditor)
    events: list[AnyEvent] = field(default_factory=list)
    is_broken: bool = False

    def take(self, event: AnyEvent) -> Breach | None:
        """Take the next event, and return the breach that shows with it."""
        index = self.auditor.next_seq
        if len(self.events) < MAX_EVENTS:
            self.events.append(event)
        for law, message in [*self.auditor.breaches(event)]:
            if law not in _AT_THE_END:
                return Breach(index, law, message)
        if isinstance(event, RunComplete) and len(self.events) < MAX_EVENTS:
            return first_breach(self.events)
        return None


class FleetAudit:
    """Rules of runs, checked on notifications. Runs that began before it are left out."""

    def __init__(self) -> None:
        self.runs = self.events = 0
        self._followed: OrderedDict[str, _FollowedRun] = OrderedDict()
        self._final: OrderedDict[str, RunState] = OrderedDict()

    def handle(self, notification: Notification) -> Iterator[OrderBreach]:
        """Take a notification, and yield the first breach of each run that it shows."""
        match notification:
            case Gap():
                # Some notifications are missing, and so would be events.
                self._followed.clear()
            case RunEvents():
                yield from self._events(notification)
            case RunState():
                yield from self._state(notification)
            case _:
                pass

    def _events(self, message: RunEvents) -> Iterator[OrderBreach]:
        for event in decode_events(message):
            run = self._run(message, event)
            if run is None or run.is_broken:
                continue
            self.events += 1
            if (breach := run.take(event)) is not None:
                # What follows a breach mostly follows from it.
                run.is_broken = True
                yield OrderBreach(
                    order="",
                    run=message.run_id,
                    event=breach.index,
                    law=breach.law,
                    message=breach.message,
                )

    def _run(self, message: RunEvents, event: AnyEvent) -> _FollowedRun | None:
        run = self._followed.get(message.run_id)
        if run is None or run.attempt < message.attempt:
            if not isinstance(event, RunStart) and event.seq:
                return None
            run = self._followed[message.run_id] = _FollowedRun(message.attempt)
            self.runs += 1
            if len(self._followed) > MAX_RUNS:
                self._followed.popitem(last=False)
        return run

    def _state(self, state: RunState) -> Iterator[OrderBreach]:
        before = self._final.get(state.run_id)
        if before is not None and before.status != state.status:
            text = f"it was {before.status}, which is final, and is now {state.status}"
            yield OrderBreach(order=state.order_id, run=state.run_id, law=8, message=text)
        if not STATUSES[Status(state.status)].final:
            return
        self._final[state.run_id] = state
        if len(self._final) > MAX_RUNS:
            self._final.popitem(last=False)
        run = self._followed.get(state.run_id)
        end = None if run is None else run.auditor.ended
        # The states and the events are different topics: the end may still be on its way.
        if end is not None and STATUS_OF_REASON[end.reason] != state.status:
            text = f"it is {state.status}, and its events end as {STATUS_OF_REASON[end.reason]}"
            yield OrderBreach(order=state.order_id, run=state.run_id, law=9, message=text)
