"""``worker test --watch``: run the cases again that a saved file concerns."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from worker.errors import LoadError, WorkerError
from worker.runner.pool import Pool
from worker.sinks.terminal_text import printable
from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import CaseResult, run_in_order
from worker.testing.in_process import InProcessRunner
from worker.util.plural import count_of

# A fifth of what a person notices as a delay. A look at a thousand files takes 2 ms.
_INTERVAL_S = 0.04
_SUFFIXES = {".yaml", ".yml", ".json", ".js", ".py"}
_SKIPPED = {"node_modules", "__pycache__"}

# Looks at an empty file until it counts as saved: many editors empty a file before they write it.
_EMPTY_LOOKS = 10

Snapshot = Mapping[Path, tuple[int, int, int]]
Show = Callable[[CaseResult], None]


def watch_cases(files: Sequence[Path], keyword: str, jobs: int, show: Show) -> int:
    """Run the cases of files, and again after each change, until the process is interrupted."""
    try:
        asyncio.run(_watch(files, keyword, jobs, show))
    except KeyboardInterrupt:
        print()
    return 0


async def _watch(files: Sequence[Path], keyword: str, jobs: int, show: Show) -> None:
    async with Pool(size=jobs) as pool:
        watch = CaseWatch(pool, files, keyword, show)
        await watch.run(files)
        async for changed in watch.folders.changes():
            await watch.run(watch.concerned(changed))


class CaseWatch:
    """Files of cases, the names of the files that each of them depends on, and their folders."""

    def __init__(self, pool: Pool, files: Sequence[Path], keyword: str, show: Show) -> None:
        self._pool, self._files, self._keyword, self._show = pool, files, keyword, show
        self._texts: dict[Path, str] = {}
        self.folders = WatchedFolders()
        for file in files:
            self.folders.add(file.parent)

    def concerned(self, changed: Iterable[Path]) -> list[Path]:
        """Return the files of cases that are among the changed files, or name one of them."""
        paths = set(changed)
        names = {path.name for path in paths}
        return [
            file
            for file in self._files
            if file in paths or any(name in self._texts.get(file, name) for name in names)
        ]

    async def run(self, files: Sequence[Path]) -> None:
        """Run the cases of files, and print a line that counts them."""
        results: list[CaseResult] = []
        unreadable = 0
        for file in files:
            try:
                cases = self._load(file)
            except WorkerError as error:
                # The file is saved half-written, perhaps: it runs again after the next change.
                if isinstance(error, LoadError) and error.file:
                    self.folders.add(Path(error.file).parent)
                print(f"error: {printable(str(error))}")
                unreadable += 1
                continue
            results += await self._run(cases)
        if files:
            print(f"\n{_summary(results, unreadable)}; watching", flush=True)

    def _load(self, file: Path) -> list[Case]:
        self._texts.pop(file, None)
        cases = load_cases(file)
        sources = {file, *(Path(case.workflow.file) for case in cases)}
        # A case may name a workflow of another folder since its file was saved.
        for source in sources:
            self.folders.add(source.parent)
        self._texts[file] = "\n".join(path.read_text("utf-8") for path in sources if path.is_file())
        return [case for case in cases if self._keyword in case.name]

    async def _run(self, cases: Sequence[Case]) -> list[CaseResult]:
        # A new one each time: it keeps what it has compiled of each version of a workflow.
        runner = InProcessRunner(self._pool, asyncio.get_running_loop())
        results = []
        try:
            async with aclosing(run_in_order(self._pool, runner, cases)) as outcomes:
                async for result in outcomes:
                    self._show(result)
                    results.append(result)
        finally:
            await asyncio.to_thread(runner.close)
        return results


def _summary(results: Sequence[CaseResult], unreadable: int) -> str:
    """Count the cases and the files that were not run; a count of no cases would look like one."""
    failed = sum(bool(result.mismatches) for result in results)
    counts = [f"{len(results) - failed} passed, {failed} failed"] if results else []
    counts += [f"{count_of(unreadable, 'file')} not run"] if unreadable else []
    return ", ".join(counts) or "no case to run"


# --- changes of files -----------------------------------------------------------------------------


class WatchedFolders:
    """Folders, and the state of the files below them at the last look."""

    def __init__(self) -> None:
        self._folders: set[Path] = set()
        self._files: Snapshot = {}

    def add(self, folder: Path) -> None:
        """Watch one more folder: what is saved from now on is a change."""
        # At once, as a run comes before the next look.
        if folder not in self._folders:
            self._folders.add(folder)
            self._files = {**_snapshot([folder]), **self._files}

    async def changes(self) -> AsyncIterator[set[Path]]:
        """Yield the files that were saved since the last look, until cancelled."""
        while True:
            changed = await asyncio.to_thread(self._look)
            for _ in range(_EMPTY_LOOKS):
                if not any(map(self._is_empty, changed)):
                    break
                await asyncio.sleep(_INTERVAL_S)
                changed |= await asyncio.to_thread(self._look)
            if changed:
                yield changed
            # No file system events: they differ by system, and are lost on network and shared
            # folders.
            await asyncio.sleep(_INTERVAL_S)

    def _is_empty(self, path: Path) -> bool:
        return path in self._files and self._files[path][-1] == 0

    def _look(self) -> set[Path]:
        before, now = self._files, _snapshot(self._folders)
        self._files = now
        return {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}


def _snapshot(folders: Collection[Path]) -> Snapshot:
    entries: dict[Path, tuple[int, int, int]] = {}
    for folder in folders:
        for root, names, files in os.walk(folder):
            names[:] = [name for name in names if name[0] != "." and name not in _SKIPPED]
            for path in (Path(root, name) for name in files):
                if path.suffix in _SUFFIXES and (state := _state(path)) is not None:
                    entries[path] = state
    return entries


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        # Editors replace a file by another: for a moment there is none.
        return None
    # The size too: a clock of files can have a step of some milliseconds, in which a file is both
    # emptied and written.
    return status.st_mtime_ns, status.st_ino, status.st_size
