"""Case studies on real servers: what a partition costs a service is found where replicas are asynchronous, and not where a
fenced primary needs a majority; and the page puts the two side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.conftest import Ran

FLASH_SALE = """
workload = "flash-sale"
nemesis = "partition-primary"
nodes = 3
time = 7
baseline = 1.5
fault = 3.5
between = 2
think = 0.02
keys = 20

[[runs]]
database = "reference"
variant = "fenced-primary"
expect = ["valid"]

[[runs]]
database = "reference"
variant = "primary-async"
expect = ["oversold", "lost-write", "charged-twice"]

[runs.options.flash-sale]
paid = 0.2
"""
"""Every fifth order is paid for, so that payments are asked for again on the other side of the cut by the dozen."""


def test_a_flash_sale_refuses_or_oversells(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "sale.toml").write_text(FLASH_SALE)
    ran = splitbrain("suite", "sale.toml")
    assert ran.code == 0, ran.stdout
    page = next(ran.runs.glob("*-suite-sale/flash-sale.html"))
    assert str(page.name) in ran.stdout
    told = page.read_text()
    assert "reference fenced-primary" in told and "reference primary-async" in told and "oversold" in told
