"""The reference server under an operator's switch: real processes, a real cut, and what becomes of what was written."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.harness.databases.servers import cluster
from tests.harness.databases.test_reference_modes import cut, refused


async def test_a_side_that_is_switched_serves_until_it_is_put_back(tmp_path: Path) -> None:
    async with cluster("majority-switch", 5, tmp_path) as servers:
        one, two, three = [await servers.client(name) for name in ("n1", "n2", "n3")]
        assert (await three.call("write", key="x", value=1))["ok"]
        assert (await three.call("add", key="s", element=1))["ok"]
        assert (await one.call("read", key="x"))["value"] == 1
        await cut(servers, ["n1", "n2"], ["n3", "n4", "n5"])
        await refused(lambda: one.call("write", key="x", value=2))
        for client in (one, two, one):
            assert (await client.call("allow-minority"))["ok"]
        assert [(await servers.status(name))["alone"] for name in servers.names] == [True, True, False, False, False]

        held = (await one.call("read", key="x"))["value"]
        assert held == (await one.call("local-read", key="x"))["value"] and held in (None, 1), "what it had, stale or not"
        assert (await one.call("cas", key="x", expected=held, new=2))["ok"]
        assert (await one.call("add", key="s", element=2))["ok"]
        async with asyncio.timeout(60):  # Nodes that are switched tell each other.
            while (await two.call("read", key="x"))["value"] != 2 or 2 not in (await two.call("elements", key="s"))["elements"]:
                await asyncio.sleep(0.05)
        assert (await three.call("write", key="x", value=3))["ok"], "the majority goes on"
        assert (await three.call("read", key="x"))["value"] == 3

        servers.links.heal()
        await servers.until(["n3"], lambda statuses: statuses[0]["ready"])
        assert (await one.call("read", key="x"))["value"] == 2, "it stays switched until it is told otherwise"
        for client in (one, two, two):
            assert (await client.call("forbid-minority"))["ok"]
        await servers.ready()
        for client in (one, two, three):
            assert (await client.call("read", key="x"))["value"] == 3
            assert (await client.call("elements", key="s"))["elements"] == [1]
        assert (await one.call("write", key="x", value=4))["ok"] and (await three.call("read", key="x"))["value"] == 4
