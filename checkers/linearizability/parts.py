"""Parts: a history of many keys judged some keys at a time, here or elsewhere, and one verdict over all of them.

Keys are judged each by itself anyhow (a history is linearizable exactly if its part of each key is: Herlihy & Wing 1990), so
the verdict is the same; but what is in memory is a part.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.anomalies import in_order, rank
from splitbrain.checkers.linearizability.engine import SHOWN, check, conclude
from splitbrain.checkers.models.specifications import Model
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Verdict
from splitbrain.harness.history.history import History

OPERATIONS = 2_000_000
"""Operations of a part, unless a single key has more."""

class Spread(Protocol):
    """Judges the parts of a history, of about `operations` each, within so many seconds, in any order."""

    operations: int

    def __call__(self, parts: Iterable[History], model: Model, time_limit: float) -> Iterator[Verdict]: ...


def partition(history: History, operations: int = OPERATIONS) -> list[NDArray[np.int64]]:
    """The rows of each part, ascending: whole keys, in the order of their codes, of at most so many operations together."""
    sizes = np.bincount(history.key + 1)
    # A key that would make a part too large begins the next one.
    totals = accumulate(sizes.tolist(), lambda sum, size: size if sum + size > operations else sum + size)
    sums = np.fromiter(totals, np.int64, len(sizes))
    part_of_key = np.cumsum(sums == sizes) - 1 if len(sizes) else sums
    part_of_key = np.maximum(part_of_key, 0).astype(np.int32)
    count = int(part_of_key.max()) + 1 if len(sizes) else 0
    if count <= 1:
        return [np.arange(len(history))] if len(history) else []
    order = np.argsort(part_of_key[history.key + 1], kind="stable")
    ends = np.cumsum(np.bincount(part_of_key, weights=sizes, minlength=count)).astype(np.int64)[:-1]
    return [rows for rows in np.split(order, ends) if len(rows)]


def check_parts(history: History, model: Model, time_limit: float, spread: Spread | None = None) -> Verdict:
    """As `check`, a part at a time. `time_limit` is in seconds, for all of them. `spread` has the parts judged elsewhere."""
    began = time.perf_counter()
    spread = spread or _Here(len(history))
    parts = partition(history, spread.operations) if len(history) > spread.operations else []
    if len(parts) < 2:
        return check(history, model, time_limit=time_limit)
    verdicts = list(spread((history.select(rows) for rows in parts), model, time_limit))
    return merge(verdicts, history, model, time.perf_counter() - began)


class _Here:
    """One part after another. Each may take its share of what time is left."""

    operations = OPERATIONS

    def __init__(self, operations: int) -> None:
        self._left = operations

    def __call__(self, parts: Iterable[History], model: Model, time_limit: float) -> Iterator[Verdict]:
        ends = time.perf_counter() + time_limit
        for part in parts:
            seconds = max(0.1, ends - time.perf_counter()) * len(part) / self._left
            self._left -= len(part)
            yield check(part, model, time_limit=seconds)


def merge(verdicts: Sequence[Verdict], history: History, model: Model, seconds: float) -> Verdict:
    """The verdict on a history from those on its parts, each of whole keys."""
    counts = in_order(sum((Counter(verdict.counts) for verdict in verdicts), Counter()))
    moments: dict[str, list[Moment]] = {name: [] for name in counts}
    methods: Counter[str] = Counter()
    for verdict in verdicts:
        methods += Counter(verdict.coverage.methods)
        for name, times in verdict.moments.items():
            moments.setdefault(name, []).extend(times)
    coverage = Coverage(
        keys=sum(verdict.coverage.keys for verdict in verdicts), operations=len(history), methods=dict(methods),
        refuted=sum(verdict.coverage.refuted or 0 for verdict in verdicts),
        undecided=tuple(one for verdict in verdicts for one in verdict.coverage.undecided),
    )
    limits = tuple(dict.fromkeys(limit for verdict in verdicts for limit in verdict.limits))
    return conclude(model, coverage, _shown(verdicts), counts, moments, limits, seconds)


def _shown(verdicts: Sequence[Verdict]) -> tuple[Anomaly, ...]:
    per: Counter[str] = Counter()
    shown = []
    anomalies = [anomaly for verdict in verdicts for anomaly in verdict.anomalies]
    for anomaly in sorted(anomalies, key=lambda one: (rank(one.identifier), len(one.operations))):
        per[anomaly.identifier] += 1
        if per[anomaly.identifier] <= SHOWN:
            shown.append(anomaly)
    return tuple(shown)
