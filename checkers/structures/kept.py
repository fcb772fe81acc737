"""Whether a bank kept the transfers that it acknowledged: what accounts hold in the end, held against all of them.

The final reads begin when every transfer is over. So what they tell is what all acknowledged transfers leave, and some of
those whose outcome nobody knows. Where no such set leaves it, something else happened, and the balances alone often show
what: of thousands of transfers over a few accounts hardly two runs of them move the same money. If it is exactly what is left
without a run of transfers that one server acknowledged one after the other, as an old primary does that gives way later, and
no other such thing explains it (a run that happened twice, one that was refused and happened), these are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import Ints, rows_of, values_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.ledger import Exhausted, subsets
from splitbrain.checkers.verdict import Moment
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

MODEL = "transfers kept"
BY = ("lost-transfer", "wrong-balance")

_STEPS = 200_000
"""How many transfers of unknown outcome are tried before it is given up to say whether some of them explain the end."""

_OPEN = 8
"""Transfers of unknown outcome, of which all sets are tried together with a run that is gone."""

_ENTRIES = 5_000_000
"""How many runs' ends are looked up, for all of these sets together."""

_WEIGHTS = np.random.default_rng(7).integers(1, 1 << 62, 1 << 10, np.uint64)
"""By which changes of balances are told apart at a glance: those that have the same sum are compared one by one."""


class Move(NamedTuple):
    """A transfer: how much it takes from one account and puts into another one, by their places."""

    source: int
    target: int
    amount: int


class Ending:
    """What accounts hold in the end: `row` is a final read that told it, and `left` is how it differs from what all
    acknowledged transfers leave. `moves` are all transfers but those that were refused, by their row."""

    def __init__(self, history: History, row: int, told: Mapping[str, int], first: int) -> None:
        self.history, self.row, self.told = history, row, told
        self.place = {name: at for at, name in enumerate(told)}
        transfers = np.flatnonzero(rows_of(history, "transfer"))
        moved = dict(zip(transfers.tolist(), map(self._move, values_of(history, transfers)), strict=True))
        outcome = history.outcome
        self.whole = all(one is not None for one in moved.values()) and len(self.place) <= len(_WEIGHTS)
        """Whether every transfer tells what it moves."""
        self.moves = {row: one for row, one in moved.items() if one is not None and outcome[row] != FAIL}
        self.refused = [one for row, one in moved.items() if one is not None and outcome[row] == FAIL]
        done = [row for row in self.moves if outcome[row] == OK]
        self.done = np.array(sorted(done, key=lambda row: (int(history.completed[row]), row)), np.int64)
        """The acknowledged ones, in the order of that."""
        self.unknown = [(row, one) for row, one in self.moves.items() if outcome[row] == INFO and _moves(one)]
        self.left = np.array([*told.values()], np.int64) - first - self.changes(self.done).sum(axis=0)

    def _move(self, value: Any) -> Move | None:
        if not isinstance(value, tuple) or len(value) != 3 or type(value[2]) is not int or abs(value[2]) >= 1 << 40:
            return None
        places = [self.place.get(str(name)) for name in value[:2]]
        return None if places[0] is None or places[1] is None else Move(places[0], places[1], value[2])

    def changes(self, rows: Sequence[int] | Ints) -> Ints:
        """What each of these transfers changes, a column for each account."""
        return _changes([self.moves[int(row)] for row in rows], len(self.place))

    def explained(self) -> bool:
        """Whether all acknowledged transfers, and some whose outcome nobody knows, leave what is there. Raises `Exhausted`."""
        steps = [_STEPS]
        return next(subsets([(row, *one) for row, one in self.unknown], self.left.tolist(), steps), None) is not None

    def gone(self) -> Ints | None:
        """The acknowledged transfers without which, and without nothing else, what is there is what the others leave: a run of
        those of one server. None where it is no such run, or could be another thing as well."""
        found: set[tuple[int, ...]] = set()
        if len(self.unknown) > _OPEN or len(self.done) << len(self.unknown) > _ENTRIES:
            return None
        servers = self.history.server[self.done]
        for some in chain.from_iterable(combinations(self.unknown, many) for many in range(len(self.unknown) + 1)):
            wanted = self.left - _changes([one for _, one in some], len(self.place)).sum(axis=0)
            if (_changes(self.refused, len(self.place)) == wanted).all(axis=1).any():
                return None
            for rows in (self.done, *(self.done[servers == server] for server in np.unique(servers))):
                for begin, end in _runs(self.changes(rows), wanted):
                    if begin > end:  # It happened twice.
                        return None
                    found.add(tuple(rows[begin:end].tolist()))
        return np.array(found.pop(), np.int64) if len(found) == 1 else None


def judge_ending(found: Findings, reads: Ints, told: Sequence[Any], deposit: int) -> dict[str, tuple[str, ...]]:
    """Hold what these reads `told` in the end against the transfers, where accounts held `deposit` each in the beginning; the
    model that is decided by it. None where the final reads, or the replicas, do not agree: then something may be on its way
    still; and none where the total is wrong, which others tell."""
    recording = found.recording
    history = recording.history
    last = [(int(row), _by_place(value)) for row, value in zip(reads, told, strict=True)
            if history.invoked[row] >= recording.final]
    if not last or any(value != last[0][1] for _, value in last) or not _agreed(recording, last[0][1]):
        return {}
    row, balances = last[0]
    if not balances or sum(balances.values()) != deposit * len(balances):
        return {}
    ending = Ending(history, row, balances, deposit)
    if not ending.whole:
        return {}
    try:
        if ending.explained():
            return {MODEL: BY}
    except Exhausted:
        return {}
    gone = ending.gone()
    if gone is None:
        _tell_wrong(found, ending)
    else:
        _tell_gone(found, ending, gone)
    return {MODEL: BY}


def _tell_gone(found: Findings, ending: Ending, gone: Ints) -> None:
    history = ending.history
    servers = [history.nodes[code] for code in np.unique(history.server[gone]).tolist() if code >= 0]
    first, last = (clock(int(history.completed[row])) for row in (gone[0], gone[-1]))

    def tell(at: int) -> Told:
        transfer = history[int(gone[at])]
        source, target, amount = transfer.value
        which = f"the {len(gone):,} that {servers[0]} acknowledged from {first} to {last}" if len(servers) == 1 else \
            f"the {len(gone):,} that were acknowledged from {first} to {last}"
        by = f" by {transfer.server}" if transfer.server else ""
        return (
            f"client {transfer.process}'s transfer of {amount} from {source} to {target}, acknowledged{by} at "
            f"{clock(int(history.completed[gone[at]]))}, is gone: {_ends(ending)}, which is what all acknowledged transfers "
            f"leave but {which if len(gone) > 1 else 'this one'}."
        ), (transfer, history[ending.row])

    seen = np.full(len(gone), history.completed[ending.row])
    found.add_all("lost-transfer", history.key[gone], history.completed[gone], seen, tell, True)


def _tell_wrong(found: Findings, ending: Ending) -> None:
    history = ending.history
    moved = _changes([one for _, one in ending.unknown], len(ending.place))
    low, high = np.minimum(moved, 0).sum(axis=0), np.maximum(moved, 0).sum(axis=0)
    outside = np.flatnonzero((ending.left < low) | (ending.left > high)).tolist()
    name, place = next(((name, at) for name, at in ending.place.items() if at in outside), ("", -1))
    why = "and no set of the transfers leaves these that has all acknowledged ones"
    if name:
        due = ending.told[name] - int(ending.left[place])
        may = f"{due + int(low[place])} to {due + int(high[place])}" if low[place] or high[place] else f"{due}"
        why = f"where all acknowledged transfers leave {may} in account {name}"
    done = int(history.completed[ending.done].max(initial=int(history.invoked[ending.row])))
    sentence = f"{_ends(ending)}, {why}: some are gone, or happened twice, or one that was refused happened."
    touching = [row for row in ending.done[::-1].tolist() if place in ending.moves[row][:2]][:1]
    evidence = [history[row] for row in (*touching, ending.row)]
    found.add("wrong-balance", None, Moment(done, int(history.completed[ending.row])), lambda: (sentence, evidence))


def _ends(ending: Ending) -> str:
    held = ", ".join(f"{name}: {balance}" for name, balance in ending.told.items())
    return f"in the end accounts hold {held}"


def _agreed(recording: Recording, balances: Mapping[str, int]) -> bool:
    """Whether no node's own copy, as far as it was asked in the end, told anything else."""
    latest = {one.node: one for one in recording.local_reads if one.fault is None}
    return all(one.error is None and _by_place(one.value) == balances for one in latest.values())


def _by_place(value: Any) -> dict[str, int]:
    """What a read told, by the name of each account; those of a list are numbered."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value or ())
    return {str(account): balance for account, balance in pairs}


def _moves(move: Move) -> bool:
    return move.source != move.target and move.amount != 0


def _changes(moves: Sequence[Move], accounts: int) -> Ints:
    changes = np.zeros((len(moves), accounts), np.int64)
    if moves:
        source, target, amount = np.array(moves, np.int64).T
        at = np.arange(len(moves))
        changes[at, source] -= amount
        changes[at, target] += amount
    return changes


def _runs(changes: Ints, wanted: Ints) -> Iterator[tuple[int, int]]:
    """Where the runs begin and end without which balances differ by what is wanted; where they end and begin, if it is with
    them once more."""
    sums = np.concatenate([np.zeros((1, changes.shape[1]), np.int64), np.cumsum(changes, axis=0)])
    marks = _marks(sums)
    order = np.argsort(marks, kind="stable")
    # Without those from `begin` to `end`: what was there before the first of them, and no longer after the last.
    aims = marks - _marks(wanted[None])[0]
    low, high = (np.searchsorted(marks[order], aims, side) for side in ("left", "right"))
    for begin in np.flatnonzero(high > low).tolist():
        for end in order[low[begin] : high[begin]].tolist():
            if (sums[begin] - sums[end] == wanted).all():
                yield begin, end


def _marks(rows: Ints) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = (rows.astype(np.uint64) * _WEIGHTS[: rows.shape[1]]).sum(axis=1, dtype=np.uint64)
    return found
