"""``worker simulate``: a fleet under faults, on virtual time."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from worker.cli.cluster_option import is_spelled_out
from worker.cli.options import DURATION, PATH, WORKFLOW_PATH, command, option
from worker.cli.progress import progress
from worker.cli.value_types import NumberRange, WholeNumberRange
from worker.cli.workflow_files import find_workflow_files
from worker.errors import UsageError
from worker.fleet.control.policy import read_policy
from worker.sinks.terminal_text import one_line
from worker.testing.simulation.breaches import breaches
from worker.testing.simulation.fewest_faults import shrink
from worker.testing.simulation.history import History
from worker.testing.simulation.run_simulation import Simulation, simulate
from worker.util.plural import count_of
from worker.workflow.load import load_all

_OF_SIMULATIONS = {
    "seed": "--seed",
    "seeds": "--seeds",
    "orders": "--orders",
    "minutes": "--minutes",
    "shows_log": "--log",
    "files": "WORKFLOW",
    "policy": "--policy",
}
_OF_FORECASTS = {
    "run_time_s": "--run-time",
    "size": "--size",
    "planes": "--planes",
    "slots": "--slots",
    "core_price": "--core-price",
}


@command("simulate")
@click.argument("files", metavar="[WORKFLOW]...", type=WORKFLOW_PATH, nargs=-1)
@option("--policy", type=PATH, metavar="FILE",
        help="Policy of the control plane: projects, their limits, credentials.")  # fmt: skip
@option("--seed", type=WholeNumberRange(min=0), default=1, show_default=True, metavar="N",
        help="First seed.")  # fmt: skip
@option("--seeds", type=WholeNumberRange(min=1), default=10, show_default=True, metavar="N",
        help="How many seeds, from the first on.")  # fmt: skip
@option("--orders", type=WholeNumberRange(1, 10_000), default=20, show_default=True, metavar="N",
        help="Orders of each simulation.")  # fmt: skip
@option("--minutes", type=NumberRange(0.1, 1e6), default=10.0, show_default=True, metavar="N",
        help="Simulated time in which orders and faults come.")  # fmt: skip
@option("--log", "shows_log", is_flag=True, help="Print what each part of the fleet logged.")
@option("--rate", metavar="N/TIME",
        help="Forecast a fleet's capacity instead, for orders such as 1e6/day.")  # fmt: skip
@option("--run-time", "run_time_s", type=DURATION, default=2.0, show_default=True,
        metavar="SECONDS", help="With --rate: mean time of a run.")  # fmt: skip
@option("--size", default="20kB", show_default=True, metavar="SIZE",
        help="With --rate: size of a state, in B, kB or MB.")  # fmt: skip
@option("--planes", default="1..4", show_default=True, metavar="N|N..N",
        help="With --rate: numbers of control planes.")  # fmt: skip
@option("--slots", type=WholeNumberRange(1, 100_000), metavar="N",
        help="With --rate: runs that all workers execute at once.  "
             "[default: busy for 70 % of the time]")  # fmt: skip
@option("--core-price", type=NumberRange(min=0, max=1e6), default=0.04, show_default=True,
        metavar="N", help="With --rate: price of a core for an hour.")  # fmt: skip
def simulate_fleet(
    *,
    files: tuple[Path, ...],
    policy: Path | None,
    seed: int,
    seeds: int,
    orders: int,
    minutes: float,
    shows_log: bool,
    rate: str | None,
    **demand: Any,
) -> int:
    """Check a fleet under faults, on virtual time.

    A control plane and three workers run unchanged in one thread, on virtual time. Messages are
    late, repeated and lost, connections break, processes are killed between any two steps, the
    database is away, clocks jump. Each run has an effect that is counted outside of the fleet. The
    same seed gives the same simulation.

    With WORKFLOWs (plans, projects, folders), orders are spread over these and over the projects of
    the policy. Steps and conditions are drawn; job code does not run, and no request is made. A
    step takes a while, has its effect, and succeeds or, one time in ten, fails. Edges then decide
    as in any run. What idempotent workflows, retries and limits promise is checked too. The rights
    of clients in a policy are left out.

    With --rate, it forecasts a fleet of any size by a model of its parts: queue, waits, growth of
    the database and cost.

    \b
    Examples:
      worker simulate
      worker simulate --rate 1e6/day --run-time 2s --size 20kB --planes 1..20
      worker simulate graphs/referral.yaml project.yaml --policy policy.yaml
      worker simulate --seed 17 --seeds 1 --log
      worker simulate --seeds 1000 --orders 200

    \b
    Exit code: 0 nothing was wrong, 1 something was, 2 wrong usage.
    """
    _check_options(forecasts=rate is not None)
    if rate is not None:
        from worker.cli.capacity_report import capacity_lines

        for line in capacity_lines(rate=rate, **demand):
            print(line)
        return 0
    base = _simulation(files, policy, orders=orders, duration_s=minutes * 60)
    words = _words(files, policy, base)
    began, simulated_s, failing = time.process_time(), 0.0, 0
    statuses: Counter[str] = Counter()
    with progress("simulating", seeds) as done:
        for number in range(seed, seed + seeds):
            simulation = replace(base, seed=number)
            history = simulate(simulation)
            simulated_s += history.simulated_s
            statuses.update(str(run["status"]) for run in history.runs.values())
            wrong = list(breaches(history))
            failing += bool(wrong)
            for line in _failure(simulation, wrong, words) if wrong else ():
                print(line, flush=True)
            for line in _log(history) if shows_log else ():
                print(line)
            done()
    cpu_s = max(time.process_time() - began, 1e-3)
    runs = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    print(f"{count_of(seeds, 'seed')}, {simulated_s / 3600:.1f} simulated hours, {runs}")
    print(
        f"{simulated_s / cpu_s:.0f} times as fast as real time; {count_of(failing, 'seed')} failed"
    )
    return int(failing > 0)


def _check_options(*, forecasts: bool) -> None:
    """Raise :class:`UsageError` for an option of the other of simulation and forecast."""
    for parameter, name in (_OF_SIMULATIONS if forecasts else _OF_FORECASTS).items():
        if is_spelled_out(parameter):
            other = "leave it out with --rate" if forecasts else "it needs --rate"
            raise UsageError(f"{name} is about {'faults' if forecasts else 'a forecast'}: {other}")


def _simulation(
    files: tuple[Path, ...], policy: Path | None, *, orders: int, duration_s: float
) -> Simulation:
    """Build the simulation of workflows and a policy. Raises :class:`WorkerError` for a mistake."""
    simulation = Simulation(
        seed=0,
        orders=orders,
        duration_s=duration_s,
        workflows=tuple(
            workflow
            for file in (find_workflow_files(files) if files else ())
            for workflow in load_all(file)
        ),
        policy=read_policy(policy) if policy else None,
    )
    simulation.workload().check()
    return simulation


def _words(files: tuple[Path, ...], policy: Path | None, simulation: Simulation) -> list[str]:
    """Return the command that simulates the same, but for its seeds."""
    words = ["worker", "simulate", *map(str, files)]
    words += ["--policy", str(policy)] if policy else []
    minutes = f"{simulation.duration_s / 60:g}"
    return [*words, "--orders", str(simulation.orders), "--minutes", minutes]


def _failure(simulation: Simulation, wrong: list[str], words: list[str]) -> Iterator[str]:
    yield f"✗ seed {simulation.seed}"
    for text in wrong[:10]:
        yield f"    {one_line(text)}"
    smallest = shrink(replace(simulation, faults=simulation.drawn_faults()))
    yield f"  with these faults of {len(simulation.drawn_faults())}:"
    for fault in smallest.drawn_faults():
        yield f"    {fault}"
    words = [*words, "--seed", str(simulation.seed), "--seeds", "1", "--log"]
    yield f"  again: {shlex.join(words)}"


def _log(history: History) -> Iterator[str]:
    for now_s, part, event, fields in history.notes:
        details = " ".join(f"{name}={value}" for name, value in fields.items())
        yield one_line(f"{now_s:10.3f} s  {part:<8} {event} {details}")
