"""Description of a campaign: a YAML or JSON file.

    name: Referral, June
    recordings: [runs, "s3://bucket/june"]
    versions:
      deployed: recorded
      edited: project.yaml
      other: {file: project.yaml, workflow: Case referral}
    from-store: {url: "postgresql://db/fleet", since: 30d, status: failed}
    limits: {timeout: 60, memory: 256}
    questions:
      - no failure goes unhandled

A version is the workflow that each recording holds (``recorded``), or one of a file. Paths are
relative to the description. With ``from-store`` only the recordings of the runs count that this
database of a control plane names. Limits replace those that the runs had; they are seconds and
megabytes. Questions have the sentences of ``worker explore``, and are about the replayed runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from worker.core.status import Status
from worker.errors import UsageError
from worker.explore.properties import parse_property
from worker.fleet.messaging.client_messages import RunQuery
from worker.fleet.messaging.messages import StatusName
from worker.replay.remote_files import is_url
from worker.util.moments import MOMENT, parse_moment, time_us
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import did_you_mean, shorten
from worker.workflow.documents.document import read_document
from worker.workflow.limit_ranges import RANGES
from worker.workflow.load import load
from worker.workflow.model import Workflow

RECORDED = "recorded"
MAX_VERSIONS = 16
_KEYS = ("name", "recordings", "from-store", "versions", "limits", "questions")
_LIMITS = {"timeout": "timeout_s", "memory": "memory_mb"}
# Names go into the report's headings and its JSON, where spaces and marks only make trouble.
_NAME = re.compile(r"[\w.-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSpec:
    """What a campaign replays. A version without a workflow is the recorded one.

    ``limits`` are fields of ``Limits`` that replace the recorded ones. With a ``store_url`` only
    the recordings of the runs in this database count that match the ``query``.
    """

    name: str
    recordings: tuple[str, ...]
    versions: Mapping[str, Workflow | None]
    limits: Mapping[str, float] = field(default_factory=dict)
    questions: tuple[str, ...] = ()
    store_url: str | None = None
    query: RunQuery = field(default_factory=RunQuery)


def read_spec(file: Path) -> CampaignSpec:
    """Read the description of a campaign, with the workflows that it names.

    Raises :class:`LoadError`, with the place of what is wrong.
    """
    document = read_document(file, located=True)
    spec = Cursor(document, document.root)
    _check_keys(spec, _KEYS)
    folder = file.parent
    recordings = tuple(_texts(spec.at("recordings")))
    if not recordings:
        spec.fail("expected recordings: a list of files, folders or URLs")
    versions = dict(_versions(spec.at("versions"), folder))
    store_url, query = _stored_runs(spec.at("from-store"), folder)
    return CampaignSpec(
        name=spec.at("name").text(file.stem) or file.stem,
        recordings=tuple(_place(folder, text) for text in recordings),
        versions=versions,
        limits=dict(_limits(spec.at("limits"))),
        questions=tuple(_questions(spec.at("questions"), versions)),
        store_url=store_url,
        query=query,
    )


def _check_keys(cursor: Cursor, known: tuple[str, ...]) -> None:
    # An error and not a warning: a key that is misspelled would change what is replayed.
    for key in cursor.mapping().value:
        if key not in known:
            hint = did_you_mean(key, known) or f" (expected one of {', '.join(known)})"
            cursor.fail(f"unknown key '{key}'{hint}")


def _texts(cursor: Cursor) -> Iterator[str]:
    for element in cursor.elements():
        yield element.name()


def _place(folder: Path, text: str) -> str:
    return text if is_url(text) else str(folder / text)


def _stored_runs(cursor: Cursor, folder: Path) -> tuple[str | None, RunQuery]:
    """Read the URL of a database, if there is one, and the query for its runs."""
    if cursor.value is None:
        return None, RunQuery()
    _check_keys(cursor, ("url", "since", "workflow", "status"))
    query = RunQuery(
        since=_since_us(cursor.at("since")),
        workflow=cursor.at("workflow").name("") or None,
        status=_status(cursor.at("status")),
    )
    return _place(folder, cursor.at("url").name()), query


def _since_us(cursor: Cursor) -> int | None:
    if not (text := cursor.name("")):
        return None
    if (since := parse_moment(text, direction=-1)) is None:
        cursor.fail(f"expected {MOMENT}, found '{shorten(text)}'")
    return time_us(since)


def _status(cursor: Cursor) -> StatusName | None:
    if not (text := cursor.text("")):
        return None
    try:
        status: StatusName = msgspec.convert(text, StatusName)
    except msgspec.ValidationError:
        cursor.fail(f"expected one of {', '.join(Status)}")
    return status


def _versions(cursor: Cursor, folder: Path) -> Iterator[tuple[str, Workflow | None]]:
    entries = [*cursor.items()]
    if not entries or len(entries) > MAX_VERSIONS:
        cursor.fail(f"expected 1 to {MAX_VERSIONS} versions by name (such as edited: project.yaml)")
    for name, version in entries:
        if not _NAME.fullmatch(name):
            version.fail("expected a name of letters, digits, '.', '_' and '-', up to 40")
        yield name, _version(version, folder)


def _version(cursor: Cursor, folder: Path) -> Workflow | None:
    if cursor.value == RECORDED:
        return None
    if isinstance(cursor.value, str):
        return load(folder / cursor.name())
    _check_keys(cursor, ("file", "workflow"))
    picked = cursor.at("workflow")
    name = None if picked.value is None else picked.name()
    return load(folder / cursor.at("file").name(), workflow=name)


def _limits(cursor: Cursor) -> Iterator[tuple[str, float]]:
    if cursor.value is None:
        return
    _check_keys(cursor, tuple(_LIMITS))
    for key, value in cursor.items():
        amount, name = value.amount(), _LIMITS[key]
        if problem := RANGES[name].problem(amount):
            value.fail(problem)
        yield name, amount


def _questions(cursor: Cursor, versions: Mapping[str, Workflow | None]) -> Iterator[str]:
    for element in cursor.elements():
        text = element.name()
        for workflow in filter(None, versions.values()):
            try:
                parse_property(text, tuple(step.id for step in workflow.steps))
            except UsageError as error:
                element.fail(str(error))
        yield text
