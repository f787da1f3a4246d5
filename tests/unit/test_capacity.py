"""Forecasts of a fleet's capacity: queueing theory, limits, and options."""

from __future__ import annotations

import pytest

from tests.support.command import call_worker
from worker.cli.capacity_report import parse_planes, parse_rate, parse_size
from worker.errors import UsageError
from worker.testing.simulation.capacity import DAY_S, LIMIT, Demand, default_slots, forecast


def demand(rate_per_s: float, run_s: float, slots: int, size_bytes: float = 100) -> Demand:
    return Demand(runs_per_day=rate_per_s * DAY_S, run_s=run_s, size_bytes=size_bytes, slots=slots)


def test_the_queue_of_one_slot_is_that_of_theory() -> None:
    # M/M/1 with a load of one half: a run waits as long as it takes, on average.
    result = forecast(demand(0.05, 10.0, 1), planes=1)
    assert result.stable and result.limit == "slots"
    assert result.queue == pytest.approx(0.5, rel=0.2)


def test_a_queue_grows_where_a_part_has_too_little() -> None:
    assert not forecast(demand(1.0, 2.0, 1), planes=1).stable
    one, many = (forecast(demand(50.0, 0.1, 100), planes=planes) for planes in (1, 20))
    assert one.limit == "control plane" and not one.stable
    assert many.stable and many.wait_p99_s < one.wait_p99_s


def test_a_forecast_is_the_same_each_time() -> None:
    assert forecast(demand(1.0, 1.0, 3), planes=2) == forecast(demand(1.0, 1.0, 3), planes=2)


def test_larger_states_cost_storage_and_time() -> None:
    small, large = (forecast(demand(1.0, 1.0, 3, size), planes=1) for size in (100, 100_000))
    assert large.database_bytes_per_day > 5 * small.database_bytes_per_day
    assert all(large.loads[part] > small.loads[part] for part in small.loads)


def test_slots_are_planned_below_their_limit() -> None:
    assert default_slots(DAY_S, 7.0) == 7.0 / LIMIT
    assert default_slots(1, 0.001) == 1


def test_texts_are_parsed() -> None:
    assert parse_rate("1e6/day") == 1e6 and parse_rate("5/minute") == 7200
    assert parse_size("20kB") == 20_000 and parse_size("1.5MB") == 1.5e6
    assert parse_planes("3") == range(3, 4) and parse_planes("1..20") == range(1, 21)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_rate, "1e6"), (parse_rate, "1e7/day"), (parse_rate, "0/day"), (parse_rate, "-1/day"),
        (parse_rate, "1/week"), (parse_rate, "1e999/day"), (parse_rate, "nan/day"),
        (parse_size, "20"), (parse_size, "9999999MB"), (parse_size, "-1kB"),
        (parse_planes, "0"), (parse_planes, "1..21"), (parse_planes, "5..2"), (parse_planes, ".."),
    ],
)  # fmt: skip
def test_other_texts_are_mistakes(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(UsageError, match=r"--\w+ .*expected"):
        parse(text)


def test_the_command_prints_a_row_for_each_number_of_planes() -> None:
    done = call_worker("simulate", "--rate", "1e6/day", "--run-time", "2s", "--planes", "1..3")
    assert done.returncode == 0 and not done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1,000,000 runs a day of 2 s, states of 20kB, 34 slots of workers"
    assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "3"]
    wrong = call_worker("simulate", "--rate", "much")
    assert wrong.returncode == 2 and "such as 1e6/day" in wrong.stderr
