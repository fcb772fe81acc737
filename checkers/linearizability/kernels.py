"""The two commonest checks as machine code: one call from the columns of a history to the verdict, no more.

They are the plain ways once more, for who checks many small histories: `register_search` and `append` explain why they are
right and are used where these are not loaded (see `compiled`), for whatever is left `UNDECIDED` here, and for evidence.
Importing this module loads numba, and compiles where nothing compiled is kept from before.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from checkers.linearizability.zones import INVALID, UNDECIDED, VALID
from harness.history.history import FAIL, INFO, NEVER, OK
from harness.history.values import MISSING, NIL, OBJECT, PAIR, SCALAR

_BITS = 64
"""Operations that may be pending at once."""
_EVER = int(np.iinfo(np.int64).min)
_EFFECT, _SAME, _OTHER = 0, 1, 2
"""Kinds of operations: see `register_search`."""
_FIRST_EPOCH, _NOBODY, _SEVERAL = -1, -2, -3
"""Who opened the epoch of a read, where it was no put, none can have, or it may be one of several."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@njit(
    "int8(int64[::1], int64[::1], int8[::1], int32[::1], int8[::1], int64[::1], int64[::1], int32[::1], int64, int64, int64,"
    " int64, int64, boolean, int64)",
    cache=True,
)
def register(
    starts, ends, outcomes, functions, kinds, firsts, seconds, errors, read, write, cas, mismatch, initial, wild, most,
):
    """Whether the history of one register is linearizable, by the just-in-time search; `UNDECIDED` after `most` steps.

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
    steps = 0
    e, state, mask = np.int64(0), np.int64(initial), np.uint64(0)
    while True:
        while e < count:
            i = pending[bounds[e]]
            if mask & bit[i]:
                mask ^= bit[i]
            elif ways[i] == _EFFECT or (wants[i] == state) == (ways[i] == _OTHER):
                break
            e += 1
        if e == count:
            return VALID
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
            e, state, mask, at = frames.pop()
            while at < bounds[e + 1]:
                i = pending[at]
                at += 1
                if ways[i] != _EFFECT or mask & bit[i] or not (anywhere[i] or wants[i] == state):
                    continue
                if free[i] and gives[i] == state:
                    continue
                twin = False
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


@njit(cache=True)
def _written(letters, begin, length, digest, table, begins, lengths, digests):
    """Which write has these letters as its text, -1 for none. `table` is addressed by the digests of texts."""
    size = len(table)
    slot = np.int64(digest % np.uint64(size))
    while table[slot] >= 0:
        write = table[slot]
        if digests[write] == digest and lengths[write] == length:
            same = True
            for at in range(length):
                if letters[begin + at] != letters[begins[write] + at]:
                    same = False
                    break
            if same:
                return write
        slot = slot + 1 if slot + 1 < size else 0
    return np.int64(-1)


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
def _head(head, newest, older, is_put, w_start, w_end, count, start, end):
    """The epoch of a read from `start` to `end` that begins with this text, which several wrote: a put, `_FIRST_EPOCH`,
    `_NOBODY`, or `_SEVERAL` where there is a choice."""
    closed = NEVER
    for write in range(count):
        if is_put[write]:
            closed = min(closed, w_end[write])
    found = _NOBODY
    write = newest[head]
    while write >= 0:
        possible = w_start[write] <= end
        if is_put[write]:
            for other in range(count):
                if is_put[other] and w_start[other] > w_end[write] and w_end[other] < start:
                    possible = False
        elif closed < start:
            possible = False
        epoch = write if is_put[write] else _FIRST_EPOCH
        if possible and found != epoch:
            found = epoch if found == _NOBODY else _SEVERAL
            if found == _SEVERAL:
                return found
        write = older[write]
    return found


@njit(cache=True)
def _key(rows, columns, texts_told, codes, room, digests, table):
    """The status of one key, of which these are the rows."""
    starts, ends, outcomes, functions, kinds, firsts = columns
    letters, text_begin, sums, powers = texts_told
    get, put, add = codes
    n = len(rows)
    # The writes, in the order of their start, and the texts that they wrote.
    text_of, older, w_start, w_end, is_put = room[0], room[1], room[2], room[3], room[4]
    begins, lengths, sizes, newest, appended, written = room[5], room[6], room[7], room[8], room[9], room[10]
    newest[:n] = -1
    appended[:n] = written[:n] = 0
    table = table[:2 * n + 1]
    table[:] = -1
    count = texts = different = 0
    for i in rows:
        is_text = kinds[i] == OBJECT
        if functions[i] == get:
            if outcomes[i] == OK and not is_text and not (kinds[i] == SCALAR and firsts[i] == NIL):
                return UNDECIDED
            continue
        if outcomes[i] == FAIL:
            continue
        if not is_text or (functions[i] != put and functions[i] != add):
            return UNDECIDED
        begin = text_begin[firsts[i]]
        length = text_begin[firsts[i] + 1] - 1 - begin
        if length == 0:
            return UNDECIDED
        digest = sums[begin + length] - sums[begin] * powers[length]
        text = _written(letters, begin, length, digest, table, begins, lengths, digests)
        if text < 0:
            text = texts
            begins[text], lengths[text], digests[text] = begin, length, digest
            slot = np.int64(digest % np.uint64(len(table)))
            while table[slot] >= 0:
                slot = slot + 1 if slot + 1 < len(table) else 0
            table[slot] = text
            texts += 1
            place = different
            while place > 0 and sizes[place - 1] >= length:
                place -= 1
            if place == different or sizes[place] != length:
                for behind in range(different, place, -1):
                    sizes[behind] = sizes[behind - 1]
                sizes[place] = length
                different += 1
        w_start[count], w_end[count] = starts[i], NEVER if outcomes[i] == INFO else ends[i]
        is_put[count] = functions[i] == put
        text_of[count], older[count], newest[text] = text, newest[text], count
        written[text] += 1
        appended[text] += not is_put[count]
        count += 1
    for text in range(texts):
        for size in sizes[:different]:
            if size >= lengths[text]:
                break
            digest = sums[begins[text] + size] - sums[begins[text]] * powers[size]
            if _written(letters, begins[text], size, digest, table, begins, lengths, digests) >= 0:
                return UNDECIDED

    # The places that reads show: the beginning of the first epoch (0), a put, or a text behind another place.
    places = 1
    text_at, behind, write_at, place_of, first_end, last_start, shown = (
        room[11], room[12], room[13], room[14], room[15], room[16], room[17],
    )
    text_at[:count + 2] = behind[:count + 2] = write_at[:count + 2] = place_of[:count + 2] = -1
    first_end[:count + 2], last_start[:count + 2], shown[:count + 2] = NEVER, _EVER, 0
    for i in rows:
        if functions[i] != get or outcomes[i] != OK:
            continue
        place = 0
        at = stop = 0
        if kinds[i] == OBJECT:
            at, stop = text_begin[firsts[i]], text_begin[firsts[i] + 1] - 1
        first = True
        while at < stop:
            text = np.int64(-1)
            for size in sizes[:different]:
                if at + size > stop:
                    break
                digest = sums[at + size] - sums[at] * powers[size]
                text = _written(letters, at, size, digest, table, begins, lengths, digests)
                if text >= 0:
                    break
            if text < 0:
                return INVALID
            at += lengths[text]
            epoch = _FIRST_EPOCH
            if first and appended[text] < written[text]:
                epoch = newest[text]
                if written[text] > 1:
                    epoch = _head(text, newest, older, is_put, w_start, w_end, count, starts[i], ends[i])
                    if epoch == _SEVERAL:
                        return UNDECIDED
                    if epoch == _NOBODY:
                        return INVALID
            first = False
            if epoch != _FIRST_EPOCH:
                if place_of[epoch] < 0:
                    place_of[epoch] = places
                    write_at[places] = epoch
                    places += 1
                place = place_of[epoch]
                continue
            if behind[place] < 0:
                shown[text] += 1
                if shown[text] > appended[text]:
                    return INVALID
                behind[place] = places
                text_at[places] = text
                places += 1
            elif text_at[behind[place]] != text:
                return INVALID
            place = behind[place]
        first_end[place] = min(first_end[place], ends[i])
        last_start[place] = max(last_start[place], starts[i])

    # The chains. Which append is at a place is certain where only one can be.
    taken, earliest, chain, lows, highs = room[18], room[19], room[20], room[21], room[22]
    taken[:count] = 0
    chains = 0
    for head in range(places):
        if text_at[head] >= 0:
            continue
        length = 0
        place = head
        while place >= 0:
            chain[length] = place
            length += 1
            place = behind[place]
        after = NEVER
        for at in range(length - 1, -1, -1):
            place = chain[at]
            after = min(after, first_end[place])
            earliest[place] = after
            text = text_at[place]
            if text >= 0 and written[text] == 1:
                write_at[place] = newest[text]
                after = min(after, w_end[newest[text]])
        # What is certain to be before a place began no later than `latest`; `high` counts the choices made, too.
        low, high, latest = _EVER, _EVER, _EVER
        for at in range(length):
            place = chain[at]
            text = text_at[place]
            if text >= 0 and written[text] > 1:
                write = newest[text]
                while write >= 0:
                    if not is_put[write] and w_end[write] >= latest and w_start[write] <= earliest[place]:
                        if write_at[place] >= 0:
                            return UNDECIDED
                        write_at[place] = write
                    write = older[write]
                if write_at[place] < 0:
                    return INVALID
            write = write_at[place]
            if write >= 0:
                if taken[write] or w_end[write] < high:
                    return INVALID
                taken[write] = 1
                low = w_end[write] if at == 0 else min(low, w_end[write])
                high = max(high, w_start[write])
                if text < 0 or written[text] == 1:
                    latest = max(latest, w_start[write])
            if first_end[place] < high:
                return INVALID
            low, high = min(low, first_end[place]), max(high, last_start[place])
            latest = max(latest, last_start[place])
        lows[chains], highs[chains] = low, high
        chains += 1
    for write in range(count):
        if not taken[write]:
            lows[chains], highs[chains] = w_end[write], w_start[write]
            chains += 1
    return VALID if _apart(lows[:chains], highs[:chains], earliest, chain) else INVALID


@njit(
    "void(int64[::1], int64[::1], int8[::1], int32[::1], int32[::1], int8[::1], int64[::1], uint8[::1], int64, int64, int64,"
    " int64, boolean, int8[::1])",
    cache=True,
)
def append(starts, ends, outcomes, functions, keys, kinds, firsts, letters, objects, get, put, add, every_key, status):
    """Set `status` for the keys of a history of `get`, `put` and `append` (`add`): see `append.decide`.

    Columns of the history; `letters` are the texts of its `objects` in order, each followed by a zero. Besides what the plain
    way leaves `UNDECIDED`, this leaves keys where texts were written several times and it is not certain which was read.
    """
    n = len(starts)
    # Where each text begins, and the digest of all letters up to each place.
    text_begin = np.zeros(objects + 1, np.int64)
    sums = np.zeros(len(letters) + 1, np.uint64)
    powers = np.ones(len(letters) + 1, np.uint64)
    at = 0
    for place in range(len(letters)):
        sums[place + 1] = sums[place] * _FACTOR + np.uint64(letters[place]) + np.uint64(1)
        powers[place + 1] = powers[place] * _FACTOR
        if letters[place] == 0:
            at += 1
            if at <= objects:
                text_begin[at] = place + 1
    if at != objects:
        status[:] = UNDECIDED
        return

    columns, texts = (starts, ends, outcomes, functions, kinds, firsts), (letters, text_begin, sums, powers)
    room = np.empty((23, n + 2), np.int64)
    digests, table = np.empty(n, np.uint64), np.empty(2 * n + 1, np.int64)
    order = np.argsort(keys, kind="mergesort")
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and keys[order[end]] == keys[order[begin]]:
            end += 1
        code = keys[order[begin]] + 1
        status[code] = _key(order[begin:end], columns, texts, (get, put, add), room, digests, table)
        if status[code] == INVALID and not every_key:
            for at in range(end, n):
                status[keys[order[at]] + 1] = UNDECIDED
            return
        begin = end
