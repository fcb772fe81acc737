"""A bank counted anew: what each read of all accounts adds up to, whether one is overdrawn, and what is there in the end."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tests.reports.figures.claims import COUNTS, N, Page, figure, homes
from tests.reports.figures.page import Block
from tests.reports.figures.recount import SECOND, Call, Recount

DEPOSIT = 100
"""What each account holds in the beginning."""

TOLD = {"a total was wrong": "wrong-total", "an account was seen overdrawn": "negative-balance"}
"""In which words the sentence on top tells each."""


class Bank:
    """The reads of a bank that was recorded, and what is wrong with them. `moments` are when such a read was answered."""

    gone = "lost-transfer"

    def __init__(self, run: Recount) -> None:
        self.run = run
        self.reads = [call for call in run.calls if call.f == "read" and call.outcome == "ok"]
        self.wrong = [read for read in self.reads if sum(read.value) != DEPOSIT * len(read.value)]
        self.overdrawn = [read for read in self.reads if any(balance < 0 for balance in read.value)]
        self.moments: dict[str, list[float]] = {
            "wrong-total": [read.ended for read in self.wrong],
            "negative-balance": [read.ended for read in self.overdrawn],
        }

    def lost(self) -> int:
        """Acknowledged transfers that are certainly gone: none, where money came or went by another way than a transfer, and
        none, where the others and some of those of which nobody knows leave what is there in the end."""
        last = [read.value for read in self.reads if read.invoked >= self.run.final]
        assert last and all(one == last[0] for one in last)
        if sum(last[0]) != DEPOSIT * len(last[0]):
            return 0
        moved = [call for call in self.run.calls if call.f == "transfer"]
        left = [balance - DEPOSIT for balance in last[0]]
        for call in moved:
            if call.outcome == "ok":
                source, target, amount = call.value
                left[source] += amount
                left[target] -= amount
        open_ = [call for call in moved if call.outcome == "info"]
        half = _left(left, open_[::2], 1)
        if half & _left([0] * len(left), open_[1::2], -1):
            return 0
        raise AssertionError("which transfers are gone is not counted here")

    def read(self, node: str, at: str, told: str) -> Call | None:
        """The read that was answered there at that time, as the page writes it, with these balances."""
        minutes, seconds = at.split(":")
        moment = int(minutes) * 60 + float(seconds)
        return next((read for read in self.reads if read.node == node and 0 <= read.ended / SECOND - moment < 0.001
                     and read.value == [int(one) for one in told.split(", ")]), None)


def _left(balances: list[int], transfers: list[Call], sign: int) -> set[tuple[int, ...]]:
    """What is left of these balances to explain by each set of transfers, or with -1, what each set explains."""
    found = {tuple(balances)}
    for call in transfers:
        source, target, amount = call.value
        found |= {
            tuple(held + sign * amount * ((at == source) - (at == target)) for at, held in enumerate(one)) for one in found
        }
    return found


COUNTS["bank"] = Bank


def bank(page: Page) -> Bank:
    assert isinstance(page.counts, Bank)
    return page.counts


@figure(rf"of {N} reads of accounts: ", "header checkers")
def of_reads(page: Page, block: Block) -> float:
    return len(bank(page).reads)


@figure(rf"(?<=of accounts: ){N} (?P<name>wrong-total|negative-balance)", "header checkers")
@figure(rf"(?<=[a-z], ){N} (?P<name>wrong-total|negative-balance)", "header checkers")
def of_name(page: Page, block: Block, name: str) -> float:
    return len(bank(page).moments[name])


@figure(rf"(?<=Of these, ){N} (?P<name>wrong-total|negative-balance)", "why", tag="p")
def early(page: Page, block: Block, name: str) -> float:
    return page.began(name)[False]


TIMES = rf"{N} times (?P<first>{'|'.join(TOLD)})(?: and {N} times (?P<second>{'|'.join(TOLD)}))?"


@figure(rf"(?<!In the whole run, )(?<!\d){TIMES}", "header")
def in_faults(page: Page, block: Block, first: str, second: str = "") -> list[float]:
    """In the fault, where the whole run is told after it."""
    whole = "In the whole run" not in block.text
    found = [page.began(TOLD[one]) for one in (first, second) if one]
    return [one[True] + (one[False] if whole else 0) for one in found]


@figure(rf"(?<=In the whole run, ){TIMES}", "header")
def in_all(page: Page, block: Block, first: str, second: str = "") -> list[float]:
    return [len(bank(page).moments[TOLD[one]]) for one in (first, second) if one]


@figure(r"[Aa] read at (?P<node>n\d+) at (?P<at>[\d:.]+) told \[(?P<told>[-\d, ]+)\](?P<why>[^.]*)\.", "why")
def wrong_read(page: Page, block: Block, node: str, at: str, told: str, why: str) -> list[float]:
    """Such a read was made, and it is what it is said to be."""
    read = bank(page).read(node, at, told)
    assert read is not None, told
    overdrawn = re.fullmatch(r": account (\d+) is overdrawn", why)
    if overdrawn:
        assert int(overdrawn[1]) == next(at for at, balance in enumerate(read.value) if balance < 0)
    else:
        assert why == f": {sum(read.value)} in all, where there are {DEPOSIT * len(read.value)}" and read in bank(page).wrong
    return []


# What a run of one key tells


@figure(rf"the key was equal on {N} nodes {N} after the heal")
def equal(page: Page, block: Block) -> Sequence[float]:
    found = page.run.agreed()
    return len({read["node"] for read in page.run.copies if read["fault"] is None}), math.nan if found is None else found


@figure(rf"tried at \{{(?P<side>[^}}]*)\}}: nothing was answered for {N}", "quality")
def silent(page: Page, block: Block, side: str) -> float:
    found = re.match(r"fault (\d+) (read|write)s", block.text)
    assert found is not None
    measured = page.run.measure(homes(side), found[2], page.run.window(page.run.faults[int(found[1]) - 1]))
    assert measured.answered == 0
    return measured.outage


@figure(rf"all {N} questions are answered with yes", "checkers")
def all_questions(page: Page, block: Block) -> float:
    assert page.questions[0] == page.questions[1]
    return page.questions[1]


# Calls


@figure(r"^\[(?P<balances>-?\d[-\d ]*)\]$", "timeline", "Answer")
def balances(page: Page, block: Block, balances: str) -> list[float]:
    assert page.evidence is not None and balances.split() == list(map(str, page.evidence.value))
    return []


@figure(r"^transfer \[(\d+) (\d+) (\d+)\]$", "timeline", "What")
def transfer(page: Page, block: Block) -> list[float]:
    assert page.evidence is not None
    return list(page.evidence.value)
