"""Completion of values in a shell: workflows and steps of a file, orders and runs of a fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from worker.util.path_checks import exists

if TYPE_CHECKING:
    from worker.fleet.client import Client
    from worker.workflow.model import Workflow

# Somebody waits at the prompt.
_TIMEOUT_S = 1.0

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(values: Callable[[click.Context], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            # Shells insert a value as it is: one with a blank would be two words.
            return [
                value
                for value in values(ctx)
                if value.startswith(incomplete) and not any(map(str.isspace, value))
            ]
        except Exception:
            # A shell shows what a completion prints in the middle of the line: no values, no error.
            return []

    return complete


def _workflows(ctx: click.Context) -> list[Workflow]:
    from worker.workflow.load import load_all

    # An option that still lacks its value keeps click from assigning the arguments.
    files = [ctx.params.get("file"), ctx.params.get("workflow_file"), *ctx.args]
    file = next((file for file in files if file and exists(file)), None)
    return [] if file is None else load_all(file, workflow=None)


def _steps(ctx: click.Context) -> Iterable[str]:
    wanted = ctx.params.get("workflow")
    for workflow in _workflows(ctx):
        if wanted in (None, workflow.name, workflow.id):
            yield from (step.id for step in workflow.steps if step.runs_code)


def _query(ctx: click.Context, request: Callable[[Client], Any]) -> Any:
    import asyncio

    from worker.cli.connection import parse

    params = ctx.params
    connection = parse(
        params.get("mqtt") or "mqtt://127.0.0.1", params.get("topic_prefix") or "worker",
        ca=params.get("ca"), cert=params.get("cert"), key=params.get("key"),
        packet_limit_mb=params.get("packet_limit"),
        reply_timeout_s=_TIMEOUT_S,
    )  # fmt: skip

    async def connected() -> Any:
        async with connection.client() as client:
            return await request(client)

    return asyncio.run(connected())


workflow_names = _completer(
    lambda ctx: [workflow.id or workflow.name for workflow in _workflows(ctx)]
)
step_ids = _completer(_steps)
known_workflows = _completer(lambda ctx: _query(ctx, lambda client: client.workflows()))
order_ids = _completer(
    lambda ctx: [order["order_id"] for order in _query(ctx, lambda client: client.orders())]
)
run_ids = _completer(
    lambda ctx: [run["run_id"] for run in _query(ctx, lambda client: client.runs())]
)
