"""The plane under random orders, reports, wills and restarts: what must hold, holds at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.control_plane_harness import (
    FINAL,
    ControlPlaneHarness,
    FakeWorker,
    Published,
    event,
    request,
    rows,
    submission,
    violations,
)
from tests.support.examples import examples
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.state_messages import RunState
from worker.fleet.messaging.worker_protocol import AssignedRun, Lease

POLICY = Policy(projects={"small": ProjectLimits(concurrent=3, workflows={"flow": 1})})
LEASE_S = Settings().lease_s
ENDS = ("success", "fail", "exception", "cancel")
number = st.integers(0, 30)


@dataclass(slots=True)
class Attempt:
    """A lease that a worker was given, and the events of it that it has to report."""

    worker: str
    lease: Lease
    end: str = "success"
    length: int = 4
    acked: int = -1
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        id, last = self.lease.run_id, self.length - 1
        middle = [event(id, n, "run:log") for n in range(1, last)]
        ended = event(id, last, "run:complete", reason=self.end)
        self.events = [event(id, 0, "run:start"), *middle, ended]


class Fleet(RuleBasedStateMachine):
    """A control plane, two workers that come and go, and clients."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store("sqlite://")
        self.store.migrate()
        self.harness = ControlPlaneHarness(self.store, policy=POLICY)
        self.workers = {name: FakeWorker(self.harness, name) for name in ("north", "south")}
        self.lives = dict.fromkeys(self.workers, 1)
        self.orders: list[str] = []
        self.retries = 0
        self.attempts: list[Attempt] = []
        self.tokens: dict[tuple[str, int], str] = {}
        self.handed_back: set[str] = set()
        self.ended: dict[str, str] = {}
        self.announced: dict[str, list[str]] = {}
        self.alerts: list[str] = []

    def teardown(self) -> None:
        self.store.close()

    # --- what is heard ---

    def hear(self, published: Published, *, again: bool = False) -> Published:
        assert "defect" not in published.kinds, published.refusals
        for answer in published.assignments:
            for run in answer.runs:
                self._assigned(run)
        for state in published.states:
            self._announced(state)
        if not again:
            self.alerts += [alert.run_id for alert in published.alerts]
            assert len(set(self.alerts)) == len(self.alerts), "an alert was published twice"
        return published

    def _assigned(self, run: AssignedRun) -> None:
        lease = run.lease
        known = self.tokens.get((lease.run_id, lease.attempt), lease.token)
        # An attempt that was handed back has not begun: the next lease of the run is of it too.
        assert known in (lease.token, *self.handed_back), "one attempt was leased twice"
        self.tokens[lease.run_id, lease.attempt] = lease.token
        if all(one.lease != lease for one in self.attempts):
            with self.store.read() as connection:
                mine = [r for r in rows(connection, tables.RUNS) if r["id"] == lease.run_id]
            end = ENDS[len(self.attempts) % len(ENDS)]
            length = 2 + len(self.attempts) % 3
            self.attempts.append(Attempt(str(mine[0]["worker"]), lease, end, length))

    def _announced(self, state: RunState) -> None:
        before = self.announced.setdefault(state.run_id, [])
        final = [status for status in before if status in FINAL]
        assert all(status == state.status for status in final), "a final status has changed"
        before.append(state.status)

    def send(self, *messages: Message) -> Published:
        return self.hear(self.harness.send(*messages))

    # --- clients ---

    @initialize()
    def begin(self) -> None:
        self.submit(0, "p")

    @rule(priority=st.integers(-1, 1), project=st.sampled_from(["p", "small"]))
    def submit(self, priority: int, project: str) -> None:
        self.orders.append(f"o{len(self.orders)}")
        message = submission(self.orders[-1], priority=priority, project=project)
        self.send(*[message] * (1 + len(self.orders) % 2))

    @rule(n=number)
    def cancel(self, n: int) -> None:
        self.send(request("cancel", id=self.orders[n % len(self.orders)]))

    @rule(n=number, step=st.sampled_from([None, None, "a", "b"]))
    def retry(self, n: int, step: str | None) -> None:
        self.retries += 1
        wanted = {"id": self.orders[n % len(self.orders)], "run_id": f"retry{self.retries}"}
        self.send(*[request("retry", **wanted, from_step=step)] * 2)

    # --- workers ---

    @rule(name=st.sampled_from(["north", "south"]), demand=st.integers(0, 4), old=st.booleans())
    def claim(self, name: str, demand: int, old: bool) -> None:
        claim_id = f"{name}-{len(self.attempts) - old}"
        fields = {"demand": demand, "incarnation": self.workers[name].incarnation}
        self.send(self.workers[name].message("claim", claim_id=claim_id, **fields))

    @precondition(lambda self: self.attempts)
    @rule(n=number, first=st.integers(0, 4), count=st.integers(1, 5), backwards=st.booleans())
    def report(self, n: int, first: int, count: int, backwards: bool) -> None:
        """Any events of any attempt: repeated, with a gap, too late, in the wrong order."""
        self._report(self.attempts[n % len(self.attempts)], first, count, backwards)

    @precondition(lambda self: self.attempts)
    @rule(n=number, count=st.integers(1, 5))
    def report_on(self, n: int, count: int) -> None:
        """The next events of an attempt."""
        attempt = self.attempts[-1 - n % len(self.attempts) // 4]
        self._report(attempt, attempt.acked + 1, count, False)

    def _report(self, attempt: Attempt, first: int, count: int, backwards: bool) -> None:
        events = attempt.events[first : first + count] or attempt.events[-1:]
        events = events[::-1] if backwards else events
        published = self.send(self.workers[attempt.worker].reports(attempt.lease, *events))
        (ack,) = published.acks
        if not ack.refused:
            assert ack.upto >= attempt.acked, "what was acknowledged is not any more"
            attempt.acked = ack.upto

    @precondition(lambda self: self.attempts)
    @rule(n=number, what=st.sampled_from(["beat", "beat", "release"]), thief=st.booleans())
    def keep_or_hand_back(self, n: int, what: str, thief: bool) -> None:
        attempt = self.attempts[n % len(self.attempts)]
        name = "south" if thief else attempt.worker
        worker = self.workers[name]
        fields = {"incarnation": worker.incarnation, "leases": [attempt.lease]}
        late = attempt.lease.token in self.handed_back
        if what == "release" and not thief:
            self.handed_back.add(attempt.lease.token)
        published = self.send(worker.message(what, **fields))
        assert set(published.kinds) <= ({"forged"} if late or name != attempt.worker else set())

    @rule(
        name=st.sampled_from(["north", "south"]), change=st.sampled_from(["birth", "will", "new"])
    )
    def come_and_go(self, name: str, change: str) -> None:
        if change == "new":
            self.lives[name] += 1
            self.workers[name] = FakeWorker(self.harness, name, f"i{self.lives[name]}")
        worker = self.workers[name]
        self.hear(worker.will() if change == "will" else worker.birth())

    # --- time and the control plane ---

    @rule(seconds=st.sampled_from([0.5, 1, 3, LEASE_S + 1]))
    def wait(self, seconds: float) -> None:
        self.hear(self.harness.wait(seconds))

    @rule()
    def notice_alerts(self) -> None:
        self.harness.processor.mark_notified(self.alerts, self.harness.now)

    @rule(restart=st.booleans())
    def reconnect(self, restart: bool) -> None:
        self.harness.disconnect()
        self.hear(self.harness.wait(1))
        published = self.harness.restart() if restart else self.harness.connect()
        self.hear(published, again=True)
        assert {alert.run_id for alert in published.alerts} <= set(self.alerts)

    # --- what must hold ---

    @invariant()
    def everything_is_right(self) -> None:
        with self.store.read() as connection:
            assert list(violations(connection)) == []
            for run in rows(connection, tables.RUNS):
                if run["phase"] == "final":
                    assert self.ended.setdefault(run["id"], run["status"]) == run["status"]
                else:
                    assert run["id"] not in self.ended, "a final run goes on"
            events = rows(connection, tables.EVENTS)
        ends = [row["run_id"] for row in events if row["type"] == "run:complete"]
        assert len(set(ends)) == len(ends), "a run was completed twice"


Fleet.TestCase.settings = settings(max_examples=examples(15), stateful_step_count=40)
test_whatever_happens_everything_is_right = Fleet.TestCase
