"""Disks filled and files damaged on real nodes: a write fails, bytes differ, and all is as before afterwards."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import is_damage
from splitbrain.harness.history.variant import Damage
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import nemesis
from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.nemeses.disk import damaged
from splitbrain.nemeses.nemesis import Outlook
from tests.conftest import Ran
from tests.harness.testbeds.cluster import SERVER, plan, with_cluster
from tests.nemeses.driver import Driver, step

WRITTEN = st.tuples(st.binary(max_size=200), st.integers(1, 255)).map(lambda pair: pair[0] + bytes([pair[1]]))


@given(WRITTEN, st.integers(0, 2000), st.integers(1, 40), st.integers(1, 100), st.integers())
def test_damage(wrote: bytes, room: int, bits: int, percent: int, seed: int) -> None:
    content = wrote + bytes(room)
    flipped = damaged(content, {"bits": bits, "seed": seed})
    differ = sum((a ^ b).bit_count() for a, b in zip(content, flipped, strict=True))
    assert differ == min(bits, 8 * len(wrote)) and damaged(content, {"bits": bits, "seed": seed}) == flipped
    assert flipped.endswith(bytes(room)), "room that nothing was written into yet is no place for damage"
    cut = damaged(content, {"percent": percent, "seed": seed})
    share = percent / 100 * len(wrote)
    assert wrote.startswith(cut) and share - 1e-9 <= len(wrote) - len(cut) < share + 1


def test_a_file_of_zeros_is_damaged_too() -> None:
    assert damaged(bytes(1000), {"percent": 25, "seed": 1}) == bytes(750)
    assert sum(byte.bit_count() for byte in damaged(bytes(1000), {"bits": 8, "seed": 1})) == 8


def test_never_more_than_a_minority_is_damaged() -> None:
    for name in ("bit-flips", "truncate"):
        found = nemesis(name)
        view = Outlook(names=("n1", "n2", "n3", "n4", "n5"), primary="n2", last_primary="n1")
        for role in found.known(5):
            (spec,) = found.aim(role, view, random.Random(1))
            assert 1 <= len(spec.touched) <= 2
        assert not {"majority", "all", "quorum"} & set(found.known(5))


@pytest.mark.parametrize("name", ["full-disk", "bit-flips", "truncate"])
def test_a_testbed_that_cannot_do_it_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Docker, "abilities", frozenset({"cut", "end"}))
    with pytest.raises(UsageError, match=r"needs a testbed that can .*, not docker"):
        resolve({"database": "reference", "testbed": "docker", "nemesis": name})


def with_disks(folder: Path, count: int, work: Callable[[Namespaces], Awaitable[None]], **settings: bool) -> None:
    """A cluster whose data folders have disks of their own."""

    class Bounded(Namespaces):
        async def up(self, count: int) -> None:
            await self.bound(count)
            await super().up(count)

    with_cluster(folder, count, work, Bounded(plan(**settings), "test", folder))


async def written(testbed: Namespaces, at: int) -> int:
    """The exit code of a program of the node's that writes a page into its data folder."""
    done = await testbed.nodes[at].run(["dd", "if=/dev/zero", "of=more", "bs=8192", "count=1"])
    return done.code


def test_a_full_disk(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        codes: list[int] = []

        async def meanwhile() -> None:
            codes.append(await written(testbed, 0))
            await testbed.nodes[0].run(["rm", "server.py"])
            async with asyncio.timeout(60):
                while len(codes) < 2:
                    await testbed.nodes[0].run(["rm", "more"])  # The room of it is taken at once.
                    await asyncio.sleep(0.5)
                    codes.extend(filter(None, [await written(testbed, 0)]))
            codes.append(await written(testbed, 1))

        fault = await driver.do(step("full-disk", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
        assert [bool(code) for code in codes] == [True, True, False], codes
        assert await written(testbed, 0) == 0
        assert driver.told[0] == ("fill the disk of n1", "1/1 without room (ENOSPC), spread 0 ms")
        assert driver.told[1:] == [("make room", "written again")]
        await driver.cluster.fill("one", ["n1"])
        await driver.cluster.fill("other", ["n1"])
        await driver.cluster.make_room("one", ["n1"])
        assert await driver.cluster.full(("n1", "n2")) == ("n1",), "somebody else fills it still"
        await driver.cluster.make_room("other", ["n1"])
        assert await driver.cluster.full(("n1", "n2")) == ()

    with_disks(tmp_path, 2, work)
    assert not any((tmp_path / "nodes" / "n1" / "data").iterdir()), "its disk is gone with the nodes"


def test_what_lay_on_a_disk_is_kept_where_the_plan_says_so(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        assert await written(testbed, 0) == 0

    with_disks(tmp_path, 1, work, keep=True)
    data = tmp_path / "nodes" / "n1" / "data"
    assert (data / "more").stat().st_size == 8192 and (data / "server.py").exists() and not data.with_name("data.kept").exists()


def test_a_disk_that_is_not_full_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Namespaces, name: str, *, full: bool) -> None:
        pass

    monkeypatch.setattr(Namespaces, "fill", nothing)

    async def work(testbed: Namespaces) -> None:
        fault = await Driver(testbed, "n1").do(step("full-disk", "primary"))
        assert not fault.bit and fault.wrong == ("n1",)

    with_disks(tmp_path, 2, work)


STORED = msgspec.structs.replace(SERVER, files={"server.py": """
import socket, os
if not os.path.exists("store"):
    open("store", "wb").write(bytes(1000))
if open("store", "rb").read() != bytes(1000):
    raise SystemExit("damaged")
""" + SERVER.files["server.py"]})
"""A server with a file, without which, whole, it does not run."""


def stored(testbed: Namespaces) -> bytes:
    return Path(testbed.nodes[0].folder, "store").read_bytes()


def store(testbed: Namespaces, content: bytes) -> None:
    Path(testbed.nodes[0].folder, "store").write_bytes(content)


@pytest.mark.parametrize("mends", [False, True])
def test_a_damaged_file(tmp_path: Path, mends: bool) -> None:
    async def work(testbed: Namespaces) -> None:
        for node in testbed.nodes:
            await node.stop("server", kill=True)
            await node.start(STORED)
        driver = Driver(testbed, "n1")
        assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
        read, write = functools.partial(stored, testbed), functools.partial(store, testbed)
        seen: list[bytes] = []

        async def meanwhile() -> None:
            seen.append(read())
            if mends:
                write(bytes(1000))
                await testbed.nodes[0].stop("server", kill=True)
                await testbed.nodes[0].start(STORED)
                assert await driver.cluster.serving(("n1",), timeout=60) == ()

        for name in ("bit-flips", "truncate"):
            fault = await driver.do(step(name, "primary"), meanwhile)
            assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
            assert seen[-1] != bytes(1000) and read() == bytes(1000)
            if name == "bit-flips":
                places = driver.told[-2][1].partition("(at ")[2].partition(")")[0].split()
                assert places == [str(at) for at, byte in enumerate(seen[-1]) if byte]
            assert driver.told[-1] == ("mend", "n1 serves" if mends else "n1 did not, its file was put back")
            assert await driver.controller.prove_healed() == ()
        assert driver.told[-2][0] == "cut 25% off a file of n1"
        assert "250 of 1000 bytes of store gone" in driver.told[-2][1]

    with_cluster(tmp_path, 2, work)


def test_every_variant_says_what_is_expected_of_damaged_files(tmp_path: Path) -> None:
    for name in registry.names("databases"):
        for variant in registry.look_up("databases", name).variants:
            assert variant.damage is not None and len(variant.damage.source) > 10, (name, variant.name)

    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        for damage, told in ((Damage(text="one forgets", source="a paper"), "expected: one forgets (a paper)"),
                             (None, "what is expected then the database's file does not say")):
            driver.cluster.database = cast("Database", SimpleNamespace(variant=SimpleNamespace(damage=damage)))
            store(testbed, bytes(1000))
            fault = await driver.do(step("truncate", "primary"))
            assert fault.bit and all(is_damage(spec) for spec in fault.specs)
            assert driver.told[-2][1] == f"n1: 250 of 1000 bytes of store gone, {told}, spread {fault.spread / 1e6:.0f} ms"

    with_cluster(tmp_path, 2, work)


def test_a_node_without_a_file_is_not_damaged(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        fault = await Driver(testbed, "n1").do(step("truncate", "primary"))
        assert not fault.bit and fault.wrong == ("n1",) and fault.healed

    with_cluster(tmp_path, 2, work)


def test_a_server_that_ends_of_a_full_disk_did_not_die_on_its_own(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", "--variant", "majority", "--nodes", "3", "--nemesis", "full-disk:follower",
                     "--time", "7s", "--baseline", "2s", "--fault", "2s", "--between", "2s")
    (row,) = ran.result.scenarios
    assert row.bit and row.dead == () and (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    assert "started again" in ran.said and "on its own" in ran.said
