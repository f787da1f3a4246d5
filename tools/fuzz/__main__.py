"""Command line of the fuzzer. It exits with 1 if there is a finding."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from tools.fuzz.bounds import limit_memory
from tools.fuzz.fuzzer import Finding, Session, fuzz
from tools.fuzz.taken_out import MENDS, taken_out
from tools.fuzz.targets import TARGETS

FOLDER = Path(".cache/fuzz")


def main() -> int:
    """Fuzz, and print inputs, branches and faults by target."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="such as 60 (default: 600)")
    parser.add_argument("--seed", type=int, default=1, help="such as 7 (default: 1)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="such as frames")
    parser.add_argument(
        "--self-check", action="store_true", help="take mends out, and find their faults again"
    )
    arguments = parser.parse_args()
    limit_memory()
    if arguments.self_check:
        return self_check(arguments.seconds, arguments.seed)
    with contextlib.ExitStack() as stack:
        targets = [TARGETS[name]() for name in arguments.target or TARGETS]
        for target in targets:
            stack.callback(target.close)
        sessions = fuzz(targets, arguments.seconds, arguments.seed)
    print(f"{'target':<12}{'inputs':>9}{'inputs/s':>10}{'branches':>10}{'kept':>7}{'faults':>8}")
    for session in sessions:
        print(_line(session))
    findings = [finding for session in sessions for finding in session.findings.values()]
    for finding in findings:
        _report(finding)
    return 1 if findings else 0


def self_check(seconds: float, seed: int) -> int:
    """Take out each mend; exit with 1 where its fault is not found in a share of the time."""
    missed = 0
    for name, mend in MENDS.items():
        began = time.monotonic()
        with taken_out(mend), contextlib.closing(TARGETS[mend.target]()) as target:
            (session,) = fuzz([target], seconds / len(MENDS), seed, first=True)
        took = f"{session.inputs:,} inputs, {time.monotonic() - began:.1f} s"
        place = next(iter(session.findings), "")
        print(f"{name}: {mend.fault}: {place or 'NOT FOUND'} ({took})")
        missed += not place
    return 1 if missed else 0


def _line(session: Session) -> str:
    rate = session.inputs / max(session.seconds, 0.001)
    return (
        f"{session.target.name:<12}{session.inputs:>9,}{rate:>10.0f}"
        f"{len(session.branches.reached):>10,}{len(session.corpus):>7}{len(session.findings):>8}"
    )


def _report(finding: Finding) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{finding.target}-{finding.number}.input"
    file.write_bytes(finding.data)
    print(f"\n{finding.target}: {finding.place}, input {finding.number} ({file})\n{finding.text}")


if __name__ == "__main__":
    sys.exit(main())
