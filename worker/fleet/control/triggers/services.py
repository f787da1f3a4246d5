"""The services of triggers that every control plane has."""

from __future__ import annotations

from collections.abc import Callable

from worker.fleet.control.service import ControlPlane
from worker.fleet.control.triggers.reply_service import ReplyService
from worker.fleet.control.triggers.topic_service import TopicService
from worker.fleet.messaging.topic_source import TopicSource
from worker.sinks.log import LeveledLogger


def add_trigger_services(
    plane: ControlPlane, connect: Callable[[], TopicSource], log: LeveledLogger
) -> None:
    """Let a control plane receive the messages of topics, and send replies.

    ``connect`` makes a source of messages.
    """
    plane.add_service(TopicService(plane, connect, log).run)
    plane.add_service(ReplyService(plane, log).run)
