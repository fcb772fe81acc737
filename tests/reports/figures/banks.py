"""A bank counted anew: what each read of all accounts adds up to, whether one is overdrawn, and what is there in the end."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cached_property

from tests.reports.figures.claims import COUNTS, N, Page, figure, homes
from tests.reports.figures.page import Block
from tests.reports.figures.recount import SECOND, Call, Recount

DEPOSIT = 100
"""What each account holds in the beginning."""

TOLD = {"a total was wrong": "wrong-total", "an account was seen overdrawn": "negative-balance"}
"""In which words the sentence on top tells each."""


class Bank:
    """The reads of a bank that was recorded, and what is wrong with them. `moments` are when such a read was answered, or
    what is there in the end."""

    gone = "lost-transfer"

    def __init__(self, run: Recount) -> None:
        self.run = run
        self.reads = [call for call in run.calls if call.f == "read" and call.outcome == "ok"]
        self.wrong = [read for read in self.reads if sum(read.value) != DEPOSIT * len(read.value)]
        self.overdrawn = [read for read in self.reads if any(balance < 0 for balance in read.value)]
        self.moments: dict[str, list[float]] = {
            "wrong-total": [read.ended for read in self.wrong],
            "negative-balance": [read.ended for read in self.overdrawn],
            "lost-transfer": [self.last.ended] * self.lost(),
        }

    def lost(self) -> int:
        return len(self.lost_transfers)

    def refuted(self) -> int:
        """All accounts are one."""
        return int(any(self.moments.values()))

    @cached_property
    def last(self) -> Call:
        """What is there in the end, by the first of the last reads, that all tell the same."""
        reads = [read for read in self.reads if read.invoked >= self.run.final]
        assert all(one.value == reads[0].value for one in reads)
        return reads[0]

    @cached_property
    def lost_transfers(self) -> list[Call]:
        """Acknowledged transfers that are certainly gone: none, where money came or went by another way than a transfer, and
        none, where the others and some of those of which nobody knows leave what is there in the end; else the one run of those
        that a server acknowledged without which, and with some of those, it is what is left."""
        value = self.last.value
        if sum(value) != DEPOSIT * len(value):
            return []
        moved = sorted((call for call in self.run.calls if call.f == "transfer"), key=lambda call: call.ended)
        done = [call for call in moved if call.outcome == "ok"]
        (left,) = _left([balance - DEPOSIT for balance in value], done, every=True)
        open_ = [call for call in moved if call.outcome == "info"]
        nothing = (0,) * len(value)
        known = _left(nothing, open_[1::2], sign=-1)
        if _left(left, open_[::2]) & known:
            return []
        wanted = _left(left, open_)
        found = []
        for server in sorted({call.server for call in done}):
            mine = [call for call in done if call.server == server]
            for begin in range(len(mine)):
                gone = nothing
                for end in range(begin, len(mine)):
                    (gone,) = _left(gone, [mine[end]], every=True)
                    found += [mine[begin : end + 1]] if gone in wanted else []
        (only,) = found
        return only

    def read(self, node: str, at: str, told: str) -> Call | None:
        """The read that was answered there at that time, as the page writes it, with these balances."""
        minutes, seconds = at.split(":")
        moment = int(minutes) * 60 + float(seconds)
        return next((read for read in self.reads if read.node == node and 0 <= read.ended / SECOND - moment < 0.001
                     and read.value == [int(one) for one in told.split(", ")]), None)


def _left(balances: Sequence[int], transfers: list[Call], sign: int = 1, every: bool = False) -> set[tuple[int, ...]]:
    """What is left of these balances to explain by each set of transfers, or by all; with -1, what they hold with them."""
    found = {tuple(balances)}
    for call in transfers:
        source, target, amount = call.value
        moved = {
            tuple(held + sign * amount * ((at == source) - (at == target)) for at, held in enumerate(one)) for one in found
        }
        found = moved if every else found | moved
    return found


COUNTS["bank"] = Bank


@figure(rf"of {N} reads of accounts: ", "header checkers")
def of_reads(page: Page, block: Block) -> float:
    return len(page.counted(Bank).reads)


@figure(rf"(?<=of accounts: ){N} (?P<name>wrong-total|negative-balance|lost-transfer)", "header checkers")
@figure(rf"(?<=[a-z], ){N} (?P<name>wrong-total|negative-balance|lost-transfer)", "header checkers")
def of_name(page: Page, block: Block, name: str) -> float:
    return len(page.counted(Bank).moments[name])


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
    return [len(page.counted(Bank).moments[TOLD[one]]) for one in (first, second) if one]


@figure(r"[Aa] read at (?P<node>n\d+) at (?P<at>[\d:.]+) told \[(?P<told>[-\d, ]+)\](?P<why>[^.]*)\.", "why")
def wrong_read(page: Page, block: Block, node: str, at: str, told: str, why: str) -> list[float]:
    """Such a read was made, and it is what it is said to be."""
    read = page.counted(Bank).read(node, at, told)
    assert read is not None, told
    overdrawn = re.fullmatch(r": account (\d+) is overdrawn", why)
    if overdrawn:
        assert int(overdrawn[1]) == next(at for at, balance in enumerate(read.value) if balance < 0)
    else:
        assert why == f": {sum(read.value)} in all, where there are {DEPOSIT * len(read.value)}"
        assert read in page.counted(Bank).wrong
    return []


@figure(r"[Cc]lient (\d+)'s transfer of (\d+) from (\d+) to (\d+), acknowledged by (?P<server>n\d+) at ([\d:.]+\d), is gone: "
        r"in the end accounts hold (?P<held>[-\d:, ]+), which is what all acknowledged transfers leave but the ([\d,]+) that "
        r"(?P<of>n\d+) acknowledged from ([\d:.]+\d) to ([\d:.]+\d)", "why")
def gone(page: Page, block: Block, server: str, held: str, of: str) -> list[float]:
    one = page.counted(Bank)
    call = next(call for call in one.lost_transfers if f"lient {call.process}'s transfer of {call.value[2]} " in block.text
                and call.server == server == of)
    assert held == ", ".join(f"{at}: {balance}" for at, balance in enumerate(one.last.value))
    source, target, amount = call.value
    first, last = one.lost_transfers[0].ended / SECOND, one.lost_transfers[-1].ended / SECOND
    return [call.process, amount, source, target, call.ended / SECOND, one.lost(), first, last]


@figure(rf"{N} writes? that had been confirmed (?:was|were) lost(?! and|, at least)", "header")
def confirmed(page: Page, block: Block) -> float:
    assert "In the whole run" not in block.text
    return page.counted(Bank).lost()


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
