"""A bank: money moves between accounts, and none is made or lost.

Transfers conserve the total, so every read of all accounts at one moment adds up to what was there in the beginning, whatever
transfers it saw. Where a transfer is refused that the source cannot cover, no balance is ever negative. And where it is known
what each account held in the beginning, the transfers tell which balances there were at any one moment.

Balances of several moments are the *inconsistent analysis* of Berenson et al. ("A critique of ANSI SQL isolation levels",
SIGMOD 1995), where accounts are added up between which money moves; here those that happen to add up are found, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, combinations, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import Ints, check_functions, integers_of, rows_of, sizes_of, values_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.kept import judge_ending
from splitbrain.checkers.structures.ledger import MOST_OPEN, Exhausted, Ledger, Seen
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

_LARGE = 1 << 40
"""Balances from which on they are added as integers of any size."""

_FEW = 4
"""Transfers that are shown of those of an account that cannot have held what was read."""

_REAL_TIME = frozenset({"linearizable", "strict-serializable"})
"""Promises by which what was over comes before what began later."""

_MOST = 10_000
"""Reads that are held against the transfers: of more, so many that lie evenly in the history."""

_EXPLANATIONS = 64
"""How many sets of transfers that explain a read are compared with what was over when it began."""

CONSERVED = "totals conserved"
COVERED = "accounts covered"
AT_ONCE = "balances of one moment"
UP_TO_DATE = "balances up to date"


class BankChecker:
    """Judges `transfer` (of source, target, amount) and `read` of the balance of every account, as a list or a map, where
    `total` is what all accounts held in the beginning, and `deposit` what each of them did. A read that adds up to something
    else is `wrong-total`, one with a balance below 0 `negative-balance`.

    Where nobody tells the total, it is what reads told that were over before the first transfer began, else what most reads
    tell: reads that differ cannot all be right.

    A read that adds up is `inconsistent-analysis` where no set of the transfers that had begun explains it; two that are
    explained by one set each, of which neither holds the other, are `long-fork`. Whoever promises real time (linearizable,
    strict serializable) promises more: that such a set is a prefix of an order of the transfers that agrees with time, and that
    a read saw all transfers that were over before it began, else it is `stale-read`. Nobody else is held to that: a read that
    saw the later one of two transfers alone is serializable. That is asked where the first balances are told, or were read
    before the first transfer, and all transfers say what they move; where it could not be answered for every read, the models
    that it decides are not among the standings unless they are refuted.

    Where each account's `deposit` is told and a run has final reads, acknowledged transfers that are gone in the end are
    `lost-transfer`, and balances that no transfers leave `wrong-balance` (`structures.kept`).
    """

    name = "bank"

    def __init__(self, total: int | None = None, deposit: int | None = None) -> None:
        self.total = total
        self.deposit = deposit

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, or a read that tells no list or map of integers."""
        history = recording.history
        check_functions(history, self.name, ("transfer", "read"))
        found = Findings(recording)
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        told = values_of(history, reads)
        flat, sizes = _balances(told)
        asked = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[asked]
        totals, least = np.zeros(len(reads), flat.dtype), np.zeros(len(reads), flat.dtype)
        if len(asked):
            totals[asked], least[asked] = np.add.reduceat(flat, starts), np.minimum.reduceat(flat, starts)
        total, known, note = (self.total, "where there are", "") if self.total is not None else _total(history, reads, totals)
        wrong, overdrawn = np.flatnonzero(totals != total), np.flatnonzero(least < 0)

        def tell(at: int, why: str) -> Told:
            read = history[int(reads[at])]
            when = clock(int(history.completed[reads[at]]))
            shown = told[at] if isinstance(told[at], dict) else list(told[at])
            return f"a read at {read.node or 'a client'} at {when} told {shown}{why}.", (read,)

        def tell_wrong(at: int) -> Told:
            sentence, read = tell(wrong[at], f": {totals[wrong[at]]} in all, {known} {total}")
            # What only other reads tell, one of them shows.
            others = [] if self.total is not None else [history[int(reads[np.argmax(totals == total)])]]
            return sentence, [*others, *read]

        def tell_overdrawn(at: int) -> Told:
            value = told[overdrawn[at]]
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            account = next(name for name, balance in pairs if balance < 0)
            return tell(overdrawn[at], f": account {account} is overdrawn")

        for name, rows, why in (
            ("wrong-total", reads[wrong], tell_wrong), ("negative-balance", reads[overdrawn], tell_overdrawn),
        ):
            found.add_rows(name, rows, why)
        models: dict[str, tuple[str, ...]] = {CONSERVED: ("wrong-total",), COVERED: ("negative-balance",)}
        right = np.flatnonzero(totals == total)
        timely = recording.variant is not None and not _REAL_TIME.isdisjoint(recording.variant.claim.promises)
        began = np.sort(history.invoked[rows_of(history, "transfer")])
        if not timely and len(began) > MOST_OPEN:  # Later reads may have seen any of too many.
            right = right[history.completed[reads[right]] < began[MOST_OPEN]]
        some = right[np.linspace(0, len(right) - 1, min(_MOST, len(right))).astype(np.int64)]
        accounts = _Accounts.of(history, reads[some], [told[at] for at in some.tolist()], self.deposit, timely)
        if accounts is not None:
            models |= accounts.judge(found, len(some) == len(reads), len(some) == int((totals == total).sum()))
        if self.deposit is not None:
            models |= judge_ending(found, reads, told, self.deposit)
        return found.verdict(
            self.name, models, keys=1, judged=len(reads), things="accounts", note=note,
        )


class _Accounts:
    """Reads that add up, `reads`, as rows of the history, held against the transfers. `first` is what accounts held in the
    beginning, and `told_by` the read that told it, -1 where nobody had to. `rows` are the transfers' rows, and `timely` says
    that real time is promised."""

    def __init__(
        self, history: History, reads: Ints, told: list[dict[str, int]], first: Mapping[str, int], told_by: int, rows: Ints,
        transfers: list[tuple[str, str, int]], timely: bool,
    ) -> None:
        self.history, self.reads, self.told, self.told_by, self.rows = history, reads, told, told_by, rows
        self.timely = timely
        self.names = list(first)
        place = {name: at for at, name in enumerate(self.names)}
        self.changes = [[balances[name] - first[name] for name in self.names] for balances in told]
        source, target, amount = (np.array(column, np.int64) for column in (
            [place[one] for one, _, _ in transfers], [place[other] for _, other, _ in transfers],
            [amount for _, _, amount in transfers],
        ))
        # Where no real time is promised, none is over before another one.
        ended = np.where((history.outcome[rows] == OK) & timely, history.completed[rows], NEVER)
        self.ledger = Ledger(history.invoked[rows], ended, source, target, amount, len(place))

    @classmethod
    def of(
        cls, history: History, reads: Ints, told: Sequence[Any], deposit: int | None, timely: bool
    ) -> _Accounts | None:
        """None where the first balances are not known, a read tells other accounts, no transfers are there, or one does not
        tell what it moves."""
        balances = [_by_name(value) for value in told]
        if not balances or not balances[0] or any(one.keys() != balances[0].keys() for one in balances):
            return None
        if not rows_of(history, "transfer").any():
            return None
        if any(abs(amount) >= _LARGE for one in balances for amount in one.values()):
            return None
        seen = (history.outcome != FAIL) & (history.invoked <= history.completed[reads].max())
        rows = np.flatnonzero(rows_of(history, "transfer") & seen)
        rows = rows[np.argsort(history.invoked[rows], kind="stable")]
        moved = [_moved(value) for value in values_of(history, rows)]
        transfers = [one for one in moved if one is not None]
        if len(transfers) < len(moved) or any(not {source, target} <= balances[0].keys() for source, target, _ in transfers):
            return None
        # What changes nothing is nobody's to see.
        does = np.array([source != target and amount != 0 for source, target, amount in transfers], np.bool_)
        rows, transfers = rows[does], [one for one, counts in zip(transfers, does.tolist(), strict=True) if counts]
        if deposit is not None:
            return cls(history, reads, balances, dict.fromkeys(balances[0], deposit), -1, rows, transfers, timely)
        early = np.flatnonzero(history.completed[reads] < history.invoked[rows].min(initial=NEVER))
        if not len(early):
            return None
        first = int(early[np.argmin(history.completed[reads[early]])])
        return cls(history, reads, balances, balances[first], int(reads[first]), rows, transfers, timely)

    def judge(self, found: Findings, every: bool, whole: bool) -> dict[str, tuple[str, ...]]:
        """Tell what is wrong with the reads; the models that are decided by it, `every`: where these are all reads, and else
        those that are refuted. `whole`: these are all that add up."""
        history, ledger = self.history, self.ledger
        current, looked = every, whole
        unexplained: list[int] = []
        stale: list[tuple[int, int]] = []
        alone: list[tuple[Seen, int]] = []
        ends, begins = history.completed[self.reads].tolist(), history.invoked[self.reads].tolist()
        for at, change in enumerate(self.changes):
            try:
                ways = list(islice(ledger.explanations(change, ends[at]), 2 if ledger.ample else 1))
                if not ways:
                    unexplained.append(at)
                elif self.timely and all(ledger.missed(one, begins[at]) is not None for one in ways):
                    ways = list(islice(ledger.explanations(change, ends[at]), _EXPLANATIONS))
                    missed = [ledger.missed(one, begins[at]) for one in ways]
                    if None not in missed and len(ways) < _EXPLANATIONS:
                        stale.append((at, next(one for one in missed if one is not None)))
                    current &= None in missed or len(ways) < _EXPLANATIONS
                if len(ways) == 1 and ledger.ample:
                    alone.append((ways[0], at))
            except Exhausted:
                current = looked = False
        at_once, up_to_date = ("inconsistent-analysis", "long-fork"), ("stale-read",)
        if not looked:
            found.least |= {*at_once, *up_to_date}
        elif not ledger.ample:  # Of some reads only one explanation was asked for.
            found.least.add("long-fork")
        self._unexplained(found, unexplained)
        self._stale(found, stale)
        self._forked(found, alone)
        # Where each read is explained in one way, and of every two one saw all that the other did, they are all in one order.
        decided = every and len(alone) == len(self.reads)
        models: dict[str, tuple[str, ...]] = {}
        if decided or any(found.counts[name] for name in at_once):
            models[AT_ONCE] = at_once
        if self.timely and ((current and not unexplained) or stale):
            models[UP_TO_DATE] = up_to_date
        return models

    def _ended(self, at: int) -> int:
        return int(self.history.completed[self.reads[at]])

    def _told(self, at: int) -> str:
        read = self.history[int(self.reads[at])]
        return f"a read at {read.node or 'a client'} at {clock(self._ended(at))} told " \
            f"{self._shown(self.told[at])}"

    def _shown(self, balances: Mapping[str, int]) -> str:
        return ", ".join(f"{name}: {balance}" for name, balance in balances.items())

    def _transfer(self, number: int) -> str:
        operation, ledger = self.history[int(self.rows[number])], self.ledger
        source, target = self.names[int(ledger.source[number])], self.names[int(ledger.target[number])]
        return f"client {operation.process}'s transfer of {int(ledger.amount[number])} from {source} to {target}"

    def _evidence(self, few: Iterable[int], every: Iterable[int], *reads: int) -> list[Operation]:
        """The reads with few transfers, where these alone do not explain one of them, or else with all of those."""
        numbers = sorted(few)
        alone = self.ledger.of(numbers)
        if all(any(True for _ in alone.explanations(self.changes[at], self._ended(at))) for at in reads):
            numbers = sorted(every)
        first = [self.told_by] if self.told_by >= 0 else []
        moved = [int(self.rows[number]) for number in numbers]
        # Where none could have, any shows that transfers were recorded.
        moved = moved or np.flatnonzero(rows_of(self.history, "transfer"))[:1].tolist()
        rows = [*first, *moved, *(int(self.reads[at]) for at in reads)]
        return [self.history[row] for row in dict.fromkeys(rows[:-1]) if row != rows[-1]] + [self.history[rows[-1]]]

    def _unexplained(self, found: Findings, unexplained: list[int]) -> None:
        """Tell the reads that no moment explains. What it is about are the transfers of as few accounts as show it."""
        ledger = self.ledger

        def tell(place: int) -> Told:
            at = unexplained[place]
            accounts, few, why = self._why(at, self._ended(at))
            numbers = np.arange(ledger.begun(self._ended(at)))
            of = np.isin(ledger.source[numbers], accounts) | np.isin(ledger.target[numbers], accounts)
            about = np.flatnonzero(of).tolist()
            return f"{self._told(at)}: {why}.", self._evidence(few or about[-_FEW:], about, at)

        found.add_rows("inconsistent-analysis", self.reads[unexplained], tell)

    def _why(self, at: int, moment: int) -> tuple[list[int], list[int], str]:
        """The accounts by which it is seen that no moment explains a read, the transfers that say so, and why."""
        ledger, names, told = self.ledger, self.names, self.told[at]
        accounts = range(len(names))
        heads = [ledger.heads(account, self.changes[at][account], moment) for account in accounts]
        for account in accounts:
            if not len(heads[account]):
                name = names[account]
                why = f"by the transfers that had begun, account {name} held {told[name]} at no moment until then"
                return [account], [], why
        began = ledger.invoked
        for one, other in combinations(accounts, 2):
            early, late = (one, other) if heads[one][-1] < heads[other][-1] else (other, one)
            if heads[early][-1] < heads[late][0]:
                none, some = int(heads[early][-1] + 1), int(heads[late][0])
                return [early, late], [none, some], (
                    f"account {names[early]} held {told[names[early]]} only before any transfer that began at "
                    f"{clock(int(began[none]))} or later, and account {names[late]} held {told[names[late]]} only after one "
                    f"that began at {clock(int(began[some]))} or later"
                )
        for one, other in combinations(accounts, 2):
            if not len(np.intersect1d(heads[one], heads[other])):
                return [one, other], [], f"accounts {names[one]} and {names[other]} held these at no one moment"
        return list(accounts), [], "the transfers of no one moment leave all of these"

    def _stale(self, found: Findings, stale: list[tuple[int, int]]) -> None:
        """Tell the reads that missed a transfer that was over before they began."""

        def tell(place: int) -> Told:
            at, missed = stale[place]
            row = int(self.reads[at])
            begun = range(self.ledger.begun(int(self.history.completed[row])))
            return (
                f"{self._told(at)}, without {self._transfer(missed)}, acknowledged at "
                f"{clock(int(self.ledger.completed[missed]))}, before it began at {clock(int(self.history.invoked[row]))}."
            ), self._evidence([missed], begun, at)

        found.add_rows("stale-read", self.reads[[at for at, _ in stale]], tell)

    def _forked(self, found: Findings, alone: list[tuple[Seen, int]]) -> None:
        """Tell pairs of reads that saw two transfers in opposite orders, of those that are explained in one way alone."""
        ledger, history = self.ledger, self.history
        seen = sorted(alone, key=lambda one: (one[0].head, len(one[0].open), one[1]))
        forks: list[tuple[int, int, int, int]] = []
        for (one, first), (other, second) in pairwise(seen):
            mine = ledger.lacking(one, other)
            if mine is not None:
                theirs = next(number for number in sorted({other.head, *other.open}) if not ledger.shows(one, number))
                forks.append((first, second, mine, theirs))

        def tell(place: int) -> Told:
            first, second, mine, theirs = forks[place]
            last = max(self._ended(first), self._ended(second))
            return (
                f"{self._told(first)}, with {self._transfer(mine)} and without {self._transfer(theirs)}, and "
                f"{self._told(second)}, with that and without the first."
            ), self._evidence([mine, theirs], range(ledger.begun(last)), first, second)

        pairs = self.reads[[[first, second] for first, second, _, _ in forks]].reshape(-1, 2)
        began, ended = history.invoked[pairs].min(axis=1, initial=NEVER), history.completed[pairs].max(axis=1, initial=0)
        found.add_all("long-fork", history.key[pairs[:, 0]], began, ended, tell)


def _by_name(value: Any) -> dict[str, int]:
    """What a read told, by the name of each account; nothing where two have the same."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    told = {str(account): balance for account, balance in pairs}
    return told if len(told) == len(value) else {}


def _moved(value: Any) -> tuple[str, str, int] | None:
    """The accounts and the amount of a transfer; None where it does not tell them."""
    if isinstance(value, dict):
        value = tuple(value.get(name) for name in ("from", "to", "amount"))
    if not isinstance(value, tuple) or len(value) != 3 or type(value[2]) is not int or abs(value[2]) >= _LARGE:
        return None
    return str(value[0]), str(value[1]), value[2]


def _total(history: History, reads: Ints, totals: NDArray[Any]) -> tuple[int, str, str]:
    """What all accounts hold together as these reads tell it, how that is known, and what is to be said of it."""
    if not len(reads):
        return 0, "", ""
    transfers = history.invoked[rows_of(history, "transfer") & (history.outcome != FAIL)]
    early = totals[history.completed[reads] < transfers.min(initial=NEVER)].tolist()
    if len(set(early)) == 1:
        return early[0], "where a read before the first transfer told", ""
    [(most, _)] = Counter(totals.tolist()).most_common(1)
    return most, "where most reads tell", f"Nobody told the total: it is taken for {most} (--model bank:{most})."


def _balances(told: Sequence[Any]) -> tuple[NDArray[Any], Ints]:
    """All balances in what reads told, read by read, and how many each told. Raises `UsageError` where one told no integers."""
    balances = [tuple(value.values()) if type(value) is dict else value for value in told]
    found = integers_of(balances)
    if found is not None:
        return found[0].astype(np.int64), found[1]
    if not {tuple}.issuperset(map(type, balances)) or not {int}.issuperset(map(type, chain.from_iterable(balances))):
        for value in balances:
            if not isinstance(value, (list, tuple)) or any(type(balance) is not int for balance in value):
                raise UsageError(f"the bank checker needs reads of balances, not {value!r}: choose another checker")
    return _numbers(list(chain.from_iterable(balances))), sizes_of(balances)


def _numbers(balances: list[int]) -> NDArray[Any]:
    with suppress(OverflowError):
        small = np.fromiter(balances, np.int64, len(balances))
        if small.min(initial=0) > -_LARGE and small.max(initial=0) < _LARGE:
            return small
    return np.array(balances, object)
