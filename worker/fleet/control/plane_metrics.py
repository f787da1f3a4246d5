"""Measurements of a control plane, and the metrics that it exports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, func, select

from worker.fleet.control.entities import RunPhase
from worker.fleet.control.store import tables
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.histogram import COUNTS, Histogram
from worker.fleet.metrics import AnyMetric, Distribution, Metric

SURVEY_INTERVAL_S = 5.0
"""How often the queue and the workers are counted, as that costs a query over the whole queue."""
MAX_PROJECTS = 1_000
"""How many projects have figures of their own: those with the most runs."""
# No project has this name.
OTHERS = "*"
_RUNS, _WORKERS = tables.RUNS.c, tables.WORKERS.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is in the database: runs that have not ended by ``project,phase``, and workers.

    ``oldest_us`` are the times of the oldest of these runs. ``alerts`` is the number of those that
    are not delivered over all channels yet.
    """

    at_us: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    oldest_us: dict[str, int] = field(default_factory=dict)
    workers: int = 0
    slots: int = 0
    alerts: int = 0


def _queued() -> Select[Any]:
    """Select the number and the oldest of the runs by project and phase; of others without one."""
    unfinished = _RUNS.phase.in_([phase.value for phase in RunPhase if phase is not RunPhase.FINAL])
    largest = (
        select(_RUNS.project)
        .where(unfinished)
        .group_by(_RUNS.project)
        .order_by(func.count().desc(), _RUNS.project)
        .limit(MAX_PROJECTS)
        .subquery()
    )
    return (
        select(largest.c.project, _RUNS.phase, func.count(), func.min(_RUNS.age))
        .select_from(tables.RUNS.outerjoin(largest, largest.c.project == _RUNS.project))
        .where(unfinished)
        .group_by(largest.c.project, _RUNS.phase)
    )


def take_survey(connection: Connection, now_us: int) -> Survey:
    """Count the runs that have not ended, and the workers online."""
    queued = [
        (f"{project or OTHERS},{phase}", number, oldest)
        for project, phase, number, oldest in connection.execute(_queued())
    ]
    online = select(func.count(), func.coalesce(func.sum(_WORKERS.capacity), 0))
    workers, slots = connection.execute(online.where(_WORKERS.online)).one()
    undelivered = select(func.count()).where(tables.ALERTS.c.notified.is_(None))
    return Survey(
        at_us=now_us,
        runs={key: int(number) for key, number, _ in queued},
        oldest_us={key: int(oldest) for key, _, oldest in queued},
        workers=int(workers),
        slots=int(slots),
        alerts=connection.execute(undelivered).scalar_one(),
    )


@dataclass(slots=True)
class Measurements:
    """What a control plane has measured since its start."""

    start_latency_s: Histogram = field(default_factory=Histogram)
    run_duration_s: Histogram = field(default_factory=Histogram)
    transaction_s: Histogram = field(default_factory=Histogram)
    tick_delay_s: Histogram = field(default_factory=Histogram)
    batch_size: Histogram = field(default_factory=lambda: Histogram(COUNTS))
    leases_expired: int = 0
    runs_handed_back: int = 0
    survey: Survey = field(default_factory=Survey)

    def add_batch(self, size: int, duration_s: float) -> None:
        """Record the transaction of a batch of messages."""
        self.batch_size.observe(size)
        self.transaction_s.observe(duration_s)

    def add(self, outgoing: Outgoing) -> None:
        """Record what a transaction has changed."""
        for latency_s in outgoing.start_latencies_s:
            self.start_latency_s.observe(latency_s)
        for duration_s in outgoing.durations_s:
            self.run_duration_s.observe(duration_s)
        for delay_s in outgoing.tick_delays_s:
            self.tick_delay_s.observe(delay_s)
        self.leases_expired += len(outgoing.expired)
        self.runs_handed_back += outgoing.handed_back

    def metrics(self) -> Iterable[AnyMetric]:
        """Yield the metrics of these measurements."""
        survey = self.survey
        ages = {key: (survey.at_us - since) / 1e6 for key, since in survey.oldest_us.items()}
        yield Metric(name="queue_runs", help="Runs that have not ended, by project and phase",
                     values=survey.runs, label="project,phase")  # fmt: skip
        yield Metric(name="queue_oldest_seconds",
                     help="Age of the oldest run that has not ended, by project and phase",
                     values={key: max(0.0, age) for key, age in ages.items()},
                     label="project,phase")  # fmt: skip
        yield Metric(name="workers_online", help="Workers online", values={"": survey.workers})
        yield Metric(name="worker_slots", help="Slots of the workers online",
                     values={"": survey.slots})  # fmt: skip
        yield Metric(name="alerts_undelivered",
                     help="Alerts that are not delivered over all channels yet",
                     values={"": survey.alerts})  # fmt: skip
        yield Metric(name="leases_expired", help="Leases that expired",
                     values={"": self.leases_expired}, counts=True)  # fmt: skip
        yield Metric(name="runs_handed_back", help="Runs that workers handed back",
                     values={"": self.runs_handed_back}, counts=True)  # fmt: skip
        yield Distribution(name="start_latency_seconds",
                           help="Time from an order, or its delay, to the start of its run",
                           histogram=self.start_latency_s)  # fmt: skip
        yield Distribution(name="run_duration_seconds", help="Time from start to end of a run",
                           histogram=self.run_duration_s)  # fmt: skip
        yield Distribution(name="tick_delay_seconds",
                           help="Time from a tick of a cron trigger to its order",
                           histogram=self.tick_delay_s)  # fmt: skip
        yield Distribution(name="transaction_seconds", help="Time of a batch of messages",
                           histogram=self.transaction_s)  # fmt: skip
        yield Distribution(name="batch_messages", help="Messages in a batch",
                           histogram=self.batch_size)  # fmt: skip
