"""``worker replay``: run recordings again and show the first difference."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from worker.campaigns.campaign_spec import RECORDED
from worker.campaigns.campaign_summary import describe_unrecorded
from worker.campaigns.replay_versions import encode_row, result_row, unreadable_row
from worker.campaigns.result_sink import ResultSink, open_results
from worker.cli.cluster_option import choose_executor, cluster
from worker.cli.from_store import check_filters, choose_recordings, from_store
from worker.cli.options import (
    check_only,
    check_picks,
    command,
    fuel,
    jobs,
    only_step,
    option,
    start_at,
    stop_after,
    workflow_file,
    write_cases,
)
from worker.cli.progress import progress
from worker.core.events import RunComplete
from worker.errors import LoadError, WorkerError
from worker.fleet.messaging.client_messages import RunQuery
from worker.fleet.messaging.messages import StatusName
from worker.replay.cost_change import CostChange, describe_ratio
from worker.replay.divergence import Divergence
from worker.replay.recording import Recording, StoredRecording, name_of, read_item
from worker.replay.recording_places import RecordingPlaces
from worker.replay.replayer import Replay, ReplayPart, ended_externally, replay
from worker.runner.ordered_results import in_order
from worker.runner.parallel import Handler, WorkExecutor
from worker.runner.pool import Pool
from worker.sinks.run_summary import join_path
from worker.sinks.terminal_text import format_cost, one_line, printable
from worker.testing.from_recording import write_case
from worker.util.json import dumps
from worker.util.moments import time_us
from worker.util.plural import count_of
from worker.workflow.load import load
from worker.workflow.model import Workflow

# Processor time of one replay in this process, as measured: reading, comparing, formatting.
REPLAY_S = 0.002


@command("replay")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|URL...")
@workflow_file("Run this workflow instead of the recorded one.",
               of="that file and of --from-store", needs_file=False)  # fmt: skip
@from_store
@start_at("--from", help="Start at this step, with its recorded input.")
@stop_after("--until")
@only_step
@jobs
@cluster
@fuel
@write_cases("--write-case", help="Write the recordings to FILE as cases for worker test.")
@option("--json", "as_json", is_flag=True, help="Print one recording a line, as JSON.")
@option("--output", "-o", metavar="FILE|URL",
        help="Write the results there too, as the JSON lines of a campaign.")  # fmt: skip
def replay_all(
    *,
    paths: tuple[str, ...],
    workflow_file: Path | None,
    workflow: str | None,
    start_at: str,
    stop_after: str,
    only: str,
    jobs: int,
    cluster: str | None,
    counts_fuel: bool,
    write_cases: Path | None,
    as_json: bool,
    from_store: str | None,
    since: datetime | None,
    status: StatusName | None,
    output: str | None,
) -> int:
    """Run recordings again, offline, and show the first difference.

    The recording answers the requests, and gives the time and the random numbers. DIR stands for
    all recordings in it.

    \b
    Examples:
      worker run project.yaml --credentials secrets.yaml --record runs/first.jsonl
      worker replay runs/first.jsonl
      worker replay runs --workflow-file project.yaml --workflow "Case referral"
      worker replay runs/first.jsonl --start-at notify
      worker replay runs/first.jsonl --write-cases notify.cases.yaml
      worker replay runs --json --jobs 4
      worker replay s3://bucket/runs --json
      worker replay runs --cluster tcp://scheduler.example.org:8786
      worker replay runs --fuel --workflow-file project.yaml
      worker replay history.jsonl --output s3://bucket/results.jsonl
      worker replay /srv/recordings --from-store postgresql://db/fleet --since 7d --status failed

    \b
    Exit code: 0 no difference, 1 a difference, 2 wrong usage or nothing to read.
    """
    check_only(only, start_at, stop_after)
    check_filters(from_store, since, status)
    if from_store is None:
        check_picks(workflow, workflow_file)
    query = RunQuery(since=time_us(since), workflow=workflow, status=status)
    recorded = choose_recordings(paths, from_store, query)
    recordings = recorded.places
    changed = None if workflow_file is None else load(workflow_file, workflow=workflow)
    if write_cases is not None:
        return _write_cases(RecordingPlaces(recordings, with_content=True), write_cases)
    work = ReplayWork(
        workflow=changed,
        part=ReplayPart(start=only or start_at, end=only or stop_after),
        as_json=as_json,
        alone=len(recordings) == 1,
        fuel=counts_fuel,
        version="" if output is None else str(workflow_file or RECORDED),
    )
    executor = choose_executor(jobs, cluster)
    places = RecordingPlaces(recordings, with_content=not executor.is_local)
    with open_results(output) as results:
        code = asyncio.run(_replay_all(places, work, executor, results))
    _print_unrecorded(recorded.unrecorded, as_json=as_json)
    return code


async def _replay_all(
    paths: Sequence[Path | StoredRecording],
    work: ReplayWork,
    executor: WorkExecutor,
    results: ResultSink,
) -> int:
    kinds: Counter[str] = Counter()
    reports = executor.results_in_order(work, paths, REPLAY_S * len(paths))
    async with aclosing(reports):
        with progress("replaying", len(paths)) as done:
            async for report in reports:
                kinds[report.kind] += 1
                for line in report.lines:
                    print(line)
                results.write(report.row)
                done()
    if not work.alone and not work.as_json:
        _summary(kinds)
    bad = len(paths) - kinds["same"]
    return 2 if kinds["unreadable"] == len(paths) else int(bad > 0)


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Kind of the first difference, or ``same``, and the lines that describe it.

    ``cost`` is the change of the run's cost, where it is known.
    """

    kind: str
    lines: list[str]
    cost: CostChange | None = None
    row: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayWork:
    """Replays as parallel work; its items are the paths of recordings.

    With a ``version``, which names the workflow, the reports have rows of results.
    """

    workflow: Workflow | None
    part: ReplayPart
    as_json: bool
    alone: bool
    fuel: bool = False
    version: str = ""

    @asynccontextmanager
    async def open(
        self, slots: int
    ) -> AsyncIterator[Handler[Path | StoredRecording, ReplayReport]]:
        async with Pool(size=slots) as pool:
            yield functools.partial(self._replay_in_order, pool, slots)

    def _replay_in_order(
        self, pool: Pool, slots: int, paths: Sequence[Path | StoredRecording]
    ) -> AsyncIterator[ReplayReport]:
        return in_order(paths, functools.partial(self._replay, pool), slots)

    async def _replay(self, pool: Pool, item: Path | StoredRecording) -> ReplayReport:
        try:
            recording = read_item(item)
            replayed = await replay(pool, recording, self.workflow, self.part, fuel=self.fuel)
            return self._report(item, replayed)
        except WorkerError as error:
            return self._report(item, error)
        except Exception as error:
            # A recording that cannot be replayed must not end those after it.
            return self.lost(item, f"failed: {type(error).__name__}: {error}")

    def _report(self, item: Path | StoredRecording, outcome: Replay | WorkerError) -> ReplayReport:
        name = name_of(item)
        lines = _as_json(name, outcome) if self.as_json else _as_text(name, outcome, self.alone)
        costs = () if isinstance(outcome, WorkerError) else outcome.costs
        return ReplayReport(
            _kind(outcome), lines, next(iter(costs), None), self._row(name, outcome)
        )

    def _row(self, name: str, outcome: Replay | WorkerError) -> bytes:
        if not self.version:
            return b""
        if isinstance(outcome, WorkerError):
            return encode_row(unreadable_row(name, self.version, str(outcome)))
        return encode_row(result_row(name, self.version, outcome))

    def lost(self, item: Path | StoredRecording, cause: str) -> ReplayReport:
        return self._report(item, WorkerError(f"its replay {cause}"))


def _kind(outcome: Replay | WorkerError) -> str:
    return "unreadable" if isinstance(outcome, WorkerError) else outcome.kind


# --- as text --------------------------------------------------------------------------------------


def _sameness(outcome: Replay) -> str:
    last = outcome.recording.events[-1]
    if isinstance(last, RunComplete) and ended_externally(outcome.recording):
        return f"as recorded, up to its end ({last.status.value})"
    return f"{outcome.result.status.value}, as recorded"


def _as_text(path: str, outcome: Replay | WorkerError, alone: bool) -> list[str]:
    name = printable(path)
    if isinstance(outcome, WorkerError):
        # An error of the file begins with its name.
        text = printable(str(outcome)).removeprefix(f"{name}: ")
        return [f"✗ {name}: {text}"]
    lines = [f"! {name}: {printable(damage)}" for damage in outcome.recording.damage]
    costs = list(_cost_lines(outcome))
    if outcome.divergence is not None:
        return [*lines, f"✗ {name}: {_difference(outcome.divergence)}", *costs]
    if alone:
        entries = outcome.result.path
        steps = [entry.step for entry in entries]
        joined = join_path(steps, steps, [entry.next for entry in entries])
        walked = printable(joined or "(no step)")
        lines.append(f"{'!' if lines else '✓'} {name}: {_sameness(outcome)}")
        lines.append(f"  path: {walked}")
        if outcome.scripted:
            lines.append(f"  from the recording: {printable(', '.join(outcome.scripted))}")
        return [*lines, *costs]
    # Of many recordings, a line for each that costs something else.
    changed = outcome.costs and outcome.costs[0].before != outcome.costs[0].after
    return [*lines, f"~ {name}:", *costs] if changed else lines


MOST_DEARER_STEPS = 3


def _cost_lines(outcome: Replay) -> Iterator[str]:
    """Describe the change of the run's cost, and of the steps that changed most."""
    cost = outcome.result.cost
    if not outcome.costs:
        if cost is not None:
            yield f"  cost: {format_cost(cost)} instructions"
        return
    run, *steps = outcome.costs
    yield f"  cost: {_cost_change(run)}"
    changed = [step for step in steps if step.before != step.after]
    for step in changed[:MOST_DEARER_STEPS]:
        yield f"    {one_line(step.step, 60)}: {_cost_change(step)}"


def _cost_change(change: CostChange) -> str:
    if change.before == change.after:
        return f"{format_cost(change.after)} instructions, the same"
    numbers = f"{format_cost(change.before)} → {format_cost(change.after)} instructions"
    return f"{numbers}, {describe_ratio(change.ratio)}"


def _difference(divergence: Divergence) -> str:
    again = f", execution {divergence.execution}" if divergence.execution else ""
    place = f" at '{divergence.step}'{again}" if divergence.step else ""
    return f"{divergence.kind}{printable(place)}: {one_line(divergence.message, 600)}"


def _summary(kinds: Counter[str]) -> None:
    total = sum(kinds.values())
    print(f"\n{count_of(total, 'recording')}: {kinds['same']} the same")
    for kind, count in kinds.most_common():
        if kind != "same":
            print(f"    {count:>6}  {_WORDS[kind]}")


def _print_unrecorded(run_ids: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        for run_id in run_ids:
            print(dumps({"recording": None, "run": run_id, "kind": "unrecorded"}))
    elif run_ids:
        print(printable(describe_unrecorded(run_ids)))


_WORDS = {
    "request": "make another request",
    "path": "take another path",
    "outcome": "have a step that ends in another way",
    "state": "have another state",
    "log": "log something else",
    "edge": "follow other edges",
    "run": "end in another way",
    "damaged": "are damaged, and the same as far as they go",
    "unreadable": "cannot be replayed",
}


def _costs_as_json(outcome: Replay) -> dict[str, object]:
    run, *steps = outcome.costs or (None,)
    changes = {step.step: {"before": step.before, "after": step.after} for step in steps if step}
    return {"before": run and run.before, "after": outcome.result.cost, "steps": changes}


def _as_json(path: str, outcome: Replay | WorkerError) -> list[str]:
    fields: dict[str, object] = {"recording": path, "kind": _kind(outcome)}
    if isinstance(outcome, WorkerError):
        return [dumps({**fields, "message": str(outcome)})]
    divergence = outcome.divergence
    difference = None
    if divergence is not None:
        difference = {name: getattr(divergence, name) for name in Divergence.__dataclass_fields__}
    status = outcome.result.status.value
    return [
        dumps(
            {
                **fields,
                "status": status,
                "divergence": difference,
                "damage": list(outcome.recording.damage),
                "scripted": list(outcome.scripted),
                **({"cost": _costs_as_json(outcome)} if outcome.result.cost is not None else {}),
            }
        )
    ]


# --- as cases -------------------------------------------------------------------------------------


def _write_cases(stored: Sequence[Path | StoredRecording], target: Path) -> int:
    recordings: list[Recording] = []
    for item in stored:
        recording = read_item(item)
        if recording.damage:
            raise LoadError(f"it is damaged: {recording.damage[0]}", file=str(recording.path))
        recordings.append(recording)
    copy = write_case(recordings, target)
    files = f"{printable(str(target))}, and their workflow to {printable(str(copy))}"
    print(f"wrote {count_of(len(recordings), 'case')} to {files}")
    return 0
