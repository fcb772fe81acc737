"""What the figures are that only the report of a queue tells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from tests.reports.figures.claims import AT, COUNTS, N, Page, agrees, figure
from tests.reports.figures.page import Block
from tests.reports.figures.queues import Queue, Queues
from tests.reports.figures.recount import SECOND, Call

COUNTS["queue"] = Queues


@figure(rf"of {N} answers of queues: {N} lost-element, {N} duplicate, {N} stale-read, {N} stale-element, {N} reordered",
        "header checkers")
def of_queues(page: Page, block: Block) -> list[float]:
    """Answers are reads, and dequeues that handed something out."""
    names = ("lost-element", "duplicate", "stale-read", "stale-element", "reordered")
    answers = sum(len(one.reads) + len(one.took) for one in page.counted(Queues).every)
    return [answers, *(len(page.moments[name]) for name in names)]


@figure(rf"{N} writes that had been confirmed were lost, at least {N} reads returned old data and {N} times an element was "
        r"there, or was handed out, once too often", "header")
def damage(page: Page, block: Block) -> list[float]:
    """Of reads that are wrong in two ways the page says how many are so in one: there are no fewer of them."""
    back = {read for one in page.counted(Queues).every for read in one.back_again}
    kinds = [back, {look for one in page.counted(Queues).every for look in one.missed}]
    assert max(map(len, kinds)) < len(kinds[0] | kinds[1]) < sum(map(len, kinds))
    return [len(page.moments["lost-element"]), max(map(len, kinds)), len(page.moments["duplicate"])]


def _call(page: Page, at: str, f: str, value: str = "") -> Iterator[tuple[Queue, Call]]:
    """The calls that were over at that time."""
    for one in page.counted(Queues).every:
        for call in (*one.put.values(), *one.took, *one.looks):
            if call.f == f and agrees(at, call.ended / SECOND) and value in ("", str(call.value)):
                yield one, call


@figure(rf"(?<!\w)(\d+), acknowledged by n\d+ at {AT}, was gone from queue (\d+) by {AT}: nobody took it out", "why")
def lost(page: Page, block: Block) -> list[float]:
    value = int(re.search(r"(\d+), acknowledged", block.text)[1])  # type: ignore[index]
    one = next(one for one in page.counted(Queues).every if value in one.lost)
    return [value, one.put[value].ended / SECOND, int(one.put[value].key), one.lost[value].ended / SECOND]


@figure(rf"element (\d+) was handed out to client (\d+) at n\d+ at {AT}, though client (\d+) had it since {AT}", "why")
def handed_out(page: Page, block: Block) -> list[float]:
    value, at = re.search(rf"element (\d+) was .*? at {AT}, though", block.text).groups()  # type: ignore[union-attr]
    one, again = next(_call(page, at, "dequeue", value))
    first = one.taken[again.value]
    right = again in one.handed_out
    return [again.value if right else math.nan, again.process, again.ended / SECOND, first.process, first.ended / SECOND]


@figure(rf"read of queue (\d+) at n\d+ at {AT} showed (\d+), which client (\d+) had taken out by {AT}", "why")
def back_again(page: Page, block: Block) -> list[float]:
    at, value = re.search(rf" at {AT} showed (\d+), which", block.text).groups()  # type: ignore[union-attr]
    one, read = next(pair for pair in _call(page, at, "read") if pair[1] in pair[0].back_again)
    first = one.taken[int(value)]
    right = int(value) in read.value and first.ended < read.invoked
    return [int(read.key), read.ended / SECOND, int(value) if right else math.nan, first.process, first.ended / SECOND]


@figure(rf"read of queue (\d+) at n\d+ at {AT} did not show (\d+), which had been there since {AT} and was ", "why")
def missed(page: Page, block: Block) -> list[float]:
    at, value = re.search(rf" at {AT} did not show (\d+)", block.text).groups()  # type: ignore[union-attr]
    one, read = next(pair for pair in _call(page, at, "read") if int(value) in pair[0].missed.get(pair[1], ()))
    return [int(read.key), read.ended / SECOND, int(value), one.there[int(value)] / SECOND]


@figure(rf"(?<!\w)(\d+) came out of queue (\d+) at {AT}, before (\d+), which had been (?:put in|seen there) by {AT}, "
        r"before (\d+) was put in", "why")
def overtaken(page: Page, block: Block) -> list[float]:
    early, late = map(int, re.search(r"(\d+) came out .*?, before (\d+), which", block.text).groups())  # type: ignore[union-attr]
    one = next(one for one in page.counted(Queues).every if early in one.overtaken.get(late, ()))
    out = one.taken[early]
    return [early, int(out.key), out.ended / SECOND, late, one.there[late] / SECOND, early]


@figure(r"^\[(?P<elements>[\d ]+)… \((\d+) characters\)$", "timeline", "Answer")
def cut_short(page: Page, block: Block, elements: str) -> float:
    """The beginning of what a read showed, and how long the whole is."""
    assert page.evidence is not None
    whole = f"[{' '.join(map(str, page.evidence.value))}]"
    return len(whole) if whole[1:].startswith(elements) else math.nan
