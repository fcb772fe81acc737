"""The reference database's client against its real server: what every mode must do while nothing is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from splitbrain.harness.databases.reference.database import Reference, mode
from splitbrain.harness.databases.reference.server.command import MODES
from splitbrain.harness.errors import Mismatch, Refused
from splitbrain.harness.testbeds.testbed import Node
from tests.harness.databases.loopback import running


@pytest.mark.parametrize("variant", [variant.name for variant in Reference.variants])
async def test_registers_and_sets(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        nodes = list(database.nodes.values())
        named = {await database.primary(node) for node in nodes}
        assert len(named) == 1
        primary = named.pop()
        assert (primary is None) == (database.variant.writes == "home")
        assert list(await database.versions()) == ["n1", "n2", "n3"]

        client = await database.connect(database.nodes[primary or "n1"])
        assert await client.read(1) is None
        if "compare-and-set" in database.variant.offers:
            await client.cas(1, None, 5)
            for expected in (None, 4):
                with pytest.raises(Mismatch) as mismatch:
                    await client.cas(1, expected, 6)
                assert mismatch.value.seen == (5,)
            await client.cas(1, 5, 6)
            assert await client.read(1) == 6
        else:
            with pytest.raises(Refused):
                await client.cas(1, None, 5)
        await client.write(1, -7)
        assert await client.read(1) == -7
        assert await client.elements("a") == []
        for element in (3, 11, 2):
            await client.add("a", element)
        assert sorted(await client.elements("a")) == [2, 3, 11]
        async with asyncio.timeout(5):
            while [await (await database.local(node)).read(1) for node in nodes] != [-7, -7, -7]:
                await client.read(1)  # where reads write back, they repair
                await asyncio.sleep(0.02)
        await client.close()


async def test_views_may_be_asked_for_side_by_side(tmp_path: Path) -> None:
    async with running(Reference, "lww", tmp_path, count=2) as database:
        node = database.nodes["n1"]

        async def read(node: Node) -> int | None:
            return await (await database.local(node)).read(1)

        answers = await asyncio.gather(
            *(database.primary(node) for _ in range(20)), *(read(node) for _ in range(20))
        )
        assert answers == [None] * 40


async def test_a_dead_server_is_a_refusal(tmp_path: Path) -> None:
    async with running(Reference, "lww", tmp_path, count=2) as database:
        node = database.nodes["n1"]
        await node.stop("reference", kill=True)
        assert await database.primary(node) is None
        with pytest.raises(Refused):
            await (await database.local(node)).read(1)
        with pytest.raises(Refused):
            await database.connect(node)
        assert not await database.ready()


def test_the_claim_is_what_the_server_says_of_its_mode() -> None:
    for variant in Reference.variants:
        said = " ".join((MODES[mode(variant.name)].__doc__ or "").split())
        assert variant.claim.text.strip('"') in said
