"""Zones and chains: registers whose written values are all distinct, decided for all keys at once in O(n log n).

After Gibbons & Korach, "Testing shared memories" (1997). The operations on one value form its *cluster*: the write and the
reads of it. With f the earliest return and s the latest invocation in a cluster, f < s makes a *forward zone* [f, s], in
which the register certainly holds that value, and otherwise a *backward zone* [s, f], somewhere in which it does. A history
is linearizable exactly if nothing is read before it is written, every value read was written, forward zones are disjoint
and no backward zone lies inside a forward one; the last two say that no two zones precede each other.

A compare-and-set a→b that took effect glues the clusters of a and b into one *chain*, a contiguous part of every
linearization. The order within a chain is known (write, reads, cas, reads, ...): no operation may return before one of an
earlier link is invoked. Between chains the zone rule holds as it does between clusters, because every cycle of precedences
contains one of length two.

Indeterminate operations: a write or cas whose value was seen did happen, before the first who saw it returned; its own
return is unknown, so it bounds nothing. One whose value nobody saw may be left out, since the rest can only become easier,
but for a refused compare-and-set that needs it as the reason.

Refused compare-and-sets that told what they saw are reads of it. For the others see `refusals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.registers.refusals import Witness
from splitbrain.checkers.models.specifications import CasRegister, Register, check_functions
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.values import MISSING, NIL, OBJECT, PAIR, SCALAR, canonical

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int32]

UNDECIDED, VALID, INVALID = 0, 1, 2
ABSENT = -1
"""Of a key without operations."""


def decide(history: History, model: Register, budget: Budget = FOREVER) -> NDArray[np.int8]:
    """`VALID`, `INVALID`, `UNDECIDED` or `ABSENT` for every key: entry 0 for operations without a key, c + 1 for key code c.

    A key is undecided where a value was written twice (or is also the initial one), or where no order is found that
    gives every refused compare-and-set its reason, or where the budget does not suffice.
    Raises `UsageError` for a function that the model does not know.
    """
    return _Zones(history, model, budget).status


def refused_in_vain(history: History, model: Register, budget: Budget = FOREVER) -> list[int]:
    """The rows of refused compare-and-sets that had no moment at which the register did not hold what they expected."""
    found: list[int] = _Zones(history, model, budget).refuted.tolist()
    return found


def chains(history: History, model: Register, budget: Budget = FOREVER) -> Chains | None:
    """The chains of the history of one key with distinct values; None where a compare-and-set was refused without a word of
    what was there, which may concern every chain, or where the budget does not suffice."""
    return _Zones(history, model, budget, keep_chains=True).chains


@dataclass(frozen=True)
class Chains:
    """The chains of one key. `root[i]` is the chain of operation `rows[i]`, which was invoked at `inv[i]` and returned at
    `ret[i]`; a row of a link stands for the cluster that it made. By chain: `low` is the earliest return, `high` the latest
    invocation, `wrong` whether it contradicts itself; `present` are the chains that there are."""

    rows: Ints
    root: Codes
    inv: Ints
    ret: Ints
    low: Ints
    high: Ints
    wrong: Bools
    present: Ints


@dataclass(slots=True)
class _Coded:
    """Values as dense integers, the same for equal values of the same key: `code[i]` for item i, `size` codes in all."""

    code: Codes
    size: int


class _Zones:
    def __init__(self, history: History, model: Register, budget: Budget, *, keep_chains: bool = False) -> None:
        self.budget = budget
        self.refuted = np.empty(0, np.int64)
        self.chains: Chains | None = None
        keys = len(history.keys) + 1
        self.bad = np.zeros(keys, np.bool_)
        self.unsure = np.zeros(keys, np.bool_)
        if len(history):
            try:
                self._judge(history, model, keys, keep_chains)
            except Exhausted:
                self.unsure |= ~self.bad
        self.status = np.where(self.unsure, UNDECIDED, np.where(self.bad, INVALID, VALID)).astype(np.int8)
        self.status[np.bincount(history.key + 1, minlength=keys) == 0] = ABSENT

    def _judge(self, history: History, model: Register, keys: int, keep_chains: bool) -> None:
        names = {name: code for code, name in enumerate(history.fs)}
        f, outcome = history.f, history.outcome
        check_functions(model, (history.fs[code] for code in np.flatnonzero(np.bincount(f, minlength=1)).tolist()))
        ok, info = outcome == OK, outcome == INFO
        read = ok & (f == names.get("read", -1))
        write = (f == names.get("write", -1)) & (ok | info)
        cas = (f == names.get("cas", -1)) if isinstance(model, CasRegister) else np.zeros(len(f), np.bool_)
        values = history.values
        read &= values.kind != MISSING
        if model.nil == "wildcard":
            read &= (values.kind != SCALAR) | (values.first != NIL)

        reads, writes = np.flatnonzero(read), np.flatnonzero(write)
        swaps = np.flatnonzero(cas & (ok | info))
        refusals = np.empty(0, np.int64)
        if MISMATCH in history.errors:
            refusals = np.flatnonzero(cas & (outcome == FAIL) & (history.error == history.errors.index(MISMATCH)))

        # Values: what was read, written, expected and set, refused, seen, and every key's initial one.
        seers = refusals[:0]
        if history.seen:
            seers = np.intersect1d(refusals, np.fromiter(history.seen, np.int64, len(history.seen)), assume_unique=True)
        blind = np.setdiff1d(refusals, seers, assume_unique=True) if len(seers) else refusals
        self.budget.check()
        coded = self._code(history, model, reads, writes, swaps, blind, seers, keys)
        self.budget.check()
        cuts = np.cumsum([len(reads), len(writes), len(swaps), len(swaps), len(blind), len(seers), len(seers)])
        c_read, c_write, c_from, c_to, c_blind, c_seen, c_spurned, c_initial = np.split(coded.code, cuts)
        size = coded.size

        # Time, with the keys one after another so that one sort serves them all. 0 is before everything in a key.
        key = history.key + np.int32(1)
        returned = np.where(info, NEVER, history.completed)
        start = int(history.invoked.min())
        finite = int(np.max(history.completed, where=history.completed != NEVER, initial=start))
        end = max(int(history.invoked.max()), finite) + 2
        if (end - start + 2) * keys < 1 << 61:
            span = end - start + 2
            inv = history.invoked - (start - 1)
            ret = np.minimum(returned, end, out=returned)
            ret -= start - 1
        else:
            moments = np.unique(np.concatenate([history.invoked, returned]))
            span = len(moments) + 2
            inv = np.searchsorted(moments, history.invoked).astype(np.int64) + 1
            ret = np.searchsorted(moments, returned).astype(np.int64) + 1
        offset = np.multiply(key, span, dtype=np.int64)
        inv += offset
        ret += offset
        del offset, returned
        never = np.int64(np.iinfo(np.int64).max)

        owner = np.zeros(size, np.int32)
        for rows, codes in ((reads, c_read), (writes, c_write), (swaps, c_from), (swaps, c_to), (blind, c_blind),
                            (seers, c_seen), (seers, c_spurned)):
            owner[codes] = key[rows]
        owner[c_initial] = np.arange(keys)
        self.unsure[key[seers[c_seen == c_spurned]]] = True

        # A cas a→a reads a. An info cas counts only if its value was seen, directly or through others that count.
        same = c_from == c_to
        sure = ok[swaps]
        watched = np.zeros(size, np.bool_)
        watched[c_read] = True
        watched[c_seen] = True
        watched[c_from[sure]] = True
        happened = sure & ~same
        maybe = np.flatnonzero(~sure & ~same)
        if len(maybe):
            happened[self._needed(maybe, c_from, c_to, watched)] = True
        selfish = np.flatnonzero(sure & same)
        links = np.flatnonzero(happened)
        source, target, link_rows = c_from[links], c_to[links], swaps[links]

        # Who wrote it: exactly one writer per value, else the key is not for us. An unseen info cas is out already.
        writers = np.bincount(c_write, minlength=size) + np.bincount(target, minlength=size)
        writers += np.bincount(c_initial, minlength=size)
        twice = writers > 1
        if twice.any():
            self.unsure[owner[twice]] = True
        unwritten = watched & (writers == 0)
        if unwritten.any():
            self.bad[owner[unwritten]] = True

        write_inv = np.full(size, -1, np.int64)
        write_ret = np.full(size, never)
        write_inv[c_write], write_ret[c_write] = inv[writes], ret[writes]
        write_inv[target], write_ret[target] = inv[link_rows], ret[link_rows]
        write_inv[c_initial] = write_ret[c_initial] = np.arange(keys) * span

        observers = np.concatenate([reads, seers, swaps[selfish]])
        observed = np.concatenate([c_read, c_seen, c_from[selfish]])
        first_seen = np.full(size, never)
        last_sought = np.full(size, -1, np.int64)
        np.minimum.at(first_seen, observed, ret[observers])
        np.maximum.at(last_sought, observed, inv[observers])

        self.budget.check()
        # Chains.
        branches = np.bincount(source, minlength=size) > 1
        if branches.any():
            self.bad[owner[branches]] = True
        root = np.arange(size, dtype=np.int32)
        early = first_seen < write_inv
        if early.any():
            self.bad[owner[early]] = True
        disordered = np.empty(0, np.int32)
        if len(links):
            disordered = self._chain(root, source, target, owner, span, write_inv, write_ret, first_seen, last_sought)

        self.budget.check()
        # The zone rule, on whole chains.
        present = (writers > 0) | watched
        low = np.minimum(first_seen, write_ret)
        high = np.maximum(last_sought, write_inv)
        if len(links):
            chain_low, chain_high = low.copy(), high.copy()
            alone = root == np.arange(size, dtype=np.int32)
            at = np.flatnonzero(~alone)
            np.minimum.at(chain_low, root[at], low[at])
            np.maximum.at(chain_high, root[at], high[at])
            whole = np.flatnonzero(present & alone)
            self._zone_rule(chain_low[whole], chain_high[whole], owner[whole])
        else:
            chain_low, chain_high, whole = low, high, np.flatnonzero(present)
            self._zone_rule(low[whole], high[whole], owner[whole])
        if keep_chains and not len(blind):
            wrong = branches | unwritten | early
            wrong[disordered] = True
            rows = np.concatenate([observers, writes, link_rows])
            of = root[np.concatenate([observed, c_write, target])]
            wrong[root[wrong]] = True
            self.chains = Chains(rows, of, inv[rows], ret[rows], chain_low, chain_high, wrong, whole)

        if len(blind):
            # A link's operation belongs to the clusters on both of its sides.
            np.minimum.at(low, source, ret[link_rows])
            np.maximum.at(high, source, inv[link_rows])
            needed = writers[c_blind] > 0
            doubtful, code = blind[needed], c_blind[needed]
            clusters = np.flatnonzero(present)
            reasons = _reasons(clusters, low, high, write_inv, code, inv[doubtful], ret[doubtful]) | self.bad[key[doubtful]]
            doubtful, code = doubtful[~reasons], code[~reasons]
            if len(doubtful):
                lost = maybe[~happened[maybe]]
                spare = np.zeros(size, np.bool_)
                spare[c_write[info[writes]]] = True
                spare[watched] = False
                self._refused(
                    history, doubtful, code, key, inv, ret, low, high, write_inv, chain_low, chain_high, whole, root, source,
                    target, c_from[lost], inv[swaps[lost]], ~np.isin(c_to[lost], c_blind), spare, owner,
                )

    def _refused(
        self, history: History, rows: Ints, code: Codes, key: Codes, inv: Ints, ret: Ints, low: Ints, high: Ints,
        write_inv: Ints, chain_low: Ints, chain_high: Ints, whole: Ints, root: Codes, source: Codes, target: Codes,
        spare_from: Codes, spare_inv: Ints, unasked: Bools, spare: Bools, owner: Codes,
    ) -> None:
        """Decide the keys of refused compare-and-sets that have no certain reason: see `refusals`. `unasked` are the spare
        compare-and-sets whose new value no refused one expects."""
        after = np.full(len(low), -1, np.int32)
        after[source] = target
        first, last = inv[rows], ret[rows]
        # Who might come next before the refusal returned.
        by_inv = whole[np.argsort(write_inv[whole], kind="stable")]
        at = np.searchsorted(write_inv[by_inv], last, side="right")
        others = _greatest_other(by_inv, chain_low, at, root[code].astype(np.int64), -1) >= chain_high[root[code]]
        following = after[code]
        others = np.where(following >= 0, write_inv[following] <= last, others)
        possible = (first <= low[code]) | ((high[code] <= last) & (others | np.isin(code, spare_from)))
        self.refuted = rows[~possible]
        self.bad[key[self.refuted]] = True
        left = ~self.bad[key[rows]] & ~self.unsure[key[rows]]
        if not left.any():
            return
        rows, code, first, last = rows[left], code[left], first[left], last[left]
        affected = np.zeros(len(self.bad), np.bool_)
        affected[key[rows]] = True
        refusals: dict[int, dict[int, list[tuple[int, int]]]] = {}
        for k, value, began, ended in zip(key[rows].tolist(), code.tolist(), first.tolist(), last.tolist(), strict=True):
            refusals.setdefault(k, {}).setdefault(value, []).append((began, ended))
        roots: dict[int, list[tuple[int, int, int]]] = {k: [] for k in refusals}
        spares: dict[int, list[int]] = {k: [] for k in refusals}
        lows, highs, invs = low.tolist(), high.tolist(), write_inv.tolist()
        mine = whole[affected[owner[whole]]]
        for k, value, a, b, may in zip(
            owner[mine].tolist(), mine.tolist(), chain_low[mine].tolist(), chain_high[mine].tolist(), spare[mine].tolist(),
            strict=True,
        ):
            if not may:
                roots[k].append((value, a, b))
            elif value not in refusals[k]:
                spares[k].append(invs[value])
        swapped: dict[int, int] = {}
        for value, began in zip(spare_from[unasked].tolist(), spare_inv[unasked].tolist(), strict=True):
            swapped[value] = min(began, swapped.get(value, began))
        chained = dict(zip(source.tolist(), target.tolist(), strict=True))
        for k, calls in refusals.items():
            witness = Witness(lows, highs, invs, chained, roots[k], calls, spares[k], swapped)
            if self.budget.over or not witness.found():
                self.unsure[k] = True

    def _code(
        self, history: History, model: Register, reads: Ints, writes: Ints, swaps: Ints, blind: Ints, seers: Ints, keys: int
    ) -> _Coded:
        """The values of these rows, in this order: read, written, expected, set, expected by blind, seen, expected by
        seers, and the initial value of every key."""
        values = history.values
        pairs = np.concatenate([swaps, blind, seers])
        plain = np.concatenate([reads, writes])
        kinds = np.bincount(values.kind[plain], minlength=4), np.bincount(values.kind[pairs], minlength=4)
        initial = model.initial
        initial_plain = initial is None or (type(initial) is int and NIL < initial < -NIL)
        told = _plain([history.seen[row][0] for row in seers.tolist()])
        all_plain = initial_plain and told is not None
        if all_plain and kinds[0][PAIR] + kinds[0][OBJECT] == 0 and kinds[1].sum() == kinds[1][PAIR]:
            first = int(initial) if initial is not None else NIL  # type: ignore[call-overload]
            raw = np.concatenate([
                values.first[plain], values.first[swaps], values.second[swaps], values.first[blind], told,
                values.first[seers], np.full(keys, first),
            ])
        else:
            known: dict[object, int] = {}
            objects: dict[int, int] = {}
            numbers: list[int] = []

            def number(value: object) -> int:
                return known.setdefault(canonical(value), len(known))

            for row, kind, at in zip(plain.tolist(), values.kind[plain].tolist(), values.first[plain].tolist(), strict=True):
                if kind == OBJECT:
                    if at not in objects:
                        objects[at] = number(values[row])
                    numbers.append(objects[at])
                else:
                    numbers.append(number(values[row]))
            couples = []
            for row in pairs.tolist():
                couple = values[row]
                if type(couple) not in (tuple, list) or len(couple) != 2:
                    place = int(history.index[row])
                    raise UsageError(f"operation {place}, cas {couple!r}: a cas needs a pair (expected, new)")
                couples.append((number(couple[0]), number(couple[1])))
            expected, new = [c[0] for c in couples], [c[1] for c in couples]
            m, b = len(swaps), len(blind)
            seen = [number(history.seen[row][0]) for row in seers.tolist()]
            numbers += expected[:m] + new[:m] + expected[m:m + b] + seen + expected[m + b:] + [number(initial)] * keys
            raw = np.array(numbers, np.int64)

        key = history.key
        where = np.concatenate([
            key[plain], key[swaps], key[swaps], key[blind], key[seers], key[seers], np.arange(-1, keys - 1, dtype=np.int32),
        ])
        where += 1
        return _dense(raw, where, keys)

    def _needed(self, maybe: Ints, c_from: Codes, c_to: Codes, watched: Bools) -> list[int]:
        """Which of the indeterminate swaps did happen, because their value was seen; marks what they saw in turn."""
        makers: dict[int, list[int]] = {}
        for at, code in zip(maybe.tolist(), c_to[maybe].tolist(), strict=True):
            makers.setdefault(code, []).append(at)
        found = []
        work = [code for code in makers if watched[code]]
        while work:
            for at in makers.pop(work.pop(), ()):
                found.append(at)
                seen = int(c_from[at])
                if not watched[seen]:
                    watched[seen] = True
                    work.append(seen)
        return found

    def _chain(
        self, root: Codes, source: Codes, target: Codes, owner: Codes, span: int,
        write_inv: Ints, write_ret: Ints, first_seen: Ints, last_sought: Ints,
    ) -> Codes:
        """Set `root` to the first value of each value's chain, and check the order within every chain; values of those that
        are out of order."""
        size = len(root)
        members = np.unique(np.concatenate([source, target]))
        place = np.empty(size, np.int32)
        place[members] = np.arange(len(members), dtype=np.int32)
        up = np.arange(len(members), dtype=np.int32)
        up[place[target]] = place[source]
        del place
        depth = (up != np.arange(len(members), dtype=np.int32)).astype(np.int32)
        parent = up.copy()
        for _ in range(len(members).bit_length() + 1):
            further = up[up]
            if (further == up).all():
                break
            depth += depth[up]
            up = further
        endless = parent[up] != up
        if endless.any():
            self.unsure[owner[members[endless]]] = True
        root[members] = members[up]
        order = np.lexsort((depth, up))
        ordered = members[order]
        # Levels: the write, then the reads, of each value along the chain, in times of the key alone.
        base = np.multiply(owner[ordered], span, dtype=np.int64)
        latest = np.empty(2 * len(ordered), np.int64)
        earliest = np.empty(2 * len(ordered), np.int64)
        latest[0::2], latest[1::2] = write_inv[ordered] - base, np.maximum(last_sought[ordered] - base, -1)
        earliest[0::2], earliest[1::2] = write_ret[ordered], first_seen[ordered]
        earliest -= np.repeat(base, 2)
        np.maximum(latest, -1, out=latest)
        segment = np.repeat(np.cumsum(np.concatenate([[0], np.diff(up[order]) != 0])), 2)
        if (int(segment[-1]) + 2) * (span + 2) >= 1 << 62:
            moments = np.unique(np.concatenate([latest, earliest]))
            latest, earliest = np.searchsorted(moments, latest), np.searchsorted(moments, earliest)
            span = len(moments)
        before = np.maximum.accumulate(latest + 1 + segment * (span + 2))[:-1] - segment[1:] * (span + 2) - 1
        wrong = earliest[1:] < before
        disordered: Codes = np.repeat(ordered, 2)[1:][wrong]
        self.bad[owner[disordered]] = True
        return disordered

    def _zone_rule(self, low: Ints, high: Ints, owner: Codes) -> None:
        forward = low < high
        zones = np.flatnonzero(forward)
        zones = zones[np.argsort(low[zones], kind="stable")]
        starts, ends = low[zones], high[zones]
        clash = starts[1:] < ends[:-1]
        if clash.any():
            self.bad[owner[zones[1:][clash]]] = True
        if not len(zones):
            return
        points = np.flatnonzero(~forward)
        around = np.searchsorted(starts, high[points], side="left") - 1
        inside = (around >= 0) & (low[points] < ends[around])
        if inside.any():
            self.bad[owner[points[inside]]] = True


def _plain(values: list[object]) -> Ints | None:
    """Integers and None as they are kept in columns; None where some are of another kind."""
    if not set(map(type, values)) <= {int, type(None)}:
        return None
    try:
        column = np.array([NIL if value is None else value for value in values], np.int64)
    except OverflowError:
        return None
    return column if np.count_nonzero(column == NIL) == values.count(None) else None


def _dense(raw: Ints, where: NDArray[np.int32], keys: int) -> _Coded:
    """Numbers for the values `raw` of the keys `where`, from 0 and without gaps."""
    nil = raw == NIL
    real = raw[~nil] if nil.any() else raw
    least, most = (int(real.min()), int(real.max())) if len(real) else (0, 0)
    del real
    width = most - least + 2
    if width * keys > 4 * len(raw) + 65536:
        distinct, inverse = np.unique(raw, return_inverse=True)
        if len(distinct) * keys > 4 * len(raw) + 65536:
            distinct, inverse = np.unique(where * np.int64(len(distinct)) + inverse, return_inverse=True)
            return _Coded(inverse.astype(np.int32), len(distinct))
        width = len(distinct)
        place = inverse
    else:
        place = raw
        place -= least - 1
        place[nil] = 0
    place += np.multiply(where, width, dtype=np.int64)
    used = np.zeros(width * keys, np.bool_)
    used[place] = True
    number = np.cumsum(used, dtype=np.int32)
    number -= 1
    return _Coded(number[place], int(number[-1]) + 1)


def _reasons(clusters: Ints, low: Ints, high: Ints, write_inv: Ints, code: Codes, inv: Ints, ret: Ints) -> Bools:
    """Whether the register certainly held another value than `code` at some moment of each refused cas [inv, ret].

    `clusters` are the values present; the keys that are linearizable without the refusals are meant. It held another one if
    the cas began before `code` was written, or another value b certainly held sway within the call, or b came after `code`
    and was there before the call, or b came before `code` and was still there after the call.
    """
    f, s = low[clusters], high[clusters]
    place = np.searchsorted(clusters, code)
    found: Bools = inv <= write_inv[code]

    def other(order: Ints, best: Ints, at: Ints, worst: int) -> Ints:
        return _greatest_other(order, best, at, place, worst)

    least = np.iinfo(np.int64).min + 2
    by_f = np.argsort(f, kind="stable")
    found |= other(by_f, s, np.searchsorted(f[by_f], inv, side="left"), least) > low[code]
    by_s = np.argsort(-s, kind="stable")
    found |= -other(by_s, -f, np.searchsorted(-s[by_s], -ret, side="left"), least) < high[code]
    points = np.flatnonzero(f >= s)
    by_s = points[np.argsort(-s[points], kind="stable")]
    found |= -other(by_s, -f, np.searchsorted(-s[by_s], -inv, side="right"), least) <= ret
    zones = np.flatnonzero(f < s)
    by_f = zones[np.argsort(f[zones], kind="stable")]
    found |= other(by_f, s, np.searchsorted(f[by_f], ret, side="right"), least) >= inv
    return found


def _greatest_other(order: Ints, best: Ints, at: Ints, own: Ints, worst: int) -> Ints:
    """For each question i the greatest of `best` among the first `at[i]` of `order` without `own[i]`, `worst` where there
    is none."""
    if not len(order):
        return np.full(len(at), worst)
    value = best[order]
    top = np.maximum.accumulate(value)
    second = np.maximum.accumulate(np.minimum(value, np.concatenate([[worst], top[:-1]])))
    holder = np.maximum.accumulate(np.where(value == top, np.arange(len(order)), -1))
    chosen = np.maximum(at - 1, 0)
    return np.where(at == 0, worst, np.where(order[holder[chosen]] == own, second[chosen], top[chosen]))
