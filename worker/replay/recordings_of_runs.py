"""Recordings of runs that a database names, among those that workers have kept."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.replay.record_runs import recorded_run
from worker.replay.recording_places import Place
from worker.replay.recording_writer import file_name
from worker.replay.remote_files import RemoteFile

# Of a later attempt, as uploads name it: "ID.2.jsonl". No other name ends in a few digits.
_LATER = re.compile(r"\.(\d{1,6})\.jsonl")


@dataclass(frozen=True, slots=True)
class RecordedRuns:
    """Recordings in the order of their runs, and the ids of the runs that have none."""

    places: list[Place]
    unrecorded: list[str]


def recordings_of_runs(run_ids: Iterable[str], places: Sequence[Place]) -> RecordedRuns:
    """Choose the recordings of these runs; all, where several attempts at one were recorded."""
    by_name: dict[str, list[Place]] = defaultdict(list)
    for place in sorted(places, key=_attempt):
        by_name[_LATER.sub(".jsonl", _file_name(place))].append(place)
    recorded = RecordedRuns([], [])
    for run_id in run_ids:
        of_run = [place for place in by_name[file_name(run_id)] if _is_of(place, run_id)]
        recorded.places.extend(of_run)
        if not of_run:
            recorded.unrecorded.append(run_id)
    return recorded


def _file_name(place: Place) -> str:
    # The name of a file in an archive ends in that of the archive.
    path = place.path if isinstance(place, RemoteFile) else place.name
    return path.rpartition("/")[2]


def _attempt(place: Place) -> int:
    later = _LATER.search(_file_name(place))
    return int(later[1]) if later else 1


def _is_of(place: Place, run_id: str) -> bool:
    if isinstance(place, Path):
        return recorded_run(place) == run_id
    # To look into a remote file would cost a request, and its name is that of one run alone.
    return isinstance(place, RemoteFile)
