"""The two commonest checks as machine code: one call from the columns of a history to the verdict, no more.

They are the plain ways once more, for who checks many small histories: `register_search` and `append` explain why they are
right and are used where these are not loaded (see `compiled`), for whatever is left `UNDECIDED` here, and for evidence.
Importing this module loads numba, and compiles where nothing compiled is kept from before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from splitbrain.checkers.linearizability.registers.zones import INVALID, UNDECIDED, VALID
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK
from splitbrain.harness.history.values import MISSING, NIL, OBJECT, PAIR, SCALAR

_BITS = 64
"""Operations that may be pending at once."""
_EVER = int(np.iinfo(np.int64).min)
_EFFECT, _SAME, _OTHER = 0, 1, 2
"""Kinds of operations: see `register_search`."""
_FIRST_EPOCH, _NOBODY, _SEVERAL = -1, -2, -3
"""Who opened the epoch of a read, where it was no put, none can have, or it may be one of several."""
Ints, Digests = NDArray[np.int64], NDArray[np.uint64]
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(
    "int8(int64[::1], int64[::1], int8[::1], int32[::1], int8[::1], int64[::1], int64[::1], int32[::1], int64, int64, int64,"
    " int64, int64, boolean, int64, int64)",
    cache=True,
)
def register(
    starts, ends, outcomes, functions, kinds, firsts, seconds, errors, read, write, cas, mismatch, initial, wild, most,
    most_looks,
):
    """Whether the history of one register is linearizable, by the just-in-time search; `UNDECIDED` after `most` steps, or after
    `most_looks` at one operation, of which a step may take very many.

    Columns of the history; the codes of its functions and of the error `mismatch`, -2 where it has none; whether a read of
    nil tells nothing.
    """
    n = len(starts)
    ways = np.zeros(n, np.int8)
    wants, gives = np.zeros(n, np.int64), np.zeros(n, np.int64)
    free, anywhere = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    back = np.full(n, NEVER)
    kept = np.zeros(n, np.bool_)
    count = 0
    for i in range(n):
        how, f = outcomes[i], functions[i]
        if (kinds[i] == PAIR) != (f == cas):
            return UNDECIDED
        wants[i] = firsts[i]
        free[i] = how == INFO
        if f == read:
            if how != OK or kinds[i] == MISSING or (wild and firsts[i] == NIL):
                continue
            ways[i] = _SAME
        elif how == FAIL:
            if f != cas or errors[i] != mismatch:
                continue
            ways[i] = _OTHER
        elif f == write:
            anywhere[i] = True
            gives[i] = firsts[i]
        else:
            gives[i] = seconds[i]
            if firsts[i] == seconds[i]:
                if how == INFO:
                    continue
                ways[i] = _SAME
        kept[i] = True
        if how != INFO:
            back[i] = min(ends[i], NEVER - 1)
            count += 1

    # What is pending at each return: from `bounds[e]` on in `pending`, the next to return first, infos last.
    order = np.argsort(back, kind="mergesort")
    bounds = np.zeros(count + 1, np.int64)
    pending = np.zeros(max(64, 8 * count), np.int64)
    bit = np.zeros(n, np.uint64)
    slots = np.zeros(_BITS, np.uint64)
    for slot in range(_BITS):
        slots[slot] = np.uint64(1) << np.uint64(_BITS - 1 - slot)
    unused = _BITS
    active = np.zeros(_BITS, np.int64)
    held = 0
    following = 0
    e = 0
    for at in range(n):
        i = order[at]
        if not kept[i] or free[i]:
            continue
        while following < n and starts[following] <= back[i]:
            if kept[following]:
                if unused == 0:
                    return UNDECIDED
                unused -= 1
                bit[following] = slots[unused]
                place = held
                while place > 0 and back[active[place - 1]] > back[following]:
                    active[place] = active[place - 1]
                    place -= 1
                active[place] = following
                held += 1
            following += 1
        used = bounds[e]
        if used + held > most_looks:
            return UNDECIDED
        if used + held > len(pending):
            larger = np.zeros(2 * len(pending), np.int64)
            larger[:used] = pending[:used]
            pending = larger
        pending[used:used + held] = active[:held]
        bounds[e + 1] = used + held
        e += 1
        for place in range(1, held):
            active[place - 1] = active[place]
        held -= 1
        slots[unused] = bit[i]
        unused += 1

    seen = {(np.int64(-1), np.int64(0), np.uint64(0))}
    frames = [(np.int64(0), np.int64(0), np.uint64(0), np.int64(0))]
    frames.pop()
    steps = looks = 0
    e, state, mask = np.int64(0), np.int64(initial), np.uint64(0)
    while True:
        while e < count:
            i = pending[bounds[e]]
            if mask & bit[i]:
                mask ^= bit[i]
            elif ways[i] == _EFFECT or (wants[i] == state) == (ways[i] == _OTHER):
                break
            e += 1
            looks += 1
        if e == count:
            return VALID
        looks += bounds[e + 1] - bounds[e]
        for at in range(bounds[e], bounds[e + 1]):
            i = pending[at]
            if ways[i] != _EFFECT and (wants[i] == state) == (ways[i] == _SAME):
                mask |= bit[i]
        mark = (e, state, mask)
        if mark not in seen:
            seen.add(mark)
            frames.append((e, state, mask, bounds[e]))
        moved = False
        while not moved:
            if not frames:
                return INVALID
            if looks > most_looks:
                return UNDECIDED
            e, state, mask, at = frames.pop()
            while at < bounds[e + 1]:
                i = pending[at]
                at += 1
                if ways[i] != _EFFECT or mask & bit[i] or not (anywhere[i] or wants[i] == state):
                    continue
                if free[i] and gives[i] == state:
                    continue
                twin = False
                looks += at - bounds[e]
                for before in range(bounds[e], at - 1):
                    j = pending[before]
                    twin |= (
                        ways[j] == _EFFECT and not mask & bit[j] and anywhere[j] == anywhere[i] and gives[j] == gives[i]
                        and (anywhere[i] or wants[j] == wants[i])
                    )
                if twin:
                    continue
                if at < bounds[e + 1]:
                    frames.append((e, state, mask, at))
                state = gives[i]
                mask |= bit[i]
                moved = True
                break
        steps += 1
        if steps > most:
            return UNDECIDED


class _Letters(NamedTuple):
    """The letters of all texts of a history, where each text begins, and what digests of parts are made from."""

    codes: NDArray[np.uint8]
    begins: Ints
    sums: Digests
    powers: Digests


_INT = np.int64
_TEXT = np.dtype([
    ("begin", _INT), ("length", _INT), ("digest", np.uint64), ("newest", _INT), ("written", _INT),
    ("appended", _INT), ("shown", _INT),
])
"""A text that was written: where its letters begin, how many they are, their digest, the last write of it, how many wrote it,
how many of them appended it, at how many places it is shown."""
_WRITE = np.dtype([
    ("text", _INT), ("older", _INT), ("start", _INT), ("end", _INT), ("put", _INT), ("taken", _INT), ("place", _INT),
])
"""A put or an append that is not certain to have failed: its text, the write before it of the same text, its start and end,
whether it is a put, whether a read shows it, and if it is a put, where."""
_PLACE = np.dtype([
    ("text", _INT), ("behind", _INT), ("write", _INT), ("first_end", _INT), ("last_start", _INT), ("earliest", _INT),
])
"""What reads show: the beginning of the first epoch (place 0), a put, or a text behind another place. Its text, -1 where an
epoch begins; the place behind it; its write; the first end of those who read up to it, and their last start; the first end of
what is certain to be behind."""


@njit(cache=True)
def _find(letters, begin, length, table, known):
    """The text among those `known` that has these letters, -1 for none, and its slot in the table from digests to texts."""
    digest = letters.sums[begin + length] - letters.sums[begin] * letters.powers[length]
    slot = np.int64(digest % np.uint64(len(table)))
    while table[slot] >= 0:
        text = table[slot]
        if known[text].digest == digest and known[text].length == length:
            other = known[text].begin
            at = 0
            while at < length and letters.codes[begin + at] == letters.codes[other + at]:
                at += 1
            if at == length:
                return text, slot
        slot = slot + 1 if slot + 1 < len(table) else 0
    return np.int64(-1), slot


@njit(cache=True)
def _apart(lows, highs, starts, stops):
    """Whether no two of these chains precede each other (the rule of zones). The last two are room for the forward ones."""
    forward = 0
    for at in range(len(lows)):
        if lows[at] < highs[at]:
            starts[forward], stops[forward] = lows[at], highs[at]
            forward += 1
    starts, stops = starts[:forward], stops[:forward]
    if forward > 1:
        order = np.argsort(starts, kind="mergesort")
        starts, stops = starts[order], stops[order]
        for at in range(1, forward):
            if starts[at] < stops[at - 1]:
                return False
    for at in range(len(lows) if forward else 0):
        if lows[at] >= highs[at]:
            zone = np.searchsorted(starts, highs[at]) - 1
            if zone >= 0 and lows[at] < stops[zone]:
                return False
    return True


@njit(cache=True)
def _take_writes(rows, columns, codes, letters, table, known, lengths, writes):
    """Take up the writes of a key, in the order of their start, and their texts: how many writes there are, and how many
    `lengths`, ascending. -1 writes where the key cannot be decided here."""
    starts, ends, outcomes, functions, kinds, firsts = columns
    get, put, add = codes
    undecided = -1, 0
    count = texts = sizes = 0
    for i in rows:
        is_text = kinds[i] == OBJECT
        if functions[i] == get:
            if outcomes[i] == OK and not is_text and not (kinds[i] == SCALAR and firsts[i] == NIL):
                return undecided
            continue
        if outcomes[i] == FAIL:
            continue
        if not is_text or (functions[i] != put and functions[i] != add):
            return undecided
        begin = letters.begins[firsts[i]]
        length = letters.begins[firsts[i] + 1] - 1 - begin
        if length == 0:
            return undecided
        text, slot = _find(letters, begin, length, table, known)
        if text < 0:
            text = texts
            table[slot] = text
            known[text].begin, known[text].length = begin, length
            known[text].digest = letters.sums[begin + length] - letters.sums[begin] * letters.powers[length]
            known[text].newest = -1
            known[text].written = known[text].appended = known[text].shown = 0
            texts += 1
            place = sizes
            while place > 0 and lengths[place - 1] >= length:
                place -= 1
            if place == sizes or lengths[place] != length:
                for at in range(sizes, place, -1):
                    lengths[at] = lengths[at - 1]
                lengths[place] = length
                sizes += 1
        write = writes[count]
        write.start, write.end = starts[i], NEVER if outcomes[i] == INFO else ends[i]
        write.put, write.taken, write.place = functions[i] == put, 0, -1
        write.text, write.older = text, known[text].newest
        known[text].newest = count
        known[text].written += 1
        known[text].appended += functions[i] == add
        count += 1
    for text in range(texts):
        for at in range(sizes):
            if lengths[at] >= known[text].length:
                break
            if _find(letters, known[text].begin, lengths[at], table, known)[0] >= 0:
                return undecided
    return count, sizes


@njit(cache=True)
def _epoch(newest, writes, start, end):
    """The epoch of a read from `start` to `end` that begins with a text that several wrote, the last of them `newest`: a put,
    `_FIRST_EPOCH`, `_NOBODY`, or `_SEVERAL` where there is a choice."""
    closed, replaced = NEVER, _EVER
    for at in range(len(writes)):
        if writes[at].put:
            closed = min(closed, writes[at].end)
            if writes[at].end < start:
                replaced = max(replaced, writes[at].start)
    found = _NOBODY
    at = newest
    while at >= 0:
        write = writes[at]
        epoch = at if write.put else _FIRST_EPOCH
        open_then = write.end >= replaced if write.put else closed >= start
        if write.start <= end and open_then and found != epoch:
            if found != _NOBODY:
                return _SEVERAL
            found = epoch
        at = write.older
    return found


@njit(cache=True)
def _take_reads(rows, columns, codes, letters, table, known, lengths, writes, places):
    """Take up what was read: how many places that shows, and `VALID` unless a read settles the status."""
    starts, ends, outcomes, functions, kinds, firsts = columns
    for place in range(len(writes) + 2):
        places[place].text = places[place].behind = places[place].write = -1
        places[place].first_end, places[place].last_start = NEVER, _EVER
    count = 1
    for i in rows:
        if functions[i] != codes[0] or outcomes[i] != OK:
            continue
        place = at = begin = stop = 0
        if kinds[i] == OBJECT:
            begin, stop = letters.begins[firsts[i]], letters.begins[firsts[i] + 1] - 1
            at = begin
        while at < stop:
            text = np.int64(-1)
            for length in lengths:
                if text < 0 and at + length <= stop:
                    text = _find(letters, at, length, table, known)[0]
            if text < 0:
                return count, INVALID
            epoch = _FIRST_EPOCH
            if at == begin and known[text].appended < known[text].written:
                epoch = known[text].newest
                if known[text].written > 1:
                    epoch = _epoch(epoch, writes, starts[i], ends[i])
                if epoch == _SEVERAL:
                    return count, UNDECIDED
                if epoch == _NOBODY:
                    return count, INVALID
            at += known[text].length
            if epoch != _FIRST_EPOCH:
                if writes[epoch].place < 0:
                    writes[epoch].place, places[count].write = count, epoch
                    count += 1
                place = writes[epoch].place
                continue
            if places[place].behind < 0:
                known[text].shown += 1
                if known[text].shown > known[text].appended:
                    return count, INVALID
                places[place].behind, places[count].text = count, text
                count += 1
            elif places[places[place].behind].text != text:
                return count, INVALID
            place = places[place].behind
        places[place].first_end = min(places[place].first_end, ends[i])
        places[place].last_start = max(places[place].last_start, starts[i])
    return count, VALID


@njit(cache=True)
def _line_up(head, chain, known, writes, places):
    """Put the places of the chain that begins at `head` into `chain`: how many they are. Sets the writes that are certain."""
    length = 0
    place = head
    while place >= 0:
        chain[length] = place
        length += 1
        place = places[place].behind
    after = NEVER
    for at in range(length - 1, -1, -1):
        place = chain[at]
        after = min(after, places[place].first_end)
        places[place].earliest = after
        text = places[place].text
        if text >= 0 and known[text].written == 1:
            places[place].write = known[text].newest
            after = min(after, writes[known[text].newest].end)
    return length


@njit(cache=True)
def _ordered(chain, known, writes, places):
    """Whether a chain is in order, with its first end and its last start.

    Of several appends of one text the only one that can be at a place is; `UNDECIDED` where there are more.
    """
    # What is certain to be before a place began no later than `latest`; `high` counts the choices made, too.
    low, high, latest = _EVER, _EVER, _EVER
    for number in range(len(chain)):
        place = places[chain[number]]
        text = place.text
        if text >= 0 and known[text].written > 1:
            at = known[text].newest
            while at >= 0:
                if not writes[at].put and writes[at].end >= latest and writes[at].start <= place.earliest:
                    if place.write >= 0:
                        return UNDECIDED, low, high
                    place.write = at
                at = writes[at].older
            if place.write < 0:
                return INVALID, low, high
        if place.write >= 0:
            write = writes[place.write]
            if write.taken or write.end < high:
                return INVALID, low, high
            write.taken = 1
            low = write.end if number == 0 else min(low, write.end)
            high = max(high, write.start)
            if text < 0 or known[text].written == 1:
                latest = max(latest, write.start)
        if place.first_end < high:
            return INVALID, low, high
        low, high = min(low, place.first_end), max(high, place.last_start)
        latest = max(latest, place.last_start)
    return VALID, low, high


@njit(cache=True)
def _key(rows, columns, codes, letters, table, known, writes, places, room):
    """The status of one key, of which these are the rows. The last five are room for what is found out about it."""
    table = table[:2 * len(rows) + 1]
    table[:] = -1
    count, sizes = _take_writes(rows, columns, codes, letters, table, known, room[0], writes)
    if count < 0:
        return UNDECIDED
    writes = writes[:count]
    shown, status = _take_reads(rows, columns, codes, letters, table, known, room[0, :sizes], writes, places)
    if status != VALID:
        return status
    chain, lows, highs = room[1], room[2], room[3]
    chains = 0
    for head in range(shown):
        if places[head].text < 0:
            length = _line_up(head, chain, known, writes, places)
            status, low, high = _ordered(chain[:length], known, writes, places)
            if status != VALID:
                return status
            lows[chains], highs[chains] = low, high
            chains += 1
    for at in range(count):
        if not writes[at].taken:
            lows[chains], highs[chains] = writes[at].end, writes[at].start
            chains += 1
    return VALID if _apart(lows[:chains], highs[:chains], room[4], room[5]) else INVALID


@njit("Tuple((int64[::1], uint64[::1], uint64[::1]))(uint8[::1], int64)", cache=True)
def digests(letters, objects):
    """Where each text begins, the digest of all letters up to each place, and what digests of parts are made from. `letters`
    are the texts of so many `objects`, each followed by a zero; where there are zeros in the texts themselves, none begins."""
    begins = np.zeros(objects + 1, np.int64)
    sums = np.zeros(len(letters) + 1, np.uint64)
    powers = np.ones(len(letters) + 1, np.uint64)
    at = 0
    for place in range(len(letters)):
        sums[place + 1] = sums[place] * _FACTOR + np.uint64(letters[place]) + np.uint64(1)
        powers[place + 1] = powers[place] * _FACTOR
        if letters[place] == 0:
            at += 1
            if at <= objects:
                begins[at] = place + 1
    return (begins if at == objects else begins[:0]), sums, powers


@njit(
    "void(int64[::1], int64[::1], int8[::1], int32[::1], int32[::1], int8[::1], int64[::1], uint8[::1], int64[::1],"
    " uint64[::1], uint64[::1], int64, int64, int64, boolean, int64[::1], int8[::1])",
    cache=True,
)
def append(
    starts, ends, outcomes, functions, keys, kinds, firsts, letters, begins, sums, powers, get, put, add, every_key, order,
    status,
):
    """Set `status` for some keys of a history of `get`, `put` and `append` (`add`): see `append.decide`.

    Columns of the history; what `digests` tells of `letters`; the `order` of the rows of these keys by key. Besides what the
    plain way leaves `UNDECIDED`, this leaves keys where texts were written several times and it is not certain which was read,
    and without `every_key` those behind one that is `INVALID`.
    """
    n = len(order)
    columns = starts, ends, outcomes, functions, kinds, firsts
    told = _Letters(letters, begins, sums, powers)
    table, room = np.empty(2 * n + 1, np.int64), np.empty((6, n + 2), np.int64)
    known, writes, places = np.empty(n, _TEXT), np.empty(n, _WRITE), np.empty(n + 2, _PLACE)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and keys[order[end]] == keys[order[begin]]:
            end += 1
        code = keys[order[begin]] + 1
        status[code] = _key(order[begin:end], columns, (get, put, add), told, table, known, writes, places, room)
        if status[code] == INVALID and not every_key:
            return
        begin = end
