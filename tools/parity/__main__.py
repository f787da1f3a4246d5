"""Command line: ``python -m tools.parity`` prints the agreement with OpenFn's runtime by kind.

It exits with 1 where a kind agrees in less than 98 %, or all of them in less than 99.5 %, and where
a documented difference is none any more.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.parity.compare import Difference, compare, read_answers
from tools.parity.documented import documented, row_of
from tools.parity.faults import find_faults
from tools.parity.generate import KINDS, programs
from tools.parity.here import run_here
from tools.parity.openfn import PACKAGES, OpenFn, install
from tools.parity.programs import Program

OF_EACH, OF_ALL = 0.98, 0.995
_LISTED: Final = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.parity", description=__doc__)
    parser.add_argument("--runs", type=int, default=2100, help="such as 5000 (default: 2100)")
    parser.add_argument("--seed", type=int, default=1, help="such as 7 (default: 1)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="such as edges")
    parser.add_argument("--kit", type=Path, help="a built checkout of OpenFn's kit: its compiler")
    parser.add_argument("--all", action="store_true", help="print every difference")
    parser.add_argument("--against", type=Path, help="answers of OpenFn, recorded by --self-check")
    parser.add_argument("--self-check", action="store_true", help="put faults back, and find them")
    arguments = parser.parse_args()
    if arguments.self_check:
        install()
        return find_faults(arguments.seed)
    kinds: Sequence[str] = arguments.kind or KINDS
    of_each = -(-arguments.runs // len(kinds))
    chosen = [p for kind in kinds for p in programs(arguments.seed, kind, of_each)]
    if arguments.against:
        return int(bool(compare(chosen, run_here(chosen), read_answers(arguments.against))))
    install()
    print(
        f"with {' and '.join(PACKAGES)}, sources from {'kit' if arguments.kit else 'our'} compiler"
    )
    with OpenFn(arguments.kit) as openfn:
        different = compare(chosen, run_here(chosen), map(openfn.run, chosen))
        alike = _alike(openfn)
    if arguments.kit:
        different = _without_rows(different)
    for difference in different[: None if arguments.all else _LISTED]:
        _report(difference)
    for title in alike:
        print(f"documented, and no difference any more: {title}")
    return _summary(kinds, chosen, different) or int(bool(alike))


def _without_rows(different: Sequence[Difference]) -> list[Difference]:
    """Print how many programs each row of the table explains; return the others."""
    rows = [row_of(each.program, each.here, each.there) for each in different]
    for title, count in Counter(filter(None, rows)).most_common():
        print(f"documented: {count:>6,}  {title}")
    return [each for each, row in zip(different, rows, strict=True) if not row]


def _alike(openfn: OpenFn) -> list[str]:
    """Return the documented differences whose programs agree."""
    known = documented()
    different = compare(known, run_here(known), map(openfn.run, known))
    shown = {difference.program.difference for difference in different}
    return [program.difference for program in known if program.difference not in shown]


def _report(difference: Difference) -> None:
    program = difference.program
    print(f"--- {program.kind} {program.number}")
    for step in program.steps:
        print(f"  {step.get('id')}: {step.get('expression', '')!r} -> {step.get('next')}")
    if shared := program.plan["workflow"].get("globals"):
        print(f"  globals: {shared!r}")
    print("\n".join(f"  * {line[:1000]}" for line in difference.lines), flush=True)


def _summary(
    kinds: Sequence[str], chosen: Sequence[Program], different: Sequence[Difference]
) -> int:
    print(f"{'kind':<14}{'programs':>10}{'agree':>10}")
    low = False
    for kind in (*kinds, "all"):
        count = sum(kind in (program.kind, "all") for program in chosen)
        faults = sum(kind in (difference.program.kind, "all") for difference in different)
        agreement = 1 - faults / count
        low = low or agreement < (OF_ALL if kind == "all" else OF_EACH)
        print(f"{kind:<14}{count:>10,}{agreement:>10.1%}")
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
