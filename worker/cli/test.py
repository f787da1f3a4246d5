"""``worker test``: run the cases of workflows and compare each with what it expects."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from dataclasses import replace
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import click

from worker.cli.cluster_option import choose_executor, cluster
from worker.cli.files import write_file
from worker.cli.options import (
    PATH,
    command,
    fuel,
    jobs,
    option,
    write_cases,
)
from worker.cli.progress import progress
from worker.cli.record_option import failure_folder, make_folder
from worker.cli.value_types import NumberRange, WholeNumberRange
from worker.errors import UsageError
from worker.runner.parallel import WorkExecutor
from worker.sinks.terminal_text import format_cost, printable, printable_lines
from worker.testing.case import SUFFIXES, Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import CaseResult, run_cases_in_parallel
from worker.testing.coverage import Coverage, coverage_lines, measure, save
from worker.testing.update import update_cases as update_file
from worker.util.plural import count_of
from worker.workflow.documents.near_files import suggest_file
from worker.workflow.model import Workflow


@command()
@click.argument("paths", type=PATH, nargs=-1)
@option("-k", "keyword", default="", metavar="TEXT", help="Run only cases with TEXT in the name.")
@jobs
@cluster
@option("--junit", type=PATH, metavar="FILE", help="Write the results to FILE as JUnit XML.")
@option("--coverage", type=PATH, metavar="FILE",
        help="Add the rules that were exercised to FILE, as JSON.")  # fmt: skip
@option("--fail-under", type=NumberRange(0, 100), metavar="PERCENT",
        help="Exit 1 if a smaller part of a workflow's rules was exercised.")  # fmt: skip
@option("--draw", type=PATH, metavar="FILE",
        help="Draw the coverage on the graph: .svg, .png, .html, .mmd or .dot.")  # fmt: skip
@option("--update", is_flag=True,
        help="Write the results into the cases that expected others.")  # fmt: skip
@option("--mutate", is_flag=True,
        help="Change edges and conditions one by one, and list the changes that no case notices. "
             "--fail-under is then about these.")  # fmt: skip
@option("--flaky", type=WholeNumberRange(1, 1000), metavar="N",
        help="Run each case N times at other times, with other random numbers and with other "
             "delays of replies, and list what differs.")  # fmt: skip
@option("--watch", is_flag=True,
        help="Run the cases again that a saved file concerns, until Ctrl-C.")  # fmt: skip
@option("--record", metavar="on-failure[:DIR]",
        help="Keep a recording of each case that fails in DIR, for worker report.  "
             "[default of DIR: recordings]")  # fmt: skip
@fuel
@write_cases(help="Write a case for each change that no case notices to FILE.")
@option("--schema", is_flag=True, help="Print the JSON Schema of case files and exit.")
def test(
    *,
    paths: tuple[Path, ...],
    keyword: str,
    jobs: int,
    cluster: str | None,
    junit: Path | None,
    coverage: Path | None,
    fail_under: float | None,
    update: bool,
    draw: Path | None,
    mutate: bool,
    flaky: int | None,
    watch: bool,
    record: str | None,
    counts_fuel: bool,
    write_cases: Path | None,
    schema: bool,
) -> int:
    """Run cases: what steps do, and where the run must go.

    PATHS are files that end in .cases.yaml, or folders that hold such files; without PATHS, the
    current folder.

    \b
    Examples:
      worker test graphs
      worker test graphs/referral.cases.yaml -k nurse --junit junit.xml
      worker test . --coverage rules.json --fail-under 90
      worker test . --jobs 1
      worker test . --cluster tcp://scheduler.example.org:8786
      worker test graphs/referral.cases.yaml --mutate --fail-under 100
      worker test graphs --flaky 5
      worker test graphs --record on-failure
      worker test graphs --watch
      worker test graphs --fuel

    \b
    Exit code: 0 all passed, 1 a case failed (also under --flaky), or too few rules were
    exercised or mutants noticed, 2 wrong usage or an unreadable file.
    """
    if schema:
        return _print_schema()
    folder = failure_folder(record)
    if record is not None and folder is None:
        raise UsageError("--record keeps cases that fail: write --record on-failure[:DIR]")
    if cluster is not None and (watch or mutate or flaky is not None):
        raise UsageError("--cluster runs cases once: leave out --watch, --mutate and --flaky")
    executor = choose_executor(jobs, cluster)
    files = find_case_files(paths or (Path(),))
    if watch:
        from worker.cli.watch_cases import watch_cases

        return watch_cases(files, keyword, jobs, print_result)
    cases = _select([case for file in files for case in load_cases(file)], keyword, paths)
    if counts_fuel:
        cases = [replace(case, fuel=True) for case in cases]
    # Only these read the runs themselves.
    keep_runs = (
        counts_fuel or update or folder is not None or _needs_coverage(coverage, fail_under, draw)
    )
    results = asyncio.run(_run_all(cases, executor, keep_runs=keep_runs))
    if folder is not None:
        _record_failures(results, folder)
    updated = _update(results) if update else 0
    failed = sum(bool(result.mismatches) for result in results) - updated
    if junit is not None:
        write_junit(junit, results)
    short = _cover(results, coverage, None if mutate else fail_under, draw)
    changed = f", {updated} updated" if updated else ""
    print(f"\n{len(results) - failed - updated} passed, {failed} failed{changed}")
    # Cases that fail on the workflow itself notice every mutant.
    if mutate and failed:
        print("no mutant was tried: correct the cases that fail first")
    few = mutate and not failed and _mutate(cases, jobs, write_cases, fail_under)
    flaking = flaky is not None and _find_flaky(cases, flaky, jobs)
    return int(bool(failed) or short or few or flaking)


def _find_flaky(cases: list[Case], count: int, jobs: int) -> bool:
    """Print the cases that differ under variations; return True if one fails then."""
    from worker.cli.flaky_report import report_flaky_cases

    print()
    failing = report_flaky_cases(cases, count, jobs)
    print(
        f"{failing} of {count_of(len(cases), 'case')} fail{'s' if failing == 1 else ''} under "
        f"{count_of(count, 'variation')} of each kind"
    )
    return failing > 0


def _record_failures(results: list[CaseResult], folder: Path) -> None:
    from worker.testing.failure_recording import record_failure

    failing = [result for result in results if result.mismatches]
    if failing:
        make_folder(folder)
    for file in filter(None, (record_failure(result, folder) for result in failing)):
        print(f"recorded {printable(str(file))} (open it: worker report FILE)")


def _mutate(cases: list[Case], jobs: int, target: Path | None, fail_under: float | None) -> bool:
    """Test the cases by mutants; return True if they notice too few."""
    from worker.cli.mutation_report import mutate

    score = mutate(cases, jobs, target)
    if fail_under is not None and score < fail_under:
        print(f"error: {score:.0f} % of the mutants is less than {fail_under:g} %", file=sys.stderr)
        return True
    return False


def _select(cases: list[Case], keyword: str, paths: tuple[Path, ...]) -> list[Case]:
    """Return the cases whose name contains the keyword. Raises UsageError if there are none."""
    if not cases:
        raise UsageError(
            f"{', '.join(map(str, paths)) or '.'}: there are no cases (their files end in "
            f"{SUFFIXES[0]}; worker explore WORKFLOW --write-cases FILE makes some)"
        )
    chosen = [case for case in cases if keyword in case.name]
    if not chosen:
        raise UsageError(f"-k {keyword}: no name of a case contains this (cases: {len(cases)})")
    return chosen


def _draw(file: Path, workflows: list[Workflow], coverages: list[Coverage]) -> None:
    """Draw one picture for each workflow; of several, each in a file of its own."""
    from worker.testing.coverage_marks import marks_of
    from worker.view.graph.drawing import draw
    from worker.view.graph.formats import format_from_name, render

    for number, (workflow, coverage) in enumerate(zip(workflows, coverages, strict=True), start=1):
        target = file if len(workflows) == 1 else file.with_stem(f"{file.stem}-{number}")
        drawn = draw(workflow, marks_of(workflow, coverage))
        write_file(target, render(drawn, format_from_name(target)))
        print(f"drew {printable(workflow.name)}: {printable(str(target))}")


def _print_schema() -> int:
    schema = resources.files("worker.testing") / "cases.schema.json"
    print(schema.read_text("utf-8"), end="")
    return 0


def _update(results: list[CaseResult]) -> int:
    """Correct the files; return the number of cases that changed."""
    by_file: dict[str, list[CaseResult]] = {}
    for result in results:
        by_file.setdefault(result.case.file, []).append(result)
    names = [name for file, group in by_file.items() for name in update_file(Path(file), group)]
    for name in names:
        print(f"updated: {printable(name)}")
    return len(names)


def _needs_coverage(file: Path | None, fail_under: float | None, draw: Path | None) -> bool:
    return file is not None or fail_under is not None or draw is not None


def _cover(
    results: list[CaseResult], file: Path | None, fail_under: float | None, draw: Path | None
) -> bool:
    """Print the coverage of the rules if an option needs it; return True if it is too low."""
    if not _needs_coverage(file, fail_under, draw):
        return False
    by_workflow: dict[str, list[CaseResult]] = {}
    for result in results:
        by_workflow.setdefault(result.case.workflow.name, []).append(result)
    coverages = [
        measure(group[0].case.workflow, [run for result in group for run in result.results])
        for group in by_workflow.values()
    ]
    if file is not None:
        counts_earlier = file.exists()
        coverages = save(file, coverages)
        if counts_earlier:
            text = "with what earlier test runs covered; without the file, counting begins anew"
            print(f"{printable(str(file))}: {text}", file=sys.stderr)
    if draw is not None:
        _draw(draw, [group[0].case.workflow for group in by_workflow.values()], coverages)
    print()
    for coverage in coverages:
        for line in coverage_lines(coverage):
            print(printable(line))
    least = min(coverage.percent for coverage in coverages)
    if fail_under is not None and least < fail_under:
        print(f"error: {least:.0f} % of the rules is less than {fail_under:g} %", file=sys.stderr)
        return True
    return False


def _is_case_file(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and path.is_file()


def find_case_files(paths: tuple[Path, ...]) -> list[Path]:
    """Return the case files among these files and below these folders."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*.cases.*") if _is_case_file(file))
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{path}: there is no such file or folder{suggest_file(path)}")
    return files


async def _run_all(
    cases: list[Case], executor: WorkExecutor, *, keep_runs: bool
) -> list[CaseResult]:
    results = []
    completing = run_cases_in_parallel(cases, executor, keep_runs=keep_runs)
    async with aclosing(completing) as completed:
        with progress("testing", len(cases)) as done:
            async for result in completed:
                print_result(result)
                results.append(result)
                done()
    return results


def print_result(result: CaseResult) -> None:
    case = result.case
    cost = "" if not result.cost else f"  {format_cost(result.cost)} instructions"
    print(f"{'✗' if result.mismatches else '✓'} {printable(case.name)}{cost}")
    for mismatch in result.mismatches:
        print(f"    {printable(f'{case.file}:{case.line}')}: {printable_lines(mismatch)}")


def write_junit(file: Path, results: list[CaseResult]) -> None:
    """Write the results as JUnit XML, which CI systems read."""
    failures = sum(bool(result.mismatches) for result in results)
    suite = ElementTree.Element(
        "testsuite", name="worker", tests=str(len(results)), failures=str(failures)
    )
    for result in results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            name=printable(result.case.name),
            classname=printable(result.case.workflow.name),
            file=printable(result.case.file),
            time=f"{result.seconds:.3f}",
        )
        if result.mismatches:
            text = printable_lines("\n".join(result.mismatches))
            ElementTree.SubElement(case, "failure", message=text.partition("\n")[0]).text = text
    write_file(file, ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
