"""Folder of a campaign: its finished chunks, its results as JSON lines, and its report.

A chunk is named by the hash of all that decides its result: the recordings, the versions of the
workflow, the limits, the questions, the installed adaptors and the version of the worker. So an
interrupted campaign continues where it was, and an edited one does again only what has changed.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from worker.adaptors.cache import installed
from worker.campaigns.campaign_spec import CampaignSpec
from worker.campaigns.replay_versions import ReplayedVersions, ReplayRow
from worker.campaigns.result_sink import ResultSink
from worker.errors import LoadError, cannot_write, reason_of
from worker.replay.recording import StoredRecording, name_of
from worker.util.whole_files import write_whole
from worker.version import VERSION

RESULTS = "results.jsonl"
REPORT = "report.html"
UNRECORDED = "unrecorded.jsonl"
CHUNKS = "chunks"

_encode = msgspec.json.Encoder().encode
_COPIED_BYTES = 2**20


class FlowsRow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="flows"):
    """Edges that the runs of a chunk followed, by version."""

    flows: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class CampaignChunk:
    """Recordings from ``start`` to ``end``, and the name of their results."""

    start: int
    end: int
    key: str


class ResultFolder:
    """Files of a campaign. Raises :class:`worker.errors.UsageError` where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._chunks = folder / CHUNKS
        try:
            self._chunks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def has(self, chunk: CampaignChunk) -> bool:
        return self._file(chunk).is_file()

    def _file(self, chunk: CampaignChunk) -> Path:
        return self._chunks / f"{chunk.key}.jsonl"

    def write_chunk(self, chunk: CampaignChunk, results: Sequence[ReplayedVersions]) -> None:
        """Write the results of a chunk, whole."""
        flows: dict[str, dict[str, int]] = {}
        for result in results:
            for version, edges in result.flows.items():
                counts = flows.setdefault(version, {})
                for edge, count in edges.items():
                    counts[edge] = counts.get(edge, 0) + count
        rows: list[ReplayRow | FlowsRow] = [row for result in results for row in result.rows]
        self._write(self._file(chunk), [*rows, FlowsRow(flows=flows)])

    def read_chunk(self, chunk: CampaignChunk) -> Iterator[ReplayRow | FlowsRow]:
        return _read_rows(self._file(chunk))

    def write_unrecorded(self, run_ids: Sequence[str]) -> None:
        """Write the runs without a recording, or remove those of an earlier campaign."""
        if run_ids:
            lines = (_encode({"run": run_id}) + b"\n" for run_id in run_ids)
            self.write_file(UNRECORDED, b"".join(lines))
        else:
            (self.path / UNRECORDED).unlink(missing_ok=True)

    def write_results(self, rows: Iterable[ReplayRow]) -> None:
        self._write(self.path / RESULTS, rows)

    def copy_results(self, sink: ResultSink) -> None:
        """Copy all results to another place."""
        with (self.path / RESULTS).open("rb") as results:
            while part := results.read(_COPIED_BYTES):
                sink.write(part)

    def _write(self, file: Path, rows: Iterable[ReplayRow | FlowsRow]) -> None:
        self.write_file(file.relative_to(self.path), b"".join(_encode(row) + b"\n" for row in rows))

    def write_file(self, name: Path | str, content: bytes) -> None:
        try:
            # As recordings: messages of differences quote states, which may be about people.
            write_whole(self.path / name, content, mode=0o600)
        except OSError as error:
            raise cannot_write(self.path / name, error) from error


def read_results(folder: Path) -> Iterator[ReplayRow]:
    """Read the results of a campaign, one replay after the other.

    Raises :class:`LoadError` if the folder has none.
    """
    for row in _read_rows(folder / RESULTS):
        if isinstance(row, ReplayRow):
            yield row


def _read_rows(file: Path) -> Iterator[ReplayRow | FlowsRow]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield _row(line, file, number)
    except OSError as error:
        reason = reason_of(error)
        raise LoadError(f"no results of a campaign: {reason}", file=str(file)) from error


def _row(line: bytes, file: Path, number: int) -> ReplayRow | FlowsRow:
    try:
        return msgspec.json.decode(line, type=ReplayRow | FlowsRow)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoadError(
            f"not a result of a campaign: {error}", file=str(file), line=number
        ) from error


# --- names of chunks ------------------------------------------------------------------------------


def split_chunks(
    spec: CampaignSpec, recordings: Sequence[Path | StoredRecording], size: int
) -> Iterator[CampaignChunk]:
    """Yield the chunks of a campaign, in order; each recording is read once."""
    conditions = _conditions(spec)
    for start in range(0, len(recordings), size):
        end = min(start + size, len(recordings))
        digest = hashlib.sha256(conditions)
        for index in range(start, end):
            digest.update(_identity(recordings[index]))
        yield CampaignChunk(start, end, digest.hexdigest())


def _conditions(spec: CampaignSpec) -> bytes:
    adaptors = [(str(adaptor.specifier), adaptor.integrity) for adaptor in installed()]
    versions = [(name, _definition(workflow)) for name, workflow in spec.versions.items()]
    decided = (VERSION, versions, sorted(spec.limits.items()), spec.questions, sorted(adaptors))
    return hashlib.sha256(repr(decided).encode(errors="surrogatepass")).digest()


def _definition(workflow: object) -> str:
    return repr(workflow)


def _identity(item: Path | StoredRecording) -> bytes:
    content = item.content if isinstance(item, StoredRecording) else b""
    if not isinstance(content, bytes):
        content = pickle.dumps(content)
    name = name_of(item).encode(errors="surrogateescape")
    return hashlib.sha256(name).digest() + hashlib.sha256(content).digest()
