"""Options ``--from-store …``: recordings of the runs that a control plane's database names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from worker.cli.options import option, options
from worker.cli.times import PastTime
from worker.cli.value_types import OneOf
from worker.core.status import Status
from worker.errors import UsageError
from worker.fleet.messaging.client_messages import RunQuery
from worker.fleet.messaging.messages import StatusName
from worker.replay.recording_places import find_recordings
from worker.replay.recordings_of_runs import RecordedRuns, recordings_of_runs

from_store = options(
    option("--from-store", metavar="URL|FILE",
           help="Only recordings of the runs in this database of a control plane: "
                "postgresql://..., or a file of SQLite."),
    option("--since", type=PastTime(), metavar="TIME",
           help="Only runs of --from-store since this time, or in the last 2h."),
    option("--status", type=OneOf([status.value for status in Status]), metavar="STATUS",
           help="Only runs of --from-store with this status."),
)  # fmt: skip


def check_filters(url: str | None, since: datetime | None, status: StatusName | None) -> None:
    """Raise :class:`UsageError` for the filters of a database where there is none."""
    if url is None and (since or status):
        raise UsageError("--since and --status need --from-store: add it, or leave them out")


def choose_recordings(
    places: Sequence[str | Path], url: str | None, query: RunQuery
) -> RecordedRuns:
    """Return the recordings in these places; with a database, only those of its runs that match.

    Raises :class:`UsageError` where there is none.
    """
    if url is None:
        return RecordedRuns(find_recordings(places), [])
    # SQLAlchemy takes long to import, and most replays are of files.
    from worker.fleet.control.store.reading import ended_run_ids

    run_ids = ended_run_ids(url, query)
    if not run_ids:
        raise UsageError("the database has no ended run that matches")
    recorded = recordings_of_runs(run_ids, find_recordings(places))
    if not recorded.places:
        raise UsageError(
            f"none of the {len(run_ids):,} runs of the database has a recording here "
            "(worker start --record DIR keeps them)"
        )
    return recorded
