"""Sets of a run that only grow: what was lost, doubled, invented, or missed by a read that had to return it.

Elements are added and never removed, and whole sets are read. What is judged, and how, stands in
`linearizability.containers.growing`, which judges the sets of files too.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.anomalies import in_order, rank
from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.linearizability.containers.growing import Growing, members
from splitbrain.checkers.measures.staleness import ages
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Standing, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording

SHOWN = 5
"""Anomalies shown of each identifier between two faults' beginnings."""

MODEL = "sets consistent"
"""What a valid verdict says of the history: nothing lost, doubled, invented, or missed by a read that had to return it."""


class SetChecker:
    """Judges every set of a history of `add` and `read`, within so many seconds of processor time."""

    name = "set"

    def __init__(self, *, time_limit: float = 60.0) -> None:
        self.time_limit = time_limit

    def check(self, recording: Recording) -> Verdict:
        """`counts` are lost, duplicated, unexpected elements, and stale reads, all of them, shown or not. Raises `UsageError`
        for any other function."""
        began = time.monotonic()
        history = recording.history
        unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - {"add", "read"})
        if unknown:
            raise UsageError(f"the set checker has no operation {unknown[0]!r}, only add and read: choose another checker")
        judged = _Judgement(recording)
        budget = Budget.of(self.time_limit, computed=True)
        for key, rows in history.by_key():
            try:
                judged.judge(key, rows, budget)
            except Exhausted as error:
                judged.undecided += 1
                judged.limits[str(error)] = None
        return msgspec.structs.replace(judged.verdict(), seconds=time.monotonic() - began)


class _Judgement:
    """What has been found so far, over all sets."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.history: History = recording.history
        self.final: int | None = None
        """When the final reads began; None in a history that was recorded without phases."""
        if recording.phases:
            self.final = recording.final
        self.counts: Counter[str] = Counter()
        self.moments: defaultdict[str, list[Moment]] = defaultdict(list)
        self.began = sorted(fault.started for fault in recording.faults)
        self.shown: defaultdict[tuple[str, int], list[Anomaly]] = defaultdict(list)
        self.sets = self.reads = self.acknowledged = self.broken = 0
        self.undecided = 0
        self.stale: list[int] = []
        self.limits: dict[str, None] = {}

    def judge(self, key: Key, rows: NDArray[np.int64], budget: Budget) -> None:
        """Judge one set. Raises `Exhausted`."""

        def report(
            identifier: str, rows: Iterable[int], about: Iterable[Hashable], sentence: Callable[[], str], accused: int,
            moment: Moment | None = None,
        ) -> None:
            self.found(identifier, key, rows, about, sentence, accused, moment)

        growth = Growing(self.history, rows, budget).judge(report, self.at, self.final)
        self.sets += 1
        self.reads += growth.reads
        self.acknowledged += growth.acknowledged
        self.broken += not growth.valid
        self.stale += growth.stale
        if growth.limit:
            self.limits[f"{growth.limit}: not every anomaly was looked for"] = None

    def found(
        self, identifier: str, key: Key, rows: Iterable[int], about: Iterable[Hashable], sentence: Callable[[], str],
        accused: int, moment: Moment | None = None,
    ) -> None:
        """An anomaly, proven by the operations in these rows, of which `accused` was answered wrongly: then, if no other
        `moment` is told. Reads are cut down to the elements it is about."""
        kept = set(about)
        at = sorted({accused, *rows})
        if moment is None:
            moment = Moment(int(self.history.invoked[accused]), int(self.history.completed[accused]))
        self.counts[identifier] += 1
        self.moments[identifier].append(moment)
        shown = self.shown[identifier, bisect_right(self.began, moment.began)]
        if len(shown) < SHOWN:
            whole = tuple(self.history[row] for row in at)
            operations = tuple(_cut(operation, kept) for operation in whole)
            shown.append(Anomaly(
                identifier=identifier, sentence=sentence() + ".", key=key, operations=operations, accused=at.index(accused),
                moment=moment,
                cut=any(len(members(before.value)) != len(after.value) for before, after in zip(whole, operations, strict=True)
                        if after is not before),
            ))

    def at(self, row: int) -> str:
        """Where and when the operation in that row was answered, in words."""
        node = self.history[row].node
        place = f" at {node}" if node else ""
        moment = int(self.history.completed[row])
        return place + (f" at {clock(moment)}" if self.recording.plan is not None and moment != NEVER else "")

    def verdict(self) -> Verdict:
        counts = in_order(self.counts)
        staleness = ages(np.array(self.stale) / 1e6, self.reads) if self.reads else None
        verdict = Verdict(
            checker=SetChecker.name, validity="valid", staleness=staleness,
            reason=f"{self.acknowledged} acknowledged elements in {self.sets} sets, {self.reads} reads: each as it must be.",
            standings=(Standing(model=MODEL, state="holds"),),
            coverage=Coverage(keys=self.sets + self.undecided, operations=len(self.history), refuted=self.broken),
            limits=tuple(self.limits),
        )
        if self.broken:
            told = ", ".join(f"{number} {name}" for name, number in counts.items()) or "no order explains what was read"
            return msgspec.structs.replace(
                verdict, validity="invalid", counts=counts, complete=not self.limits,
                reason=f"of {self.acknowledged} acknowledged elements in {self.sets} sets: {told}.",
                standings=(Standing(model=MODEL, state="refuted", by=tuple(counts)),),
                anomalies=tuple(one for where in sorted(self.shown, key=_telling) for one in self.shown[where]),
                moments={name: tuple(moments) for name, moments in self.moments.items()},
            )
        if self.undecided:
            standings = (Standing(model=MODEL, state="undecided"),)
            reason = f"{self.undecided} of {self.sets + self.undecided} sets could not be judged: {', '.join(self.limits)}."
            return msgspec.structs.replace(verdict, validity="unknown", reason=reason, standings=standings)
        if not self.reads:
            standings = (Standing(model=MODEL, state="undecided"),)
            return msgspec.structs.replace(verdict, validity="unknown", reason="no set was ever read.", standings=standings)
        return verdict


def _telling(where: tuple[str, int]) -> tuple[int, int]:
    return rank(where[0]), where[1]


def _cut(operation: Operation, about: set[Hashable]) -> Operation:
    """The operation; a read with only those of its elements that are in `about`."""
    if operation.f != "read" or operation.outcome != "ok" or operation.value is None:
        return operation
    return msgspec.structs.replace(operation, value=[name for name in members(operation.value) if name in about])
