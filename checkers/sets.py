"""Sets that only grow: lost, duplicated, unexpected and stale elements.

Elements are added and never removed, and whole sets are read, so linearizability has an exact and small criterion. Call an
addition *certain* from the moment on at which it was acknowledged, or at which the first read that returned its element
completed. Call the *front* of a read the later of its own start and the latest start among the additions of the elements it
returned: the read takes effect no earlier than there. Then a history of one set is linearizable exactly if

* no read returns an element twice, one that was never added, whose addition failed, or began after the read had ended;
* no read misses an element that was certain before the read's front (it was lost, or the read is stale);
* of two reads, the elements of one are among those of the other (else they saw two additions in opposite orders).

*Sufficient*: order the reads by inclusion, put every addition just before the first read that returns it and those never
returned at the end. Were a later operation of this order over before an earlier one began, then, kind by kind (read and
read, addition and read, read and addition, addition and addition with a read between that returned one and missed the
other), one of the conditions above would be broken.

An indeterminate addition (`info`) may or may not appear; it is certain once it was read. An addition made several times
counts from the first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from splitbrain.checkers.anomalies import in_order, rank
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Staleness, Standing, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import Tagged, canonical

SHOWN = 5
"""Anomalies shown of each identifier between two faults' beginnings."""

MODEL = "sets consistent"
"""What a valid verdict says of the history: nothing lost, doubled, invented, or missed by a read that had to return it."""

SECOND = 1_000_000_000


@dataclass(slots=True)
class _Element:
    """One element: its additions, and what became of it. Times in nanoseconds; rows are positions in the history."""

    value: Any
    added: int
    """The row of the addition that counts: the first acknowledged, else the first that did not fail, else the first."""
    begun: int = NEVER
    acknowledged: int = NEVER
    failed: bool = True
    seen: int = NEVER
    seen_by: int = -1
    last_seen: int = -1
    """Row of the read that returned it and completed last."""
    missed: list[int] = field(default_factory=list)

    @property
    def certain(self) -> int:
        return min(self.acknowledged, self.seen)


@dataclass(slots=True)
class _Read:
    row: int
    invoked: int
    completed: int
    elements: frozenset[Hashable]
    front: int = 0
    front_by: Hashable = None
    """The element that moves the front behind the read's own start, None where none does."""


class SetChecker:
    """Judges every set of a history of `add` and `read`."""

    name = "set"

    def check(self, recording: Recording) -> Verdict:
        """`counts` are lost, duplicated, unexpected elements, and stale reads, all of them, shown or not. Raises `UsageError`
        for any other function."""
        history = recording.history
        unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - {"add", "read"})
        if unknown:
            raise UsageError(f"the set checker has no operation {unknown[0]!r}, only add and read: choose another checker")
        judged = _Judgement(recording)
        for key, rows in history.by_key():
            _judge(judged, key, rows.tolist())
        return judged.verdict()


class _Judgement:
    """What has been found so far, over all sets."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.history: History = recording.history
        self.final: int | None = None
        """When the final reads began; None in a history that was recorded without phases."""
        if recording.phases:
            phase = recording.phase("final-reads")
            self.final = NEVER if phase is None else phase.began
        self.counts: Counter[str] = Counter()
        self.moments: defaultdict[str, list[Moment]] = defaultdict(list)
        self.began = sorted(fault.started for fault in recording.faults)
        self.shown: defaultdict[tuple[str, int], list[Anomaly]] = defaultdict(list)
        self.sets = self.reads = self.acknowledged = self.broken = 0
        self.stale: list[int] = []

    def found(
        self, identifier: str, key: Key, rows: Iterable[int], about: Iterable[Hashable], sentence: str, accused: int,
        moment: Moment | None = None,
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
            operations = tuple(_cut(self.history[row], kept) for row in at)
            shown.append(Anomaly(
                identifier=identifier, sentence=sentence, key=key, operations=operations, accused=at.index(accused),
                moment=moment,
            ))

    def at(self, row: int) -> str:
        """Where and when the operation in that row was answered, in words."""
        node = self.history[row].node
        place = f" at {node}" if node else ""
        time = int(self.history.completed[row])
        return place + (f" at {clock(time)}" if self.recording.plan is not None and time != NEVER else "")

    def verdict(self) -> Verdict:
        counts = in_order(self.counts)
        staleness = None
        if self.stale:
            late = np.array(self.stale) / 1e6
            staleness = Staleness(
                stale=len(late), reads=self.reads, share=len(late) / self.reads, median_ms=float(np.median(late)),
                p99_ms=float(np.percentile(late, 99)), max_ms=float(late.max()),
            )
        verdict = Verdict(
            checker=SetChecker.name, validity="valid", staleness=staleness,
            reason=f"{self.acknowledged} acknowledged elements in {self.sets} sets, {self.reads} reads: each as it must be.",
            standings=(Standing(model=MODEL, state="holds"),),
            coverage=Coverage(keys=self.sets, operations=len(self.history), refuted=self.broken),
        )
        if counts:
            told = ", ".join(f"{number} {name}" for name, number in counts.items())
            return msgspec.structs.replace(
                verdict, validity="invalid", counts=counts, complete=True,
                reason=f"of {self.acknowledged} acknowledged elements in {self.sets} sets: {told}.",
                standings=(Standing(model=MODEL, state="refuted", by=tuple(counts)),),
                anomalies=tuple(one for where in sorted(self.shown, key=_telling) for one in self.shown[where]),
                moments={name: tuple(moments) for name, moments in self.moments.items()},
            )
        if not self.reads:
            standings = (Standing(model=MODEL, state="undecided"),)
            return msgspec.structs.replace(verdict, validity="unknown", reason="no set was ever read.", standings=standings)
        return verdict


def _telling(where: tuple[str, int]) -> tuple[int, int]:
    return rank(where[0]), where[1]


def _judge(judged: _Judgement, key: Key, rows: list[int]) -> None:
    before = judged.counts.total()
    elements, reads = _gather(judged, key, rows)
    judged.sets += 1
    judged.reads += len(reads)
    judged.acknowledged += sum(element.acknowledged != NEVER for element in elements.values())

    for read in reads:
        for name in read.elements:
            element = elements.get(name)
            if element is None or element.failed:
                # What was never added, or failed to be, has no beginning that a read could be later than.
                continue
            if read.completed < element.begun:
                judged.found(
                    "future-read", key, (read.row, element.added), (name,),
                    f"a read{judged.at(read.row)} returned {element.value!r} before its addition had begun.", read.row,
                )
            elif element.begun > read.front:
                read.front, read.front_by = element.begun, name

    # In the order of their fronts the reads must hold ever more elements: those that were certain by then.
    ascending = sorted((element.certain, name) for name, element in _named(elements) if element.certain != NEVER)
    required: set[Hashable] = set()
    at = 0
    missing: list[tuple[_Read, set[Hashable]]] = []
    for read in sorted(reads, key=lambda read: read.front):
        while at < len(ascending) and ascending[at][0] < read.front:
            required.add(ascending[at][1])
            at += 1
        if not required <= read.elements:
            missed = required - read.elements
            missing.append((read, missed))
            for name in missed:
                elements[name].missed.append(read.row)

    by_row = {read.row: read for read in reads}
    lost = {name for name, element in _named(elements) if element.missed and _lost(judged, element, by_row)}
    for name in sorted(lost, key=lambda name: elements[name].added):
        _report_lost(judged, key, elements, name, by_row)
    for read, missed in missing:
        if found := missed - lost:
            oldest = min(found, key=lambda name: (elements[name].certain, elements[name].added))
            judged.stale.append(max(0, read.invoked - elements[oldest].certain))
            _report_stale(judged, key, elements, oldest, read)

    if judged.counts.total() == before:
        _compare(judged, key, elements, reads)
    judged.broken += judged.counts.total() > before


def _gather(judged: _Judgement, key: Key, rows: list[int]) -> tuple[dict[Hashable, _Element], list[_Read]]:
    """The elements and reads of one set; what a read alone proves (duplicates, what was never added) is reported."""
    history = judged.history
    add = history.fs.index("add") if "add" in history.fs else -1
    elements: dict[Hashable, _Element] = {}
    for row in rows:
        if history.f[row] != add:
            continue
        value = history.values[row]
        element = elements.setdefault(canonical(value), _Element(value, row))
        if history.outcome[row] == FAIL:
            continue
        if element.failed:
            element.failed, element.added, element.begun = False, row, int(history.invoked[row])
        if history.outcome[row] == OK and history.completed[row] < element.acknowledged:
            element.acknowledged, element.added = int(history.completed[row]), row
    reads = []
    strangers: set[Hashable] = set()
    for row in rows:
        if history.f[row] == add or history.outcome[row] != OK:
            continue
        returned = _members(history.values[row])
        read = _Read(row, int(history.invoked[row]), int(history.completed[row]), frozenset(returned))
        read.front = read.invoked
        reads.append(read)
        if len(read.elements) < len(returned):
            for name in sorted((name for name, n in Counter(returned).items() if n > 1), key=repr):
                judged.found(
                    "duplicate", key, (row, elements[name].added) if name in elements else (row,), (name,),
                    f"a read{judged.at(row)} returned {_plain(elements, name)} twice.", row,
                )
        for name in read.elements:
            known = elements.get(name)
            if known is None or known.failed:
                if name not in strangers:
                    strangers.add(name)
                    rest, why = ((row,), "which nobody added") if known is None else (
                        (row, known.added), "whose addition had failed")
                    judged.found(
                        "unexpected" if known is None else "aborted-read", key, rest, (name,),
                        f"a read{judged.at(row)} returned {_plain(elements, name)}, {why}.", row,
                    )
                continue
            if known.begun <= read.completed < known.seen:
                known.seen, known.seen_by = read.completed, row
            if known.last_seen < 0 or read.completed > history.completed[known.last_seen]:
                known.last_seen = row
    return elements, reads


def _lost(judged: _Judgement, element: _Element, reads: Mapping[int, _Read]) -> bool:
    """Whether the last word on a missed element is that it is gone. Where final reads were planned, only they can tell."""
    last = max(reads[row].invoked for row in element.missed)
    if judged.final is not None and last < judged.final:
        return False
    gone_from = last if judged.final is None else judged.final
    return element.last_seen < 0 or reads[element.last_seen].completed < gone_from


def _proof(element: _Element, read: _Read, elements: Mapping[Hashable, _Element]) -> tuple[list[int], list[Hashable]]:
    """The rows that prove that this read had to return the element, and the elements they are about."""
    rows, about = [element.added, read.row], [canonical(element.value)]
    if element.seen < element.acknowledged:
        rows.append(element.seen_by)
    if element.certain >= read.invoked:
        rows.append(elements[read.front_by].added)
        about.append(read.front_by)
    return rows, about


def _report_lost(
    judged: _Judgement, key: Key, elements: Mapping[Hashable, _Element], name: Hashable, reads: Mapping[int, _Read]
) -> None:
    element = elements[name]
    if element.acknowledged != NEVER:
        told = f"the addition of {element.value!r} was acknowledged{judged.at(element.added)}"
    else:
        told = f"a read{judged.at(element.seen_by)} returned {element.value!r}"
    last = max(element.missed, key=lambda row: (reads[row].invoked, row))
    rows, about = _proof(element, reads[last], elements)
    # It was last known to be there when it was acknowledged, or by the last read that returned it.
    known = max(element.certain, -1 if element.last_seen < 0 else int(judged.history.completed[element.last_seen]))
    missing = [reads[row].invoked for row in element.missed if reads[row].invoked >= known]
    moment = Moment(known, min(missing, default=reads[last].invoked), element.acknowledged != NEVER)
    judged.found("lost-element", key, rows, about, f"{told}, but the last reads{judged.at(last)} miss it.", last, moment)


def _report_stale(
    judged: _Judgement, key: Key, elements: Mapping[Hashable, _Element], name: Hashable, read: _Read
) -> None:
    element = elements[name]
    rows, about = _proof(element, read, elements)
    if element.last_seen >= 0 and judged.history.completed[element.last_seen] >= read.invoked:
        rows.append(element.last_seen)
        later = f"; it was there{judged.at(element.last_seen)}."
    else:
        later = "; the recording ends before anyone read it again."
    how = "had been acknowledged" if element.acknowledged <= element.seen else "had been read"
    where = element.added if element.acknowledged <= element.seen else element.seen_by
    sentence = f"a read{judged.at(read.row)} missed {element.value!r}, which {how}{judged.at(where)}{later}"
    judged.found("stale-read", key, rows, about, sentence, read.row)


def _compare(judged: _Judgement, key: Key, elements: Mapping[Hashable, _Element], reads: list[_Read]) -> None:
    """Whether the reads hold ever more elements when put in the order of their sizes."""
    ordered = sorted(reads, key=lambda read: (len(read.elements), read.invoked))
    for small, large in pairwise(ordered):
        if not small.elements <= large.elements:
            one = min(small.elements - large.elements, key=lambda name: elements[name].added)
            other = min(large.elements - small.elements, key=lambda name: elements[name].added)
            judged.found(
                "reordered", key, (small.row, large.row, elements[one].added, elements[other].added), (one, other),
                f"one read{judged.at(small.row)} returned {elements[one].value!r} without {elements[other].value!r}, "
                f"another{judged.at(large.row)} the other way round.", large.row,
            )


def _named(elements: Mapping[Hashable, _Element]) -> Iterable[tuple[Hashable, _Element]]:
    return ((name, element) for name, element in elements.items() if not element.failed)


def _plain(elements: Mapping[Hashable, _Element], name: Hashable) -> str:
    return repr(elements[name].value if name in elements else name)


def _members(value: Any) -> list[Hashable]:
    """The elements that a read returned, duplicates and all."""
    if value is None:
        return []
    if isinstance(value, Tagged) and isinstance(value.content, Iterable):
        return list(value.content)
    if isinstance(value, list | tuple | set | frozenset):
        return [canonical(element) for element in value]
    raise UsageError(f"a read of a set returned {value!r}, which is no list of elements")


def _cut(operation: Operation, about: set[Hashable]) -> Operation:
    """The operation; a read with only those of its elements that are in `about`."""
    if operation.f != "read" or operation.outcome != "ok" or operation.value is None:
        return operation
    return msgspec.structs.replace(operation, value=[name for name in _members(operation.value) if name in about])
