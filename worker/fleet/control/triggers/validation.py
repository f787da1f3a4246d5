"""Checks of triggers before they become live: everything that decoding does not check. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from worker.fleet.control.triggers.cron_schedule import ScheduleError, check_schedule
from worker.fleet.messaging.topics import Topics, has_unsent_characters, overlap
from worker.fleet.messaging.trigger_messages import (
    CronTrigger,
    Idempotency,
    MqttTrigger,
    Trigger,
    WebhookTrigger,
)

_SEGMENT = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+")
# Names and indices alone: filters of JSONPath hold regular expressions, which could run for ever.
_JSON_PATH = re.compile(r"\$((\.[A-Za-z_][A-Za-z0-9_-]*|\['[^'\\]*'\]|\[\d{1,9}\])*)")
_PATH_PART = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\['([^'\\]*)'\]|\[(\d+)\]")


class TriggerError(ValueError):
    """A trigger that cannot become live."""


def check_trigger(
    trigger: Trigger, topics: Topics, *, steps: Collection[str], auth_methods: Collection[str]
) -> None:
    """Check a trigger of a workflow with these ``steps``. Raises :class:`TriggerError`."""
    if trigger.start not in steps:
        raise TriggerError(f"the workflow has no step '{trigger.start[:100]}' to start at")
    match trigger:
        case MqttTrigger():
            _check_mqtt(trigger, topics)
        case CronTrigger():
            _check_cron(trigger, steps)
        case WebhookTrigger():
            _check_webhook(trigger, auth_methods)


def has_wildcard(filter: str) -> bool:
    return any(level in ("+", "#") for level in filter.split("/"))


def is_topic(text: str) -> bool:
    """Return True for a topic that a message can be published on."""
    has_wildcards = any(char in text for char in "+#")
    return 0 < len(text) <= 1000 and not has_wildcards and not has_unsent_characters(text)


def cycle_of(triggers: Mapping[str, MqttTrigger], starts: Iterable[str]) -> list[str]:
    """List the names of triggers whose replies start each other for ever; empty without such.

    Only cycles through one of ``starts``, names of triggers, count.
    """
    # A reply names no response topic, so it has a reply itself only where that has a fixed topic. A
    # filter may tell replies from messages.
    repliers = {
        name: trigger
        for name, trigger in triggers.items()
        if trigger.reply != "none" and not trigger.filter and not has_wildcard(trigger.reply_topic)
    }
    for name in starts:
        if name in repliers and (path := _path_back(name, repliers)):
            return path
    return []


def _path_back(start: str, repliers: Mapping[str, MqttTrigger]) -> list[str]:
    """Find the shortest way of replies from a trigger to itself; empty without one."""
    ways, seen = [[start]], set[str]()
    for way in ways:
        topic = repliers[way[-1]].reply_topic
        for name, trigger in repliers.items():
            if name in seen or not overlap(trigger.topic, topic):
                continue
            if name == start:
                return way
            seen.add(name)
            ways.append([*way, name])
    return []


def parse_json_path(text: str) -> tuple[str | int, ...]:
    """Parse a path of names and indices, such as ``$.patient.ids[0]``.

    Raises :class:`TriggerError`.
    """
    if not (match := _JSON_PATH.fullmatch(text)):
        raise TriggerError(
            f"'{text[:100]}' is not a path that an id can have (expected names and indices, such "
            "as $.patient.id or $['id'][0])"
        )
    return tuple(
        int(part[3]) if part[3] else part[1] or part[2] or ""
        for part in _PATH_PART.finditer(match[1])
    )


def _check_mqtt(trigger: MqttTrigger, topics: Topics) -> None:
    _check_filter(trigger.topic, "topic", topics)
    if trigger.reply != "none" and not trigger.reply_topic:
        raise TriggerError(
            f"reply: {trigger.reply} needs a reply_topic: a topic, or a filter that covers the "
            "response topics of the messages"
        )
    if trigger.reply_topic:
        _check_filter(trigger.reply_topic, "reply_topic", topics)
    if trigger.idempotency is not None:
        _check_idempotency(trigger, trigger.idempotency)


def _check_filter(filter: str, name: str, topics: Topics) -> None:
    levels = filter.split("/")
    misplaced = any(
        ("#" in level and (level != "#" or index != len(levels) - 1))
        or ("+" in level and level != "+")
        for index, level in enumerate(levels)
    )
    if misplaced:
        raise TriggerError(
            f"{name} '{filter[:100]}' is no topic filter (+ stands for a whole level, # for all "
            "levels at the end)"
        )
    if has_unsent_characters(filter):
        raise TriggerError(
            f"{name} {filter[:100]!a} has control characters, or codes that are no characters: a "
            "broker ends the connection for these"
        )
    if filter.startswith("$"):
        raise TriggerError(
            f"{name} '{filter[:100]}' begins with $, which is for the broker's own topics and for "
            "shared subscriptions, which lose messages of a consumer that ends"
        )
    # A workflow must neither start itself, nor read what others order, nor command workers.
    if _overlaps(levels, topics.base.split("/")):
        raise TriggerError(
            f"{name} '{filter[:100]}' covers the fleet's own topics, {topics.base}/..."
        )


def _overlaps(levels: list[str], prefix: list[str]) -> bool:
    for level, own in zip(levels, prefix, strict=False):
        if level == "#":
            return True
        if level not in ("+", own):
            return False
    return len(levels) > len(prefix)


def _check_idempotency(trigger: MqttTrigger, idempotency: Idempotency) -> None:
    chosen = [idempotency.json_path != "", idempotency.property != "", idempotency.content]
    if sum(chosen) != 1:
        raise TriggerError("idempotency needs exactly one of json_path, property and content")
    if idempotency.json_path:
        parse_json_path(idempotency.json_path)
        if trigger.format != "json":
            raise TriggerError(f"idempotency.json_path needs format: json, not {trigger.format}")


def _check_cron(trigger: CronTrigger, steps: Collection[str]) -> None:
    try:
        check_schedule(trigger.expression, trigger.timezone)
    except ScheduleError as error:
        raise TriggerError(str(error)) from error
    if trigger.cursor_job and trigger.cursor_job not in steps:
        raise TriggerError(f"the workflow has no job '{trigger.cursor_job[:100]}' for the cursor")


def _check_webhook(trigger: WebhookTrigger, auth_methods: Collection[str]) -> None:
    if not all(map(_SEGMENT.fullmatch, trigger.path.split("/"))):
        raise TriggerError(
            f"'{trigger.path[:100]}' is not a path (expected letters, digits and . _ ~ - between "
            "slashes)"
        )
    for name in trigger.auth:
        if name not in auth_methods:
            known = ", ".join(sorted(auth_methods)) or "none"
            raise TriggerError(
                f"the control plane has no method of authentication '{name[:100]}' (there are: "
                f"{known}; --webhook-auth names their file)"
            )
