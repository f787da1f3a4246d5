"""``worker campaign``: replay many recordings with several versions of a workflow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from worker.cli.cluster_option import choose_executor, cluster
from worker.cli.from_store import choose_recordings
from worker.cli.groups import LazyCommand, LazyGroup
from worker.cli.options import PATH, command, jobs, option
from worker.cli.progress import progress
from worker.errors import LoadError
from worker.replay.recording import read_item
from worker.replay.recording_places import RecordingPlaces
from worker.sinks.terminal_text import one_line, printable
from worker.util.plural import count_of
from worker.workflow.model import Workflow

_LINE_LENGTH = 400

SECTIONS = {
    "Commands": (
        LazyCommand("run", "worker.cli.replay_campaign:run", "Run a campaign, or the rest of it."),
        LazyCommand(
            "compare", "worker.cli.replay_campaign:compare", "Compare the results of two campaigns."
        ),
    )
}


@click.group(cls=LazyGroup, sections=SECTIONS)
def campaign() -> None:
    """Replay many recordings with versions of a workflow.

    A file describes the campaign: the recordings, the versions, limits and questions.

    \b
    Examples:
      worker campaign run june.yaml
      worker campaign run june.yaml --cluster tcp://scheduler.example.org:8786
      worker campaign compare june july
    """


@command("run")
@click.argument("file", type=PATH)
@option("--results", type=PATH, metavar="DIR",
        help="Folder of the results and the report.  [default: the name of FILE]")  # fmt: skip
@option("--output", "-o", metavar="FILE|URL",
        help="Write the results there too, as JSON lines.")  # fmt: skip
@jobs
@cluster
def run(
    *, file: Path, results: Path | None, output: str | None, jobs: int, cluster: str | None
) -> int:
    """Run a campaign, or the rest of it.

    Finished chunks are kept in the folder and not done again, even if the command was interrupted,
    or the file has changed elsewhere. The folder holds report.html, for people, and results.jsonl:
    recording, run, version, kind of the first difference, step, field.

    \b
    Examples:
      worker campaign run june.yaml
      worker campaign run june.yaml --results results/june --jobs 4
      worker campaign run june.yaml --output s3://bucket/june.jsonl

    \b
    Exit code: 0 all replays are the same and no run contradicts a question, 1 some differ or do,
    2 wrong usage or nothing to read.
    """
    # The report and the replays need most of the package, `compare` does not.
    from worker.campaigns.campaign_page import render_campaign
    from worker.campaigns.campaign_spec import read_spec
    from worker.campaigns.campaign_summary import summary_lines
    from worker.campaigns.result_folder import REPORT, ResultFolder, split_chunks
    from worker.campaigns.result_sink import open_results
    from worker.campaigns.run_campaign import CHUNK_RECORDINGS, replay_chunks, summarize

    spec = read_spec(file)
    executor = choose_executor(jobs, cluster)
    recorded_runs = choose_recordings(spec.recordings, spec.store_url, spec.query)
    recordings = RecordingPlaces(recorded_runs.places, with_content=True)
    replayed = RecordingPlaces(recorded_runs.places, with_content=not executor.is_local)
    folder = ResultFolder(results or file.with_suffix(""))
    chunks = list(split_chunks(spec, recordings, CHUNK_RECORDINGS))
    unfinished = [chunk for chunk in chunks if not folder.has(chunk)]
    finished = len(recordings) - sum(chunk.end - chunk.start for chunk in unfinished)
    if finished:
        print(f"{finished:,} of {count_of(len(recordings), 'recording')} were replayed before")
    with progress("replaying", len(recordings) - finished) as done:
        asyncio.run(replay_chunks(spec, replayed, unfinished, folder, executor, done))
    summary = summarize(spec, chunks, folder, recorded_runs.unrecorded)
    with open_results(output) as sink:
        folder.copy_results(sink)
    for line in summary_lines(summary):
        print(one_line(line, _LINE_LENGTH))
    if (recorded := _recorded_workflow(recordings)) is not None:
        folder.write_file(REPORT, render_campaign(spec, summary, recorded).encode())
        print(f"report: {printable(str(folder.path / REPORT))}")
    return 2 if summary.nothing_readable else int(summary.differs)


def _recorded_workflow(recordings: RecordingPlaces) -> Workflow | None:
    """Load the workflow of the first recording that can be read."""
    for item in recordings:
        try:
            return read_item(item).workflow
        except LoadError:
            continue
    return None


@command("compare")
@click.argument("first", type=PATH, metavar="DIR")
@click.argument("second", type=PATH, metavar="OTHER")
def compare(*, first: Path, second: Path) -> int:
    """Compare the results of two campaigns.

    Replays are matched by the names of recording and version.

    \b
    Examples:
      worker campaign compare june july

    \b
    Exit code: 0 all replays are alike, 1 some are not, 2 wrong usage.
    """
    from worker.campaigns.campaign_summary import compare_campaigns, comparison_lines
    from worker.campaigns.result_folder import read_results

    comparison = compare_campaigns(read_results(first), read_results(second))
    for line in comparison_lines(comparison):
        print(one_line(line, _LINE_LENGTH))
    return int(comparison.differs)
