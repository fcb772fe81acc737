"""What an anomaly of transactions is, in sentences: who it is about, what each dependency rests on, and what contradicts
what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np

from splitbrain.checkers.transactions.cycles import Cycle, Edge
from splitbrain.checkers.transactions.graph import (
    ALWAYS,
    ATOMIC,
    CAUSAL,
    KINDS,
    PROCESS,
    READS,
    REALTIME,
    RW,
    SESSION,
    TIMES,
    WR,
    WW,
    Ints,
)
from splitbrain.checkers.transactions.inference import Inference, Problems
from splitbrain.checkers.verdict import Anomaly, Dependency, Moment
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.micros import APPEND, READ_LIST
from splitbrain.harness.history.operation import Key, Operation

_LONGEST = 8
"""How many elements of a list are shown: its last ones."""

_STEPS = 50
"""How many dependencies of a cycle its sentence tells; each has its own beside it."""

_WHOLE = 10_000
"""How many dependencies a cycle has at most that is told whole."""

_ASSUMED = ", as one order of versions has it"

_FAR = 10_000
"""How many transactions are gone through for how one came to see another."""


def of_cycle(inference: Inference, cycle: Cycle) -> Anomaly:
    """The anomaly that a cycle is, told edge by edge. Its operations are the transactions of the cycle, in its order, and
    those whose reads show in which order versions came; of a cycle that is longer than anybody reads, those of its first
    dependencies, and none of these."""
    told = _Told(inference)
    edges = cycle.edges if len(cycle.edges) <= _WHOLE else cycle.edges[:_STEPS]
    whole = len(edges) == len(cycle.edges)
    for edge in edges:
        told.label(edge.source)
    sentences = [told.edge(edge) for edge in edges]
    names = [told.label(edge.source) for edge in edges]
    if len(cycle.edges) > _STEPS:
        far = f"and so on, through {len(cycle.edges):,} transactions"
        order = f"{names[0]} must come before {names[1]}, {names[1]} before {names[2]}, {far} and back to {names[0]}"
    elif len(names) == 2:
        order = f"{names[0]} must come before {names[1]}, and {names[1]} before {names[0]}"
    else:
        steps = [f"{a} before {b}" for a, b in pairwise(names)]
        order = f"{names[0]} must come before {names[1]}, " + ", ".join([*steps[1:], f"and {names[-1]} before {names[0]}"])
    ending = f"So {order}: a contradiction."
    if not cycle.alone:
        ending = f"So {order}. Another order of versions would avoid this cycle, but every order of them leads to one."
    key = next((inference.micros.keys[edge.key] for edge in edges if edge.key >= 0), None)
    accused = next((edge.source for edge in edges if edge.kind == RW), edges[0].source)
    return Anomaly(
        identifier=cycle.identifier,
        sentence=_capital("; ".join(sentences[:_STEPS])) + (" ..." if len(cycle.edges) > _STEPS else ".") + " " + ending,
        key=key if isinstance(key, int | str) and len({edge.key for edge in edges if edge.key >= 0}) == 1 else None,
        operations=told.operations(),
        accused=told.place(accused) if accused >= 0 else None,
        moment=_moment(inference, accused, [edge.source for edge in edges]),
        cycle=tuple(
            Dependency(source=told.place(edge.source), target=told.place(edge.target), kind=KINDS[edge.kind], sentence=sentence)
            for edge, sentence in zip(edges, sentences, strict=True)
            if whole and edge.source >= 0 and edge.target >= 0
        ),
    )


def of_problem(inference: Inference, problems: Problems, at: int) -> Anomaly:
    """The anomaly that one of these problems is."""
    told = _Told(inference)
    reader, row, other = int(problems.reader[at]), int(problems.row[at]), int(problems.other[at])
    told.label(other if problems.identifier == "lost-append" else reader)
    sentence = _SENTENCES[problems.identifier](told, reader, row, other)
    key: Key = told.key(row) if isinstance(told.key(row), int | str) else None
    return Anomaly(
        identifier=problems.identifier, sentence=_capital(sentence) + ".", key=key, operations=told.operations(), accused=0,
        moment=moment_of_problem(inference, problems, at),
    )


def moment_of_problem(inference: Inference, problems: Problems, at: int) -> Moment:
    """When what a transaction was answered was wrong; of a lost append, from its acknowledgement on."""
    reader = int(problems.reader[at])
    if problems.identifier == "lost-append":
        history = inference.history
        return Moment(int(history.completed[problems.other[at]]), int(history.completed[reader]), lost=True)
    return _moment(inference, reader, [reader])


def _moment(inference: Inference, accused: int, rows: list[int]) -> Moment:
    history = inference.history

    def known(row: int) -> int:
        completed = int(history.completed[row])
        return int(history.invoked[row]) if completed == NEVER else completed

    seen = max(known(row) for row in rows if row >= 0)
    return Moment(known(accused) if accused >= 0 else seen, seen)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


class _Told:
    """The transactions that a sentence speaks of, in the order in which it names them: T1, T2, ..."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.micros = inference.micros
        self.history = inference.history
        self.lists = bool((self.micros.f == APPEND).any())
        self.rows: dict[int, int] = {}
        """The place of each among the operations."""

    def label(self, row: int) -> str:
        """The name of a transaction; that of the initial state for -1."""
        if row < 0:
            return "the initial state"
        return f"T{self.place(row) + 1}"

    def place(self, row: int) -> int:
        """The place of a transaction among the operations."""
        return self.rows.setdefault(row, len(self.rows))

    def operations(self) -> tuple[Operation, ...]:
        return tuple(self.history[row] for row in self.rows)

    def key(self, row: int) -> Key:
        """The key of a micro-operation."""
        key: Key = self.micros.keys[self.micros.key[row]]
        return key

    def value(self, row: int) -> str:
        """What a micro-operation wrote, or read."""
        value = self.micros.returned(row)
        if self.micros.f[row] != READ_LIST:
            return str(value) if value is not None else "[]" if self.lists else "nil"
        return self.shown(value)

    def seen(self, row: int) -> str:
        """The version that an external read saw; of a list without what the transaction had appended itself by then."""
        value, depth = self.micros.returned(row), int(self.inference.seen[row])
        return self.value(row) if depth < 0 or self.micros.f[row] != READ_LIST else self.shown(value[:depth])

    def shown(self, elements: Sequence[object]) -> str:
        """A list, of a long one its last elements."""
        shown = " ".join(map(str, elements[-_LONGEST:]))
        return f"[... {shown}]" if len(elements) > _LONGEST else f"[{shown}]"

    def owner(self, row: int) -> int:
        """The transaction of a micro-operation."""
        return int(np.searchsorted(self.micros.start, row, side="right")) - 1

    def written(self, transaction: int, key: int) -> list[int]:
        """The micro-operations by which a transaction wrote a key."""
        if transaction < 0:
            return []
        rows = range(int(self.micros.start[transaction]), int(self.micros.start[transaction + 1]))
        return [row for row in rows if self.micros.key[row] == key and _NAMES[self.micros.f[row]] != "read"]

    def edge(self, edge: Edge) -> str:
        """What a dependency rests on."""
        first, second = self.label(edge.source), self.label(edge.target)
        if edge.kind == PROCESS:
            return f"{second} came after {first} in process {self.history.process[edge.source]}"
        if edge.kind == REALTIME:
            return f"{first} had completed before {second} was invoked{self._times(edge.source, edge.target)}"
        written = self.written(edge.source, edge.key), self.written(edge.target, edge.key)
        if any(self.micros.f[row] == APPEND for rows in written for row in rows):
            return self._list_edge(edge, first, second, *written)
        return self._register_edge(edge, first, second, *written)

    def _times(self, first: int, second: int) -> str:
        if not self.history.timed:
            return ""
        return f" ({self.history.completed[first] / 1e9:.6f} s and {self.history.invoked[second] / 1e9:.6f} s)"

    def _list_edge(self, edge: Edge, first: str, second: str, before: list[int], after: list[int]) -> str:
        version, key = self.inference.version, self.micros.keys[edge.key]
        if edge.kind == WR:
            row = int(self.inference.read_from[edge.row])
            return f"{second} saw {first}'s append of {self.value(row)} to {key}, because it read {self.value(edge.row)}"
        if edge.kind == RW:
            depth = int(self.inference.seen[edge.row])
            missed = [row for row in after if version[row] < 0 or version[row] >= depth]
            what = self.value(missed[0]) if missed else "an element"
            return f"{first} did not see {second}'s append of {what} to {key}, because it read {self.value(edge.row)}"
        pairs = [
            (a, b) for a in before for b in after if version[a] >= 0 and (version[b] < 0 or version[a] < version[b])
        ]
        near = min(pairs, key=lambda pair: (version[pair[1]] < 0, version[pair[1]] - version[pair[0]]), default=None)
        a, b = near or (before[-1], after[-1])
        if version[a] < 0 and version[b] < 0:
            # Nobody read either.
            return f"{first} appended {self.value(a)} to {key} before {second} appended {self.value(b)}{_ASSUMED}"
        witness = self.witness(edge.key, *(row for row in (a, b) if version[row] >= 0))
        sentence = f"{first} appended {self.value(a)} to {key} before {second} appended {self.value(b)}"
        if witness is None:
            return sentence
        name = self.label(self.owner(witness))
        if version[b] < 0:
            return f"{sentence}, for {name} read {self.value(witness)} and nobody found {self.value(b)} before that"
        return f"{sentence}, because {name} read {self.value(witness)}"

    @cached_property
    def _lists_by_key(self) -> Ints:
        rows = np.flatnonzero(self.micros.f == READ_LIST)
        return rows[np.argsort(self.micros.key[rows], kind="stable")]

    def witness(self, key: int, *appends: int) -> int | None:
        """The shortest list read of a key that shows these appends where its order has them."""
        by_key = self._lists_by_key
        rows = by_key[slice(*np.searchsorted(self.micros.key[by_key], (key, key + 1)))]
        begin, end = (self.micros.list_start[self.micros.value[rows] + more] for more in (0, 1))
        shown = np.ones(len(rows), np.bool_)
        for append in appends:
            place = begin + self.inference.version[append]
            there = np.flatnonzero(shown & (place < end))
            shown[:] = False
            shown[there[self.micros.list_values[place[there]] == self.micros.value[append]]] = True
        found = np.flatnonzero(shown)
        return int(rows[found[np.argmin((end - begin)[found])]]) if len(found) else None

    def _register_edge(self, edge: Edge, first: str, second: str, before: list[int], after: list[int]) -> str:
        key = self.micros.keys[edge.key]
        new = self.value(after[-1]) if after else "its version"
        if edge.kind == WR:
            shown = self.value(edge.row) if edge.row >= 0 else self.value(before[-1])
            return f"{second} read {key} = {shown}, which {first} wrote"
        if edge.source < 0:
            return f"{second} wrote {key} = {new} after the initial state"
        if edge.target < 0:
            reader = self.owner(edge.row)
            how = self._saw(self.label(reader), edge.source, reader)
            return f"{first} wrote {key} = {self.value(before[-1])}, and {how} and read the initial state of {key}"
        if edge.kind == RW:
            old = int(self.inference.read_from[edge.row]) if edge.row >= 0 else -1
            shown = "it" if edge.row < 0 else f"{key} = {self.value(edge.row)}"
            why = self._why(edge, old, after[-1]) if old >= 0 and after else ""
            return f"{first} read {shown}, which {second} replaced by {new}{why}"
        why = self._why(edge, before[-1], after[-1]) if before and after else ""
        shown = self.value(before[-1]) if before else "its version"
        return f"{first} wrote {key} = {shown} before {second} wrote {new}{why}"

    # Why one version of a register came before another one.

    def _why(self, edge: Edge, old: int, new: int) -> str:
        """What proves that a version (the row of its write) came before another one, as far as an edge's scope goes; empty
        where it needs no proof, or where there is none but all dependencies together."""
        writer, author = self.owner(old), self.owner(new)
        if edge.scope == READS:
            mine = [row for row in self._readers(old) if self.owner(row) == author]
            if not mine:
                return _ASSUMED
            return f", for {self.label(author)} had read {self.value(old)} before it wrote"
        if edge.scope == ATOMIC:
            return self._why_atomic(old, new, edge.row if edge.kind == WW else -1)
        if edge.scope == SESSION:
            return f", for process {self.history.process[writer]} {self._touched(old)} and then {self._touched(new)}"
        if edge.scope == CAUSAL:
            return self._why_causal(old, new, edge.row if edge.kind == WW else -1)
        if edge.scope == TIMES:
            return self._why_times(old, new)
        return ""

    def _readers(self, version: int) -> list[int]:
        """The reads that found a version, as rows."""
        reads, versions = self.inference.reads_by_version
        found: list[int] = reads[slice(*np.searchsorted(versions, (version, version + 1)))].tolist()
        return found

    def _why_atomic(self, old: int, new: int, proof: int) -> str:
        writer = self.owner(old)
        for row in [proof] if proof >= 0 else self._readers(new):
            reader = self.owner(row)
            if self._read_from(reader, writer) is not None:
                return f", for {self.label(reader)} saw {self.label(writer)} and read {self.label(self.owner(new))}'s " \
                    f"{self.value(new)}"
        return ""

    def _why_causal(self, old: int, new: int, proof: int) -> str:
        process = self.history.process
        # Of each process what it touched first, a transaction's read before its write.
        earlier: dict[int, int] = {}
        for row in sorted([*self._readers(old), old], key=self.owner, reverse=True):
            earlier[int(process[self.owner(row)])] = row
        for row in [new, *self._readers(new)]:
            at = self.owner(row)
            seen = earlier.get(int(process[at]))
            if seen is not None and self.owner(seen) < at:
                return f", for process {process[at]} {self._touched(seen)} and then {self._touched(row)}"
        for row in [proof] if proof >= 0 else self._readers(new):
            reader = self.owner(row)
            if how := self._saw(self.label(reader), self.owner(old), reader):
                return f", for {how} and read {self.label(self.owner(new))}'s {self.value(new)}"
        return ""

    def _touched(self, row: int) -> str:
        f = "read" if _NAMES[self.micros.f[row]] == "read" else "wrote"
        return f"{f} {self.value(row)} ({self.label(self.owner(row))})"

    def _why_times(self, old: int, new: int) -> str:
        history = self.history
        known = min([old, *self._readers(old)], key=lambda row: int(history.completed[self.owner(row)]))
        late = max([new, *self._readers(new)], key=lambda row: int(history.invoked[self.owner(row)]))
        done, begun = self.owner(known), self.owner(late)
        if history.completed[done] >= history.invoked[begun]:
            return ""
        read = f"{self.label(done)}, which read {self.value(old)}," if known != old else self.label(done)
        then = f"{self.label(begun)}, which read {self.value(new)}," if late != new else self.label(begun)
        return f", for {read} had completed before {then} was invoked{self._times(done, begun)}"

    def _read_from(self, reader: int, writer: int) -> int | None:
        """A read by which one transaction saw another one, as its row."""
        rows = range(int(self.micros.start[reader]), int(self.micros.start[reader + 1]))
        read_from, external = self.inference.read_from, self.inference.external
        return next((
            row for row in rows if external[row] and read_from[row] >= 0 and self.owner(int(read_from[row])) == writer
        ), None)

    def _saw(self, name: str, writer: int, reader: int) -> str:
        """How one transaction came to see another one: it read from it, or whoever it follows did; empty where it did not."""
        if self._read_from(reader, writer) is not None:
            return f"{name} saw {self.label(writer)}"
        came: dict[int, Edge] = {}
        queue = [reader]
        for at in queue:
            if at == writer or len(queue) > _FAR:
                break
            rows = range(int(self.micros.start[at]), int(self.micros.start[at + 1]))
            for row in rows:
                source = int(self.inference.read_from[row])
                if self.inference.external[row] and source >= 0 and self.owner(source) not in came:
                    came[self.owner(source)] = Edge(self.owner(source), at, WR, ALWAYS, int(self.micros.key[row]), row)
                    queue.append(self.owner(source))
            mine = self.inference.committed[:at] & (self.history.process[:at] == self.history.process[at])
            if writer < at and mine[writer]:
                came.setdefault(writer, Edge(writer, at, PROCESS, ALWAYS, -1, -1))
            elif mine.any():
                last = int(np.flatnonzero(mine)[-1])
                if last not in came:
                    came[last] = Edge(last, at, PROCESS, ALWAYS, -1, -1)
                    queue.append(last)
            if writer in came:
                break
        if writer not in came:
            return ""
        way = [came[writer]]
        while way[-1].target != reader:
            way.append(came[way[-1].target])
        return f"{name} came after {self.label(writer)} ({'; '.join(map(self.edge, way))})"


_NAMES = ("read", "write", "append", "read")


def _read(told: _Told, reader: int, row: int) -> str:
    return f"{told.label(reader)} read {told.key(row)} = {told.value(row)}"


def _aborted(told: _Told, reader: int, row: int, other: int) -> str:
    return f"{_read(told, reader, row)}, which {told.label(other)} wrote, and that aborted"


def _intermediate(told: _Told, reader: int, row: int, other: int) -> str:
    return f"{_read(told, reader, row)}, which {told.label(other)} wrote and replaced itself before it committed"


def _internal(told: _Told, reader: int, row: int, _other: int) -> str:
    own = [one for one in told.written(reader, int(told.micros.key[row])) if one < row]
    f = "appended" if own and told.micros.f[own[-1]] == APPEND else "written"
    return f"{_read(told, reader, row)}, though it had itself {f} {told.value(own[-1]) if own else 'another value'} before"


def _future(told: _Told, reader: int, row: int, _other: int) -> str:
    later = [one for one in told.written(reader, int(told.micros.key[row])) if one > row]
    if told.micros.f[row] != READ_LIST:
        return f"{_read(told, reader, row)} before it wrote that itself"
    held = [told.value(one) for one in later if told.micros.returned(one) in told.micros.returned(row)]
    return f"{_read(told, reader, row)} before it appended {' and '.join(held)} itself"


def _unwritten(told: _Told, reader: int, row: int, _other: int) -> str:
    return f"{_read(told, reader, row)}, which nobody wrote"


def _double(told: _Told, reader: int, row: int, _other: int) -> str:
    return f"{_read(told, reader, row)}: an element that was appended once is there twice"


def _incompatible(told: _Told, reader: int, row: int, other: int) -> str:
    key = int(told.micros.key[row])
    rows = range(int(told.micros.start[other]), int(told.micros.start[other + 1]))
    lists = [one for one in rows if told.micros.key[one] == key and told.micros.f[one] == READ_LIST and one != row]
    if lists:
        longest = max(lists, key=lambda one: len(told.micros.returned(one)))
        both = f"{_read(told, reader, row)}, and {told.label(other)} read {told.value(longest)}"
        return f"{both}: no order of elements explains both"
    own = " and ".join(told.value(one) for one in told.written(other, key))
    return f"{_read(told, reader, row)}, but {told.label(other)} appended {own} in this order"


def _dirty(told: _Told, reader: int, row: int, other: int) -> str:
    key = int(told.micros.key[row])
    mine = f"{told.label(reader)} appended {told.value(row)} to {told.key(row)}"
    witness = told.witness(key, row)
    base = told.written(other, key)
    if witness is not None:
        list_start = told.micros.list_start[told.micros.value[witness]]
        below = told.micros.list_values[list_start + told.inference.version[row] - 1]
        base = [one for one in base if told.micros.value[one] == below]
    what = told.value(base[-1]) if base else "a version"
    sentence = f"{mine} on top of {what}, which {told.label(other)} wrote, and that aborted"
    return sentence if witness is None else f"{sentence}: {_read(told, told.owner(witness), witness)}"


def _lost(told: _Told, reader: int, row: int, other: int) -> str:
    mine, theirs = told.value(row), told.written(other, int(told.micros.key[row]))
    key = told.key(row)
    rows = range(int(told.micros.start[reader]), int(told.micros.start[reader + 1]))
    same = [one for one in rows if told.micros.key[one] == told.micros.key[row] and told.inference.external[one]]
    seen = told.seen(same[0]) if same else ""
    base = f"{key} = {seen}" if seen else f"the same version of {key}"
    label, by = told.label(reader), told.label(other)
    if told.lists:
        return (
            f"{label} and {by} both read {base} and appended to that, {mine} and {told.value(theirs[-1])}: whichever of them"
            " came first, the other one had not seen it"
        )
    return (
        f"{label} and {by} both read {base} and replaced it, by {mine} and by {told.value(theirs[-1])}: one of them overwrote"
        " the other's without having seen it"
    )


def _gone(told: _Told, reader: int, row: int, other: int) -> str:
    key = told.micros.key[row]
    rows = range(int(told.micros.start[reader]), int(told.micros.start[reader + 1]))
    shown = next(told.value(one) for one in rows if told.micros.key[one] == key)
    return (
        f"{told.label(other)}'s append of {told.value(row)} to {told.key(row)} was acknowledged and is lost: in the end"
        f" {told.label(reader)} read {shown}, and no read found it there again"
    )


def _unsteady(told: _Told, reader: int, row: int, _other: int) -> str:
    rows = range(int(told.micros.start[reader]), row)
    earlier = [one for one in rows if told.micros.key[one] == told.micros.key[row] and _NAMES[told.micros.f[one]] == "read"]
    shown = [told.value(one) for one in earlier if told.value(one) != told.value(row)]
    return f"{_read(told, reader, row)}, after it had read {shown[-1] if shown else 'another version'}"


_SENTENCES: dict[str, Callable[[_Told, int, int, int], str]] = {
    "G1a": _aborted,
    "G1b": _intermediate,
    "internal": _internal,
    "future-read": _future,
    "unwritten-read": _unwritten,
    "duplicate-elements": _double,
    "incompatible-order": _incompatible,
    "dirty-update": _dirty,
    "lost-append": _gone,
    "lost-update": _lost,
    "non-repeatable-read": _unsteady,
}
