"""Command line: ``python -m tools.parity`` prints the agreement by kind.

It exits with 1 where a kind agrees in less than 98 %, or all of them in less than 99.5 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.parity.compare import differences
from tools.parity.generate import KINDS, Generator
from tools.parity.here import run_here
from tools.parity.openfn import OpenFn, install
from tools.parity.programs import Program

OF_EACH, OF_ALL = 0.98, 0.995
_LISTED: Final = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.parity", description=__doc__)
    parser.add_argument("--runs", type=int, default=2100, help="programs in all, such as 5000 (default: 2100)")
    parser.add_argument("--seed", type=int, default=1, help="such as 7 (default: 1)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="one kind alone, such as edges")
    parser.add_argument("--kit", type=Path, help="a built checkout of OpenFn's kit, for its compiler")
    parser.add_argument("--all", action="store_true", help="print every difference, not the first ones")
    arguments = parser.parse_args()
    install()
    kinds: Sequence[str] = arguments.kind or KINDS
    generator = Generator(arguments.seed)
    programs = [p for kind in kinds for p in generator.programs(kind, -(-arguments.runs // len(kinds)))]
    different = compare(programs, arguments.kit)
    for program, found in different[: None if arguments.all else _LISTED]:
        _report(program, found)
    return _summary(kinds, programs, different)


def compare(programs: Sequence[Program], kit: Path | None) -> list[tuple[Program, list[str]]]:
    """Run each program here and there; return those that differ, and in what."""
    different = []
    with OpenFn(kit) as openfn:
        for program, here in zip(programs, run_here(programs), strict=True):
            found = list(differences(here, openfn.run(program)))
            if found:
                different.append((program, found))
    return different


def _report(program: Program, found: Sequence[str]) -> None:
    print(f"--- {program.kind} {program.number}")
    for step in program.steps:
        print(f"  {step.get('id')}: {step.get('expression', '')!r} -> {step.get('next')}")
    print("\n".join(f"  * {line[:1000]}" for line in found), flush=True)


def _summary(kinds: Sequence[str], programs: Sequence[Program], different: Sequence[tuple[Program, list[str]]]) -> int:
    print(f"{'kind':<14}{'programs':>10}{'agree':>10}")
    low = False
    for kind in (*kinds, "all"):
        count = sum(kind in (program.kind, "all") for program in programs)
        agreement = 1 - sum(kind in (program.kind, "all") for program, _ in different) / count
        low = low or agreement < (OF_ALL if kind == "all" else OF_EACH)
        print(f"{kind:<14}{count:>10,}{agreement:>10.1%}")
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
