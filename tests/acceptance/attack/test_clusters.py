"""Attacks on a cluster of Dask, whose parts execute the code that they receive."""

from __future__ import annotations

import pytest

from worker.cluster.cluster_address import ClusterAddress

distributed = pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("default")
async def test_another_user_of_this_machine_cannot_send_code_to_a_local_cluster() -> None:
    """It connects to the scheduler on loopback, without keys and with keys of its own."""
    from worker.cluster.cluster_client import open_client

    async with open_client(ClusterAddress(), workers=1) as client:
        assert await client.submit(sum, [1, 2]) == 3
        address = client.scheduler.address
        host = address.removeprefix("tls://")
        for url, security in (
            (f"tcp://{host}", None),
            (address, distributed.Security.temporary()),
        ):
            with pytest.raises((OSError, TimeoutError)):
                await distributed.Client(
                    url, security=security, asynchronous=True, set_as_default=False, timeout=3
                )
