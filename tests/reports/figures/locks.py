"""Locks counted anew: from when to when each client believed to hold one, and which of these stretches met."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from tests.reports.figures.claims import COUNTS, N, Page, figure, homes
from tests.reports.figures.page import Block
from tests.reports.figures.recount import SECOND, Call, Recount


@dataclass(frozen=True)
class Hold:
    """A client's `taken` call got it the lock, and until `ended` it believed to have it."""

    taken: Call
    ended: float

    def meets(self, later: Hold) -> float:
        """For how long (ns) it went on beside another client's hold of that lock that began later; 0 where it did not."""
        if self.taken.key != later.taken.key or self.taken.process == later.taken.process:
            return 0
        if not self.taken.ended <= later.taken.ended:
            return 0
        return max(0, min(self.ended, later.ended) - later.taken.ended)


class Locks:
    """All holds of a run, and those that began while somebody else held the lock, with the one that met them longest."""

    gone = "lost-write"

    def __init__(self, run: Recount) -> None:
        self.run = run
        self.holds = [hold for process in sorted({call.process for call in run.calls}) for hold in self.of(process)]
        met = [(max(self.holds, key=lambda other: other.meets(hold)), hold) for hold in self.holds]
        self.double = [(first, second) for first, second in met if first.meets(second) > 0]
        self.moments: dict[str, list[float]] = {
            "double-hold": [second.taken.ended + first.meets(second) for first, second in self.double],
        }

    def of(self, process: int) -> list[Hold]:
        """A client holds a lock until it gives it back, asks for it again, or makes the call that tells it that it has lost it;
        else until the last that was seen of it."""
        mine = sorted((call for call in self.run.calls if call.process == process), key=lambda call: call.invoked)
        last = max(call.invoked if call.outcome == "info" else call.ended for call in mine)
        found = []
        for key in {call.key for call in mine}:
            ends = [call for call in mine if call.key == key and (
                call.f in ("acquire", "release") or (call.error == "mismatch" and call.f in ("renew", "write"))
            )]
            for call, following in pairwise([*ends, None]):
                if call is not None and call.f == "acquire" and call.outcome == "ok":
                    found.append(Hold(call, max(call.ended, last if following is None else following.invoked)))
        return found

    def lost(self) -> int:
        """No write can be: nobody writes."""
        assert not any(call.f == "write" for call in self.run.calls)
        return 0

    def refuted(self) -> int:
        return len({second.taken.key for _, second in self.double})


COUNTS["lock"] = Locks


@figure(rf"of {N} holds of locks: ", "header checkers")
def of_holds(page: Page, block: Block) -> float:
    return len(page.counted(Locks).holds)


@figure(rf"{N} times two clients held the same lock", "header")
@figure(rf"(?<=of locks: ){N} double-hold", "header checkers")
@figure(rf"Two held a lock together {N} times", "header checkers")
def double(page: Page, block: Block) -> float:
    return len(page.counted(Locks).double)


@figure(rf"Two held a lock together [\d,]+ times, for {N} at most", "header checkers")
def longest(page: Page, block: Block) -> float:
    return max(first.meets(second) for first, second in page.counted(Locks).double) / SECOND


@figure(r"Client (\d+) at n\d+ and client (\d+) at n\d+ held lock (\d+) together for ([\d.]+ s) from ([\d:.]+\d): "
        r"the first had it since ([\d:.]+\d), and had not given it back", "why")
def together(page: Page, block: Block) -> list[float]:
    one, other, key = map(int, re.findall(r"lient (\d+) at.* client (\d+) at .* held lock (\d+)", block.text)[0])
    first, second = next((first, second) for first, second in page.counted(Locks).double if first.taken.process == one
                         and second.taken.process == other and second.taken.key == key)
    homes_of = re.findall(r"lient \d+ at (n\d+)", block.text)[:2]
    assert homes_of == [first.taken.node, second.taken.node]
    began = second.taken.ended
    return [one, other, key, first.meets(second) / SECOND, began / SECOND, first.taken.ended / SECOND]


@figure(rf"tried at \{{(?P<side>[^}}]*)\}}, fewer than {N}", "quality")
def few(page: Page, block: Block, side: str) -> float:
    found = re.match(r"fault (\d+) (read|write)s", block.text)
    assert found is not None
    tried = page.run.measure(homes(side), found[2], page.run.window(page.run.faults[int(found[1]) - 1]))
    assert tried.attempted < 10
    return 10


@figure(r"^(?:acquire|renew|release) (\d+)$", "timeline", "What")
def of_call(page: Page, block: Block) -> float:
    assert page.evidence is not None
    return float(page.evidence.value)


@figure(r"^refused, saw (\d+)$", "timeline", "Answer")
def saw(page: Page, block: Block) -> float:
    assert page.evidence is not None and page.evidence.error == "mismatch"
    return float(page.evidence.seen[0])
