"""Run of a campaign: only the chunks that are not finished are replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from worker.campaigns.campaign_spec import RECORDED, CampaignSpec
from worker.campaigns.campaign_summary import CampaignSummary, VersionSummary
from worker.campaigns.replay_versions import ReplayRow, VersionsWork
from worker.campaigns.result_folder import CampaignChunk, FlowsRow, ResultFolder
from worker.replay.recording import StoredRecording
from worker.runner.parallel import WorkExecutor

CHUNK_RECORDINGS = 100
"""So many recordings are done again at most after an interruption, for each process."""

# Processor time of a replay, as measured: see the command `replay`.
_REPLAY_S = 0.002


async def replay_chunks(
    spec: CampaignSpec,
    recordings: Sequence[Path | StoredRecording],
    chunks: Sequence[CampaignChunk],
    folder: ResultFolder,
    executor: WorkExecutor,
    done: Callable[[], object],
) -> None:
    """Replay chunks that are not finished, and write their results; ``done`` counts recordings."""
    pending = _PendingRecordings(recordings, chunks)
    estimate_s = _REPLAY_S * len(pending) * len(spec.versions)
    if not len(pending):
        return
    results = executor.results_in_order(VersionsWork(spec), pending, estimate_s)
    async with aclosing(results):
        for chunk in chunks:
            part = []
            for _ in range(chunk.start, chunk.end):
                part.append(await anext(results))
                done()
            folder.write_chunk(chunk, part)


class _PendingRecordings(Sequence[Path | StoredRecording]):
    """Recordings of some chunks, one after the other."""

    def __init__(
        self, recordings: Sequence[Path | StoredRecording], chunks: Sequence[CampaignChunk]
    ) -> None:
        self._recordings = recordings
        self._indices = [i for chunk in chunks for i in range(chunk.start, chunk.end)]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Path | StoredRecording:  # type: ignore[override]
        return self._recordings[self._indices[index]]


def summarize(
    spec: CampaignSpec,
    chunks: Sequence[CampaignChunk],
    folder: ResultFolder,
    unrecorded: Sequence[str] = (),
) -> CampaignSummary:
    """Summarize finished chunks, and write all their rows as the results of the campaign."""
    summary = CampaignSummary(
        versions={name: VersionSummary() for name in spec.versions},
        questions=spec.questions,
        unrecorded=unrecorded,
    )
    folder.write_unrecorded(unrecorded)
    folder.write_results(_rows(chunks, folder, summary))
    return summary


def _rows(
    chunks: Sequence[CampaignChunk], folder: ResultFolder, summary: CampaignSummary
) -> Iterator[ReplayRow]:
    for chunk in chunks:
        for row in folder.read_chunk(chunk):
            if isinstance(row, FlowsRow):
                summary.add_flows(row.flows, RECORDED)
            else:
                summary.versions[row.version].add(row)
                yield row
