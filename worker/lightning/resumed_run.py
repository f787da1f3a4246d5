"""A run of an earlier process of the worker, whose events are still to be reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from worker.core.outcome import StepError
from worker.lightning.channel_errors import ChannelClosed, ReplyLost, RequestRefused
from worker.lightning.delivery import OutgoingEvent
from worker.lightning.error_words import step_reason
from worker.lightning.event_sender import EventSender
from worker.lightning.run_reports import TOO_LARGE, failed
from worker.lightning.run_session import RunContext
from worker.lightning.run_store import StoredRun
from worker.util.machine_clock import now_us

_TYPE = "WorkerRestarted"
_MESSAGE = "the worker was restarted while the run was under way"


def missing_events(run: StoredRun, timestamp: int) -> Iterator[OutgoingEvent]:
    """Yield the events that end a run whose process is gone, with its steps."""
    if run.is_complete:
        return
    error = StepError(type=_TYPE, message=_MESSAGE)
    for step_id, job_id in run.open_steps.items():
        payload = {
            "step_id": step_id,
            "job_id": job_id,
            "timestamp": str(timestamp),
            "output_dataclip_error": TOO_LARGE,
            **step_reason("exception", error).fields,
        }
        yield OutgoingEvent(event="step:complete", payload=payload, step_id=step_id)
    yield from failed("exception", _TYPE, _MESSAGE, timestamp)


async def resume(context: RunContext, run: StoredRun) -> None:
    """Report what is left of a run, until Lightning has accepted it or the token expires."""
    channel = context.socket.channel(f"run:{run.run_id}", {"token": run.token})
    file = context.store.reopen(run)
    sender = EventSender(channel, run.run_id, file, context.log, context.batches)
    for event in run.pending:
        sender.add(event, stored=True)
    for event in missing_events(run, now_us()):
        sender.add(event)
    sender.close()
    try:
        async with asyncio.timeout(max(0.0, run.expires_s - time.time())):
            await channel.join()
            await sender.run(first_is_repeated=bool(run.pending))
        context.log.info("run.recovered", run_id=run.run_id)
        file.discard()
    except (RequestRefused, ReplyLost, ChannelClosed, TimeoutError) as error:
        context.log.warning("run.abandoned", run_id=run.run_id, error=str(error)[:500])
        file.discard()
    finally:
        file.close()
        channel.leave()
