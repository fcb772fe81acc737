"""Counters that are only added to: what a read must have counted, and what it can have.

Additions are of positive amounts. A read takes effect somewhere between its invocation and its completion, so it returns at
least the sum of what was acknowledged before its invocation, and at most the sum of everything that was invoked before its
completion and did not certainly fail. An addition that may have happened (`info`) counts for the most, and not for the least.
Both bounds are necessary; that no read breaks them does not prove the history linearizable, and is not said to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from itertools import accumulate

import numpy as np

from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording

MODEL = "counters consistent"
FINAL = "sums right"


class CounterChecker:
    """Judges counters of `add` (a positive amount) and `read`.

    A read below what it must have counted is `stale-read` while a later one of the counter told enough, and `wrong-total`
    from where on none did; a read above what it can have counted is `out-of-bounds`.
    """

    name = "counter"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, or an amount that is no positive integer."""
        history = recording.history
        unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - {"add", "read"})
        if unknown:
            raise UsageError(f"the counter checker has no operation {unknown[0]!r}, only add and read: choose another checker")
        found, keys, reads = Findings(recording), 0, 0
        for key, rows in history.by_key():
            keys += 1
            reads += _judge(found, history, key, rows.tolist())
        models = {MODEL: ("stale-read", "wrong-total", "out-of-bounds"), FINAL: ("wrong-total",)}
        return found.verdict(
            self.name, models, Coverage(keys=keys, operations=len(history)), judged=reads, things="counters"
        )


def _judge(found: Findings, history: History, key: Key, rows: list[int]) -> int:
    """Judge one counter; how many reads it has."""
    acknowledged: list[tuple[int, int, int]] = []
    attempted: list[tuple[int, int, int]] = []
    reads: list[tuple[int, int, int, int]] = []
    for row in rows:
        value, outcome = history.values[row], history.outcome[row]
        if history.fs[history.f[row]] == "read":
            if outcome == OK:
                reads.append((int(history.invoked[row]), int(history.completed[row]), row, value))
            continue
        if type(value) is not int or value <= 0:
            raise UsageError(f"the counter checker needs positive amounts, not {value!r}: choose another checker")
        if outcome != FAIL:
            attempted.append((int(history.invoked[row]), row, value))
        if outcome == OK:
            acknowledged.append((int(history.completed[row]), row, value))
    acknowledged.sort()
    attempted.sort()
    reads.sort()
    done, begun = [one[0] for one in acknowledged], [one[0] for one in attempted]
    least = [0, *accumulate(one[2] for one in acknowledged)]
    most = [0, *accumulate(one[2] for one in attempted)]
    best = 0
    told_later = [0] * len(reads)
    for at in range(len(reads) - 1, -1, -1):
        told_later[at] = best
        best = max(best, reads[at][3])
    for at, (invoked, completed, row, value) in enumerate(reads):
        told = f"a read of counter {key} at {{}} at {clock(invoked)} told {value}, though "
        counted = bisect_left(done, invoked)
        if value < least[counted]:
            again = told_later[at] >= least[counted]
            found.add(
                "stale-read" if again else "wrong-total",
                Moment(began=acknowledged[counted - 1][0], seen=completed),
                told.format(history[row].node or "a client") + f"{least[counted]} had been acknowledged by then"
                + ("." if again else ", and no later read told as much."),
                partial(_evidence, history, acknowledged[:counted], row, value),
            )
        elif value > (highest := most[bisect_right(begun, completed)]):
            found.add(
                "out-of-bounds", Moment(began=invoked, seen=completed),
                told.format(history[row].node or "a client") + f"no more than {highest} had been added, or may have been.",
                partial(_evidence, history, [], row, value),
            )
    return len(reads)


def _evidence(history: History, acknowledged: list[tuple[int, int, int]], read: int, value: int) -> list[Operation]:
    """The read, behind as few acknowledged additions as come to more than it told."""
    rows, total = [], 0
    for _, row, amount in sorted(acknowledged, key=lambda one: -one[2]):
        if total > value:
            break
        rows.append(row)
        total += amount
    return [history[row] for row in [*sorted(rows), read]]
