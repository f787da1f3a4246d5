"""The topics, laid out so that an access list can give each participant its own subtree.

    {root}/v1/requests/{method}          requests of clients: submit, chunk, cancel, retry, ...
    {root}/v1/requests/{method}/{user}   the same of a client whose user the policy knows
    {root}/v1/clients/{client}/rsp       replies of the control plane
    {root}/v1/workers/{worker}/status    presence (retained, and the will)
    {root}/v1/workers/{worker}/claim     claims for runs
    {root}/v1/workers/{worker}/start     requests to start claimed runs
    {root}/v1/workers/{worker}/reports   events of runs
    {root}/v1/workers/{worker}/beat      heartbeats of leases
    {root}/v1/workers/{worker}/release   leases of runs that were not started
    {root}/v1/workers/{worker}/fetch     requests for the plan or input of a leased run, in chunks
    {root}/v1/workers/{worker}/chunk     chunks of an event that is too large for a message
    {root}/v1/workers/{worker}/rsp       responses of the control plane: runs, starts, acks
    {root}/v1/workers/{worker}/cmd       commands of the control plane: cancel, abandon
    {root}/v1/control/status             presence of the control plane (retained, and the will)
    {root}/v1/control/echo/{id}          messages of a control plane to itself
    {root}/v1/runs/{run}/state           state of a run (retained), by the control plane alone
    {root}/v1/runs/{run}/events          accepted events of a run, by the control plane alone
    {root}/v1/orders/{order}/state       state of an order (retained), by the control plane alone
    {root}/v1/alerts                     runs that ended as exception or lost

A worker may publish below ``workers/{its name}`` alone, so the topic proves who sent a report. A
client may publish to ``requests/+/{its user}`` alone, so the topic proves whose request it is.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from itertools import zip_longest

from worker.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ROOT = "worker"
FROM_WORKERS = ("status", "claim", "start", "reports", "beat", "release", "fetch", "chunk")

TO_ALL_PLANES = ("status", "claim", "beat")
MAX_PATTERNS = 1_000
"""How many topic filters are kept as patterns."""


def is_name(text: str) -> bool:
    """Return True for a text that fits one level of a topic."""
    return _NAME.fullmatch(text) is not None


def covers(filter: str, topic: str) -> bool:
    """Return True where a topic filter of MQTT (with ``+`` and ``#``) covers a topic."""
    # A wildcard at the first level does not cover the broker's own topics.
    if topic.startswith("$") and not filter.startswith("$"):
        return False
    return _pattern(filter).fullmatch(topic) is not None


@functools.lru_cache(maxsize=MAX_PATTERNS)
def _pattern(filter: str) -> re.Pattern[str]:
    levels = list[str]()
    for level in filter.split("/"):
        if level == "#":
            # It covers the level above it too.
            return re.compile("/".join(levels) + ("(/.*)?" if levels else ".*"), re.DOTALL)
        levels.append("[^/]*" if level == "+" else re.escape(level))
    return re.compile("/".join(levels))


def overlap(first: str, second: str) -> bool:
    """Check whether a message can be on a topic that both filters cover."""
    for levels in zip_longest(first.split("/"), second.split("/")):
        if "#" in levels:
            return True
        if levels[0] != levels[1] and (None in levels or "+" not in levels):
            return False
    return True


def has_unsent_characters(text: str) -> bool:
    """Check for characters that brokers end the connection for, which others may share."""
    # What MQTT lets a receiver refuse: control characters, and what is no character of Unicode.
    return not (text.isascii() and text.isprintable()) and any(map(_is_unsent, map(ord, text)))


def _is_unsent(code: int) -> bool:
    is_control = code < 0x20 or 0x7F <= code < 0xA0
    is_no_character = 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE
    return is_control or is_no_character


def check_name(text: str, what: str) -> str:
    """Check that a name fits one level of a topic. Raises :class:`UsageError`."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{what}: expected 1 to 64 letters, digits, '.', '_' and '-', the first a letter or "
            f"a digit, found {text[:80]!r}"
        )
    return text


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below one root; several fleets can share a broker with different roots."""

    root: str = ROOT

    @property
    def base(self) -> str:
        return f"{self.root}/v1"

    def request(self, method: str, user: str = "") -> str:
        return f"{self.base}/requests/{method}" + (f"/{user}" if user else "")

    def client(self, client: str) -> str:
        return f"{self.base}/clients/{client}/rsp"

    def worker(self, name: str, channel: str) -> str:
        return f"{self.base}/workers/{name}/{channel}"

    @property
    def control(self) -> str:
        return f"{self.base}/control/status"

    def echo(self, id: str) -> str:
        return f"{self.base}/control/echo/{id}"

    def run(self, run_id: str, channel: str) -> str:
        return f"{self.base}/runs/{run_id}/{channel}"

    def order(self, order_id: str) -> str:
        return f"{self.base}/orders/{order_id}/state"

    @property
    def alerts(self) -> str:
        return f"{self.base}/alerts"

    def for_control(self, *, shared: bool = False) -> tuple[str, ...]:
        """List the subscriptions of a control plane.

        With ``shared``, each message goes to one of several control planes, except presences,
        claims and heartbeats, which go to all.
        """
        # One of them may be suspended: heartbeats that went to it would be missed. And the one that
        # accepts an order assigns its run at once, to any pending claim.
        to_all = tuple(self.worker("+", channel) for channel in TO_ALL_PLANES)
        channels = (channel for channel in FROM_WORKERS if channel not in TO_ALL_PLANES)
        group = f"$share/{self.root}-control/" if shared else ""
        filters = (
            self.request("+"),
            self.request("+", "+"),
            *(self.worker("+", channel) for channel in channels),
        )
        # Its own presence, as the broker has retained it, tells whether it has lost the others.
        return (self.control, *to_all, *(f"{group}{filter}" for filter in filters))

    def for_worker(self, name: str) -> tuple[str, ...]:
        return (self.worker(name, "rsp"), self.worker(name, "cmd"), self.control)

    def for_followers(self) -> tuple[str, ...]:
        """List the subscriptions for changes of all runs and orders."""
        return (self.run("+", "state"), self.run("+", "events"), self.order("+"), self.alerts)

    def public_kind(self, topic: str) -> str | None:
        """Classify a public topic: ``run``, ``events``, ``order`` or ``alert``; else ``None``."""
        match topic.removeprefix(f"{self.base}/").split("/"):
            case ["runs", _, "state"]:
                return "run"
            case ["runs", _, "events"]:
                return "events"
            case ["orders", _, "state"]:
                return "order"
            case ["alerts"]:
                return "alert"
            case _:
                return None

    def is_reply_topic(self, topic: str) -> bool:
        """Check whether the control plane may send a reply to a topic."""
        # Else a request could make the control plane publish a command to a worker.
        levels = topic.removeprefix(f"{self.base}/clients/").split("/")
        return (
            topic.startswith(f"{self.base}/clients/")
            and len(levels) == 2
            and levels[1] == "rsp"
            and _NAME.fullmatch(levels[0]) is not None
        )

    def parse(self, topic: str) -> tuple[str, str, str] | None:
        """Parse a topic that a control plane receives.

        Return ``("requests", "submit", "alice")``, without a user ``""`` in its place, or
        ``("workers", "north-1", "claim")``; ``None`` for any other topic.
        """
        if not topic.startswith(f"{self.base}/"):
            return None
        match topic.removeprefix(f"{self.base}/").split("/"):
            case ["requests", method] if _NAME.fullmatch(method):
                return "requests", method, ""
            case ["requests", method, user] if _NAME.fullmatch(method) and _NAME.fullmatch(user):
                return "requests", method, user
            case ["workers", name, channel] if _NAME.fullmatch(name) and channel in FROM_WORKERS:
                return "workers", name, channel
            case _:
                return None
