"""``worker conformance``: check a worker or a control plane with the cases of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast, get_args

import click
from msgspec.structs import replace

from worker.cli.connection import BrokerConnection
from worker.cli.options import client_options, command, option
from worker.errors import UsageError
from worker.fleet.messaging.bus import Bus
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import check_name
from worker.sinks.terminal_text import one_line
from worker.testing.conformance.case_file import ConformanceCase, ConformanceFile, Part, read_cases
from worker.testing.conformance.conversation import is_online, run_case
from worker.util.plural import count_of


@command("conformance")
@click.argument("part", metavar="PART")
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@option("--worker", "worker_name", default="worker", show_default=True, metavar="NAME",
        help="Name of the worker that is checked.")  # fmt: skip
@option("--list", "lists", is_flag=True, help="Print the cases with their rules, and run none.")
@client_options
def conformance(
    *,
    connection: BrokerConnection,
    part: str,
    cases: Sequence[str],
    worker_name: str,
    lists: bool,
) -> int:
    """Check that a worker or control plane follows the protocol.

    PART is worker or control-plane. It is running on the broker already, with a topic prefix of its
    own: this command acts as all other participants there. A worker needs a capacity of 2 or more.
    A control plane has no policy, and is faster to check with a short --lease. The part may be
    written in any language; the cases are data files of the package.

    \b
    Examples:
      worker conformance worker --worker north-1 --topic-prefix check
      worker conformance control-plane --mqtt mqtt://127.0.0.1:1883 --topic-prefix check
      worker conformance worker start-refused report-retransmitted
      worker conformance control-plane --list

    \b
    Exit code: 0 all cases passed, 1 some failed, 2 wrong usage.
    """
    if part not in get_args(Part):
        raise click.UsageError(f"unknown part '{part}' (expected worker or control-plane)")
    file = read_cases(cast("Part", part))
    selected = _select(file, cases)
    if lists:
        for case in selected:
            print(f"{case.case:<28} {case.rule}")
        return 0
    selection = replace(file, cases=selected)
    name = check_name(worker_name, "--worker")
    failed = asyncio.run(_run(connection, part, selection, name))
    print(f"{count_of(len(selected), 'case')}, {failed} failed")
    return int(failed > 0)


def _select(file: ConformanceFile, names: Sequence[str]) -> list[ConformanceCase]:
    unknown = set(names) - {case.case for case in file.cases}
    if unknown:
        raise UsageError(f"there is no case {', '.join(sorted(unknown))} (--list lists them)")
    return [case for case in file.cases if not names or case.case in names]


async def _run(
    connection: BrokerConnection, part: str, file: ConformanceFile, worker_name: str
) -> int:
    """Run the cases of a file, print their results, and return how many failed."""

    def open_bus(filter: str) -> Bus:
        limit_bytes = connection.max_packet_bytes
        return MqttBus(connection.address, filter, max_packet_bytes=limit_bytes)

    status = "control/status" if part == "control-plane" else f"workers/{worker_name}/status"
    if not await is_online(open_bus, status, connection.topics, connection.reply_timeout_s):
        raise UsageError(
            f"no {part} is online there: nothing on {connection.topics.base}/{status} of "
            f"{connection.address}"
        )
    failed = 0
    for case in file.cases:
        failure = await run_case(
            file,
            case,
            open_bus,
            topics=connection.topics,
            timeout_s=connection.reply_timeout_s,
            variables={"worker": worker_name},
        )
        print(f"{'✗' if failure else '✓'} {case.case}", flush=True)
        if failure:
            failed += 1
            print(f"    {case.rule}")
            for line in failure.splitlines():
                print(f"    {one_line(line)}", flush=True)
    return failed
