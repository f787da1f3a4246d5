"""Client of a fleet on a broker, for Python programs.

async with worker.connect("mqtt://localhost") as client:
    order = await client.submit(workflow="referral", input={"data": {}})
    run = await client.wait(order["last_run"])
"""

from __future__ import annotations

from pathlib import Path

from worker.fleet.client import Client, client_name
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import ROOT, Topics


def connect(
    url: str = "mqtt://127.0.0.1",
    *,
    topic_prefix: str = ROOT,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    wait_s: float = 10.0,
) -> Client:
    """Return a client of the control plane on a broker, for use with ``async with``.

    ``url`` is ``mqtt[s]://[name:password@]host[:port]``, or ``ws[s]://host/path`` for WebSockets,
    ``topic_prefix`` the first level of all topics, ``wait_s`` how long a reply may take; the files
    are for TLS. Raises :class:`UsageError` on a wrong url.
    """
    name = client_name()
    address = parse_address(url, ca=ca, cert=cert, key=key)
    bus = MqttBus(address, id=name)
    return Client(bus, Topics(topic_prefix), wait_s=wait_s, name=name, user=address.client_user)
