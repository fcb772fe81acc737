"""Links impaired on real nodes: what was intended is measured, it is over afterwards, and the rules of others stay."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from splitbrain.harness.history.fault import Cut, Figure, Impair
from splitbrain.harness.schedules import Step, nemesis
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Train
from splitbrain.nemeses.injectors.links import as_meant
from splitbrain.nemeses.nemesis import Outlook
from tests.harness.testbeds.cluster import with_cluster
from tests.nemeses.driver import Driver, step

THREE = ("n1", "n2", "n3")
ONE_WAY = (("n1", "n2"), ("n1", "n3"))


@pytest.mark.parametrize(("scenario", "links"), [
    ("all", {(a, b) for a in THREE for b in THREE if a != b}),
    ("primary", {("n1", "n2"), ("n2", "n1"), ("n2", "n3"), ("n3", "n2")}),
    ("to-primary", {("n1", "n2"), ("n3", "n2")}),
    ("from-primary", {("n2", "n1"), ("n2", "n3")}),
])
def test_which_links(scenario: str, links: set[tuple[str, str]]) -> None:
    (spec,) = nemesis("loss").aim(scenario, Outlook(names=THREE, primary="n2"), random.Random(1))
    assert isinstance(spec, Impair) and set(spec.links) == links and spec.loss == 0.3


def test_regions() -> None:
    names = ("n1", "n2", "n3", "n4", "n5")
    specs = nemesis("regions").aim("three-regions", Outlook(names=names, primary="n1"), random.Random(1))
    late = {link: spec.delay for spec in specs if isinstance(spec, Impair) for link in spec.links}
    assert set(late.values()) == {25.0, 50.0, 100.0} and all(late[link] == late[link[::-1]] for link in late)
    assert {link for link in late if late[link] == 100} == {(a, b) for a in ("n1", "n4", "n3") for b in ("n1", "n4", "n3")
                                                            if (a == "n3") != (b == "n3")}
    within = {("n1", "n4"), ("n4", "n1"), ("n2", "n5"), ("n5", "n2")}
    assert len(late) == 20 - len(within) and within.isdisjoint(late)


def test_words() -> None:
    (spec,) = nemesis("delay").aim("all", Outlook(names=THREE, primary="n2"), random.Random(1))
    assert spec.doing(THREE) == "delay 100 ms on all links"
    assert Impair(ONE_WAY, loss=0.3, rate=500).doing(THREE) == "lose 30%, let through 500 kbit/s from n1"
    assert Impair(ONE_WAY[:1], delay=50, jitter=50).doing(THREE) == "delay 50 ± 50 ms n1→n2"
    assert str(Figure("lost", "%", 30.0, 26.667, 21.7, 28.0)) == "lost 26.7 % (21.7 to 28, intended 30)"
    assert str(Figure("calls", "a second", 18456.1, 4613.2, 4613.2, 4613.2)) == "calls 4,613 a second (intended 18,456)"


@pytest.mark.parametrize(("meant", "train", "right"), [
    (Impair((), delay=100), Train(25, (101.0,) * 25), True),
    (Impair((), delay=100), Train(25, (1.0,) * 25), False),
    (Impair((), delay=100), Train(25, ()), False),
    (Impair(()), Train(25, (1.0,) * 25), True),
    (Impair(()), Train(25, (90.0,) * 25), False),
    (Impair(()), Train(25, (90.0,) * 25, busy=50.0), True),
    (Impair((), delay=100), Train(25, (101.0,) * 25, inexact=5.0), True),
    (Impair((), delay=25), Train(25, (15.0,) * 25, inexact=10.0), True),
    (Impair((), delay=25), Train(25, (15.0,) * 25, inexact=16.0), False),  # wrong clocks alone may show as much
    (Impair(()), Train(25, (-20.0,) * 25, inexact=30.0), True),
    (Impair(()), Train(100, (1.0,) * 90), False),
    (Impair((), loss=0.3), Train(100, (1.0,) * 68), True),
    (Impair((), loss=0.3), Train(100, (1.0,) * 100), False),
    (Impair((), rate=500), Train(25, (1.0,) * 25, rate=400.0), True),
    (Impair((), rate=500), Train(25, (1.0,) * 25, rate=90_000.0), False),
])
def test_what_counts_as_meant(meant: Impair, train: Train, right: bool) -> None:
    assert as_meant(meant, train) is right


def impair(*specs: Impair | Cut) -> Step:
    return Step(0.0, 1.0, "scripted", "scripted", specs)


def test_every_impairment_is_measured_and_over_afterwards(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        foreign = ("-t", "mangle", "-A", "INPUT", "-s", "203.0.113.7/32", "-j", "DROP")
        assert (await testbed.nodes[0].run(["iptables", *foreign])).code == 0
        all_links = tuple((a, b) for a in THREE for b in THREE if a != b)
        for spec, what in (
            (Impair(all_links, delay=100), "one way"), (Impair(all_links, delay=50, jitter=50), "spread"),
            (Impair(all_links, loss=0.3), "lost"), (Impair(all_links, duplicate=0.5), "twice"),
            (Impair(all_links, delay=25, reorder=0.25), "overtook others"), (Impair(all_links, corrupt=0.2), "lost"),
            (Impair(all_links, rate=500), "rate"),
        ):
            fault = await driver.do(impair(spec))
            assert fault.bit and fault.healed, (what, fault.proofs, fault.undone)
            assert not fault.cut and not fault.struck and fault.impaired and fault.sides == (THREE,)
            (figure,) = (figure for figure in fault.proofs[0].figures if figure.what == what)
            # A busy machine makes packets late, and spreads them, at will.
            most = float("inf") if what in ("one way", "spread") else 2 * figure.intended + 30
            assert figure.intended / 3 < figure.middle < most, figure
            assert set(fault.proofs[0].measured) == set(all_links) == set(fault.undone[0].measured)
        assert await driver.controller.prove_healed() == ()
        listed = (await testbed.nodes[0].run(["iptables-save", "-t", "mangle"])).stdout
        assert "203.0.113.7/32 -j DROP" in listed and "NFQUEUE" not in listed

    with_cluster(tmp_path, 3, work)


def test_one_way_and_what_overlaps(tmp_path: Path) -> None:
    """Only the links that are meant are slow; delays of two faults add up; a cut over a slow link is proven all the same."""

    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        cluster = driver.cluster
        one, other = Impair(ONE_WAY, delay=80), Impair((("n1", "n2"), ("n3", "n2")), delay=120, loss=0.2)
        await cluster.impair("one", one)
        await cluster.impair("other", other)
        trains = await cluster.measure([("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n2"), ("n3", "n1")])
        late = {link: min(train.late) for link, train in trains.items()}  # A busy machine makes some packets late, not all.
        assert late["n1", "n2"] >= 199 and 79 <= late["n1", "n3"] < 199 and 119 <= late["n3", "n2"] < 199
        assert max(late["n2", "n1"], late["n3", "n1"]) < 79 and trains["n1", "n2"].lost > trains["n1", "n3"].lost
        fault = await driver.do(impair(Cut((("n1", "n2"), ("n3", "n1")))))
        assert fault.bit and fault.healed and fault.observed_cut == (("n1", "n2"), ("n3", "n1"))
        await cluster.clear("other")
        assert cluster.impaired() == {link: Impair((link,), delay=80) for link in ONE_WAY}
        await cluster.clear("one")
        await cluster.clear("one")
        assert cluster.impaired() == {} and await driver.controller.prove_healed() == ()

    with_cluster(tmp_path, 3, work)


def test_regions_are_apart_all_at_once_and_together_again(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            late = {a + b: one.delay for (a, b), one in driver.cluster.impaired().items()}
            assert late == {"n1n2": 25, "n2n1": 25, "n2n3": 50, "n3n2": 50, "n1n3": 100, "n3n1": 100}

        fault = await driver.do(step("regions", "three-regions"), meanwhile)
        assert fault.bit and fault.healed and len(fault.proofs) == len(fault.undone) == 3, (fault.proofs, fault.undone)
        for proofs in (fault.proofs, fault.undone):
            assert len({proof.at for proof in proofs}) == 1, "measured at once"
            links = [set(spec.links) for spec in fault.specs if isinstance(spec, Impair)]
            assert [set(proof.measured) for proof in proofs] == links
        assert [proof.figures[0].intended for proof in fault.proofs] == [25, 50, 100]
        fault = await driver.do(impair(Impair(ONE_WAY, delay=80), Impair((("n2", "n1"),), delay=20, loss=0.5)))
        assert fault.bit and fault.healed and fault.proofs[0].at == fault.proofs[1].at, (fault.proofs, fault.undone)
        assert await driver.controller.prove_healed() == ()

    with_cluster(tmp_path, 3, work)


def test_links_that_are_not_impaired_though_they_were_meant_to_be(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        async def meanwhile() -> None:
            await testbed.nodes[1].run(["iptables", "-t", "mangle", "-F", "SPLITBRAIN"])

        fault = await Driver(testbed, "n1").do(impair(Impair(ONE_WAY, delay=200)), meanwhile)
        assert not fault.bit and fault.wrong == (("n1", "n2"),) and fault.healed

    with_cluster(tmp_path, 3, work)
