"""Pages of a run's whole log: searched, filtered, and downloaded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.fleet.client import Client
from worker.fleet.monitor.decode import events_from_reply
from worker.view.dashboard.context import app_context, attachment, render_template
from worker.view.dashboard.log_lines import LEVELS, log_line

PAGE_LINES = 500
_BATCH = 1000
# Events that one request searches: a page must not read millions.
_MAX_SEARCHED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Filter of log lines. ``level`` is the least severe level to include; empty for all lines."""

    search: str = ""
    level: str = ""

    def matches(self, line: Mapping[str, Any]) -> bool:
        text = f"{line['step']} {line['text']}".casefold()
        return self._has_level(line["level"]) and self.search.casefold() in text

    def _has_level(self, level: str) -> bool:
        # Starts and ends of steps have no level.
        return not self.level or (level in LEVELS and LEVELS.index(level) >= self._least)

    @property
    def _least(self) -> int:
        return LEVELS.index(self.level) if self.level in LEVELS else 0


async def log(request: Request) -> Response:
    """Show a page of the log from an event on, with the lines that match a search."""
    client = app_context(request).client
    run = await client.run(request.path_params["id"])
    query = request.query_params
    log_filter = LogFilter(search=query.get("search", "")[:200], level=query.get("level", ""))
    after = _number(query.get("after", ""))
    lines: list[dict[str, Any]] = []
    position = after
    async for position, line in _lines(client, run["run_id"], after):
        if line is not None and log_filter.matches(line):
            lines.append(line)
        if len(lines) >= PAGE_LINES or position - after >= _MAX_SEARCHED:
            break
    return render_template(
        request,
        "log.html",
        run=run,
        lines=lines,
        filter=log_filter,
        levels=LEVELS,
        after=after,
        position=position,
        more=position < run["reported"],
    )


async def download_log(request: Request) -> Response:
    """Send the whole log as text."""
    client = app_context(request).client
    run = await client.run(request.path_params["id"])
    return StreamingResponse(
        _text(client, run["run_id"]),
        media_type="text/plain; charset=utf-8",
        headers=attachment(f"run-{run['run_id']}.log"),
    )


def _number(text: str) -> int:
    # The address may be edited by hand.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1


async def _lines(
    client: Client, run_id: str, after: int
) -> AsyncIterator[tuple[int, dict[str, Any] | None]]:
    """Yield the number of each event after ``after``, and its line, if it has one."""
    async for fields in client.each_event(run_id, after=after, limit=_BATCH):
        for event in events_from_reply([fields]):
            yield event.seq, log_line(event)


async def _text(client: Client, run_id: str) -> AsyncIterator[bytes]:
    async for _, line in _lines(client, run_id, -1):
        if line is not None:
            place = f"{line['at']} {line['level']:<5} {line['step']} {line['source']}"
            yield f"{place} {line['text']}\n".encode("utf-8", "replace")
