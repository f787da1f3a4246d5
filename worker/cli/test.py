"""``worker test``: run the cases beside workflows, and say which are not as expected."""

from __future__ import annotations

import asyncio
import sys
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

from worker.errors import UsageError
from worker.sinks.terminal_text import printable
from worker.testing.case import SUFFIXES, Case
from worker.testing.cases import load_cases
from worker.testing.coverage import Coverage, measure, save, table
from worker.testing.runner import CaseResult, run_cases
from worker.testing.update import update as update_file
from worker.workflow.model import Workflow


def test(
    paths: tuple[Path, ...],
    *,
    keyword: str,
    jobs: int,
    junit: Path | None,
    coverage: Path | None,
    fail_under: float | None,
    update: bool,
    draw: Path | None,
) -> int:
    """0 where every case is as expected and enough rules were exercised, else 1.

    Raises :class:`worker.errors.WorkerError` on a file that is wrong or stale.
    """
    files = find(paths or (Path(),))
    cases = [case for file in files for case in load_cases(file) if keyword in case.name]
    if not cases:
        raise UsageError(f"no cases found in {len(files)} files (they end in {SUFFIXES[0]})")
    verdicts = asyncio.run(_run_all(cases, jobs))
    updated = _update(verdicts) if update else 0
    failed = sum(bool(verdict.mismatches) for verdict in verdicts) - updated
    if junit is not None:
        write_junit(junit, verdicts)
    short = _cover(verdicts, coverage, fail_under, draw)
    changed = f", {updated} updated" if updated else ""
    print(f"\n{len(verdicts) - failed - updated} passed, {failed} failed{changed}")
    return int(bool(failed) or short)


def _draw(file: Path, workflows: list[Workflow], coverages: list[Coverage]) -> None:
    """One picture for each workflow; of several, each in a file of its own."""
    from worker.testing.coverage_marks import marks_of
    from worker.view.graph.drawing import draw
    from worker.view.graph.formats import format_from_name, render

    for number, (workflow, coverage) in enumerate(zip(workflows, coverages, strict=True), start=1):
        own = file if len(workflows) == 1 else file.with_stem(f"{file.stem}-{number}")
        own.write_bytes(render(draw(workflow, marks_of(workflow, coverage)), format_from_name(own)))
        print(f"drew {printable(workflow.name)}: {printable(str(own))}")


def print_schema() -> int:
    """The JSON Schema of case files, as it is shipped."""
    schema = resources.files("worker.testing") / "cases.schema.json"
    print(schema.read_text("utf-8"), end="")
    return 0


def _update(verdicts: list[CaseResult]) -> int:
    """Correct the files; how many cases were."""
    by_file: dict[str, list[CaseResult]] = {}
    for verdict in verdicts:
        by_file.setdefault(verdict.case.file, []).append(verdict)
    names = [name for file, several in by_file.items() for name in update_file(Path(file), several)]
    for name in names:
        print(f"updated: {printable(name)}")
    return len(names)


def _cover(
    verdicts: list[CaseResult], file: Path | None, fail_under: float | None, draw: Path | None
) -> bool:
    """Print the coverage of the rules if it is asked for; whether it is too little."""
    if file is None and fail_under is None and draw is None:
        return False
    by_workflow: dict[str, list[CaseResult]] = {}
    for verdict in verdicts:
        by_workflow.setdefault(verdict.case.workflow.name, []).append(verdict)
    coverages = [
        measure(
            several[0].case.workflow, [result for verdict in several for result in verdict.results]
        )
        for several in by_workflow.values()
    ]
    if file is not None:
        coverages = save(file, coverages)
    if draw is not None:
        _draw(draw, [several[0].case.workflow for several in by_workflow.values()], coverages)
    print()
    for one in coverages:
        for line in table(one):
            print(printable(line))
    least = min(one.percent for one in coverages)
    if fail_under is not None and least < fail_under:
        print(f"error: {least:.0f} % of the rules is less than {fail_under:g} %", file=sys.stderr)
        return True
    return False


def find(paths: tuple[Path, ...]) -> list[Path]:
    """The case files among these files, and below these folders."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*.cases.*") if p.name.endswith(SUFFIXES))
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"there is no file or folder {path}")
    return found


async def _run_all(cases: list[Case], jobs: int) -> list[CaseResult]:
    verdicts = []
    async for verdict in run_cases(cases, jobs):
        _print(verdict)
        verdicts.append(verdict)
    return verdicts


def _print(verdict: CaseResult) -> None:
    case = verdict.case
    print(f"{'✗' if verdict.mismatches else '✓'} {printable(case.name)}")
    for mismatch in verdict.mismatches:
        print(f"    {printable(f'{case.file}:{case.line}')}: {printable(mismatch)}")


def write_junit(file: Path, verdicts: list[CaseResult]) -> None:
    """The verdicts as JUnit XML, as CI systems read it."""
    failures = sum(bool(verdict.mismatches) for verdict in verdicts)
    suite = ElementTree.Element(
        "testsuite", name="worker", tests=str(len(verdicts)), failures=str(failures)
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            name=printable(verdict.case.name),
            classname=printable(verdict.case.workflow.name),
            file=verdict.case.file,
            time=f"{verdict.seconds:.3f}",
        )
        if verdict.mismatches:
            text = printable("\n".join(verdict.mismatches))
            ElementTree.SubElement(case, "failure", message=text.partition("\n")[0]).text = text
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)
