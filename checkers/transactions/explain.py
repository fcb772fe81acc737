"""What an anomaly of transactions is, in sentences: who it is about, what each dependency rests on, and what contradicts
what."""

from __future__ import annotations

from collections.abc import Callable
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
)
from splitbrain.checkers.transactions.inference import Inference, Problems
from splitbrain.checkers.verdict import Anomaly, Dependency, Moment
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.micros import APPEND, READ_LIST
from splitbrain.harness.history.operation import Key, Operation

_LONGEST = 8
"""How many elements of a list are shown: its last ones."""

_WHY = {
    ALWAYS: "",
    READS: ", for it had read that before it wrote",
    ATOMIC: ", for another transaction saw both writers and read the later version",
    SESSION: ", for one client wrote both, in this order",
    CAUSAL: ", for one client saw both, in this order",
    TIMES: ", for the one was known before the other was begun or still read",
}


def of_cycle(inference: Inference, cycle: Cycle) -> Anomaly:
    """The anomaly that a cycle is, told edge by edge. Its operations are the transactions of the cycle, in its order, and
    those whose reads show in which order versions came."""
    told = _Told(inference)
    edges = cycle.edges
    for edge in edges:
        told.label(edge.source)
    sentences = [told.edge(edge) for edge in edges]
    names = [told.label(edge.source) for edge in edges]
    if len(names) == 2:
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
        sentence=_capital("; ".join(sentences)) + ". " + ending,
        key=key if isinstance(key, int | str) and len({edge.key for edge in edges if edge.key >= 0}) == 1 else None,
        operations=told.operations(),
        accused=told.place(accused) if accused >= 0 else None,
        moment=_moment(inference, accused, [edge.source for edge in edges]),
        cycle=tuple(
            Dependency(source=told.place(edge.source), target=told.place(edge.target), kind=KINDS[edge.kind], sentence=sentence)
            for edge, sentence in zip(edges, sentences, strict=True)
            if edge.source >= 0 and edge.target >= 0
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
        self.rows: list[int] = []

    def label(self, row: int) -> str:
        """The name of a transaction; that of the initial state for -1."""
        if row < 0:
            return "the initial state"
        if row not in self.rows:
            self.rows.append(row)
        return f"T{self.rows.index(row) + 1}"

    def place(self, row: int) -> int:
        """The place of a transaction among the operations."""
        self.label(row)
        return self.rows.index(row)

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
        shown = " ".join(str(element) for element in value[-_LONGEST:])
        return f"[... {shown}]" if len(value) > _LONGEST else f"[{shown}]"

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
        witness = self._witness(edge.key, int(version[b]) if version[b] >= 0 else int(version[a]))
        sentence = f"{first} appended {self.value(a)} to {key} before {second} appended {self.value(b)}"
        if witness is None:
            return sentence
        name = self.label(self.owner(witness))
        if version[b] < 0:
            return f"{sentence}, for {name} read {self.value(witness)} and nobody found {self.value(b)} before that"
        return f"{sentence}, because {name} read {self.value(witness)}"

    def _witness(self, key: int, place: int) -> int | None:
        """The shortest list read of a key that shows its version of that place."""
        rows = np.flatnonzero((self.micros.key == key) & (self.micros.f == READ_LIST))
        lists = self.micros.value[rows]
        lengths = self.micros.list_start[lists + 1] - self.micros.list_start[lists]
        long = np.flatnonzero(lengths > place)
        return int(rows[long[np.argmin(lengths[long])]]) if len(long) else None

    def _register_edge(self, edge: Edge, first: str, second: str, before: list[int], after: list[int]) -> str:
        key = self.micros.keys[edge.key]
        new = self.value(after[-1]) if after else "its version"
        if edge.kind == WR:
            shown = self.value(edge.row) if edge.row >= 0 else self.value(before[-1])
            return f"{second} read {key} = {shown}, which {first} wrote"
        why = _WHY[edge.scope]
        if edge.scope == ATOMIC and edge.kind == WW and edge.row >= 0:
            why = f", for {self.label(self.owner(edge.row))} saw {first} and read {second}'s {self.value(edge.row)}"
        if edge.kind == RW:
            shown = "it" if edge.row < 0 else f"{key} = {self.value(edge.row)}"
            return f"{first} read {shown}, which {second} replaced by {new}{why}"
        if edge.source < 0:
            return f"{second} wrote {key} = {new} after the initial state"
        old = self.value(before[-1]) if before else "its version"
        if edge.target < 0:
            return f"{first} wrote {key} = {old}, and a transaction that saw that read the initial state of {key}"
        return f"{first} wrote {key} = {old} before {second} wrote {new}{why}"


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
    return f"{_read(told, reader, row)} before it wrote that itself"


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
    base = told.written(other, int(told.micros.key[row]))
    what = told.value(base[-1]) if base else "a version"
    mine = f"{told.label(reader)} appended {told.value(row)} to {told.key(row)}"
    return f"{mine} on top of {what}, which {told.label(other)} wrote, and that aborted"


def _lost(told: _Told, reader: int, row: int, other: int) -> str:
    mine, theirs = told.value(row), told.written(other, int(told.micros.key[row]))
    key = told.key(row)
    rows = range(int(told.micros.start[reader]), int(told.micros.start[reader + 1]))
    same = [told.value(one) for one in rows if told.micros.key[one] == told.micros.key[row] and one != row]
    seen = same[0] if same else "the same version"
    return (
        f"{told.label(reader)} and {told.label(other)} both read {key} = {seen} and replaced it, by {mine} and by"
        f" {told.value(theirs[-1])}: one of them overwrote the other's without having seen it"
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
