"""The topics, laid out so that an access list can give each party a subtree of its own.

    {root}/v1/requests/{method}          clients ask: submit, cancel, retry, ...
    {root}/v1/clients/{client}/...       where the control plane answers them
    {root}/v1/workers/{worker}/status    retained birth and will
    {root}/v1/workers/{worker}/claim     asks for runs
    {root}/v1/workers/{worker}/reports   events of runs
    {root}/v1/workers/{worker}/beat      heartbeats of runs
    {root}/v1/workers/{worker}/release   hands runs back that were not started
    {root}/v1/workers/{worker}/rsp       the control plane: runs, acknowledgements
    {root}/v1/workers/{worker}/cmd       the control plane: cancel, abandon
    {root}/v1/control/status             retained birth and will of the control plane
    {root}/v1/runs/{run}/state           retained, by the control plane alone
    {root}/v1/runs/{run}/events          what was accepted of a run, by the control plane alone
    {root}/v1/orders/{order}/state       retained: an order that was rejected, and so has no run
    {root}/v1/alerts                     exception and lost

A worker writes below ``workers/{its name}`` alone, so who reports a run is known from the topic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ROOT = "worker"
FROM_WORKERS = ("status", "claim", "reports", "beat", "release")


def check_name(text: str, what: str) -> str:
    """A name that can stand as one level of a topic. Raises :class:`UsageError`."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"{what} must be 1 to 64 letters, digits, '.', '_' and '-', and begin with a letter "
            f"or a digit; found {text[:80]!r}"
        )
    return text


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics below one root, so that several fleets can share a broker."""

    root: str = ROOT

    @property
    def base(self) -> str:
        return f"{self.root}/v1"

    def request(self, method: str) -> str:
        return f"{self.base}/requests/{method}"

    def client(self, client: str) -> str:
        return f"{self.base}/clients/{client}/rsp"

    def worker(self, name: str, what: str) -> str:
        return f"{self.base}/workers/{name}/{what}"

    @property
    def control(self) -> str:
        return f"{self.base}/control/status"

    def run(self, run_id: str, what: str) -> str:
        return f"{self.base}/runs/{run_id}/{what}"

    def order(self, order_id: str) -> str:
        return f"{self.base}/orders/{order_id}/state"

    @property
    def alerts(self) -> str:
        return f"{self.base}/alerts"

    def for_control(self, *, shared: bool = False) -> tuple[str, ...]:
        """What a control plane subscribes to. Several share the messages: each goes to one of
        them, but for who is there, which all must know."""
        status, *said = (self.worker("+", what) for what in FROM_WORKERS)
        group = f"$share/{self.root}-control/" if shared else ""
        return (status, *(f"{group}{filter}" for filter in (self.request("+"), *said)))

    def for_worker(self, name: str) -> tuple[str, ...]:
        """What a worker subscribes to."""
        return (self.worker(name, "rsp"), self.worker(name, "cmd"), self.control)

    def for_followers(self) -> tuple[str, ...]:
        """What tells of all runs and orders."""
        return (self.run("+", "state"), self.run("+", "events"), self.order("+"), self.alerts)

    def said(self, topic: str) -> str | None:
        """What a topic of the control plane tells of: ``run``, ``events``, ``order``, ``alert``."""
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

    def is_reply(self, topic: str) -> bool:
        """Whether the control plane may answer there: else a request could command workers."""
        levels = topic.removeprefix(f"{self.base}/clients/").split("/")
        return (
            topic.startswith(f"{self.base}/clients/")
            and len(levels) == 2
            and levels[1] == "rsp"
            and _NAME.fullmatch(levels[0]) is not None
        )

    def parse(self, topic: str) -> tuple[str, str, str] | None:
        """(branch, name, what) of a topic that a control plane receives; none of ours: ``None``.

        ``("requests", "submit", "")`` and ``("workers", "north-1", "claim")``.
        """
        if not topic.startswith(f"{self.base}/"):
            return None
        match topic.removeprefix(f"{self.base}/").split("/"):
            case ["requests", method] if _NAME.fullmatch(method):
                return "requests", method, ""
            case ["workers", name, what] if _NAME.fullmatch(name) and what in FROM_WORKERS:
                return "workers", name, what
            case _:
                return None
