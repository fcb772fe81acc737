"""The order that reads of queues tell.

Of two elements that a read shows the first one came in before the other, and goes out before it, and every other read shows
them so. As a read shows all that waits, nothing lies between two that it shows beside each other. It takes effect after what it
shows was put in, and before any of that is taken out.

So does what a read does not show though it is there later: it was still to come, behind all that the read shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Integers, Ints, distinct, grouped
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.elements import (
    FIRST,
    LAST,
    Elements,
    Windows,
    in_pieces,
    limits_of,
    rows_told,
    staying,
    stays_because,
)
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import History
from splitbrain.harness.history.moment import clock

_TRIED = 100
"""Through how many pairs of elements the shortest circle is searched, at most."""


def find_shown_out_of_order(
    found: Findings, history: History, elements: Elements, every: Stretches
) -> Flags:
    """Reads that show an element behind one that came in after it, or went out before it, each once. Which rows they
    are."""
    put, taken = elements.put, elements.taken
    came = elements.there
    out = np.where(put >= 0, elements.out, LAST)
    # What stands right in the order of all that reads show is right in every stretch of it.
    order, begins = every.order.elements, np.where(put >= 0, history.invoked[put], FIRST)
    seen = every.inside(every.begin + every.size)
    doubtful = np.zeros(len(put), np.bool_)
    for moments, limits in ((came, begins), (out, elements.until)):
        behind = every.order.from_behind(np.minimum, np.where(seen, moments[order], LAST), LAST)[1:]
        doubtful[order] |= seen & (behind < limits[order])
    several = in_pieces(every)
    several[np.isin(every.row, every.rows_touching(doubtful))] = True
    crossed = np.zeros(len(history), np.bool_)
    if not several.any():
        return crossed
    entries, shown_by = every.entries(several)
    shown = every.shown[entries]
    begun = begins[shown]
    wrong = _least_behind(came, shown, shown_by) < begun
    wrong |= _least_behind(out, shown, shown_by) < elements.until[shown]
    entries = np.flatnonzero(wrong)
    entries = entries[np.append(True, shown_by[entries][1:] != shown_by[entries][:-1])[: len(entries)]]
    rows = shown_by[entries]

    def tell(at: int) -> Told:
        entry, row = int(entries[at]), int(rows[at])
        behind = np.arange(entry + 1, int(np.searchsorted(shown_by, row, side="right")))
        ahead = int(shown[entry])
        early = behind[came[shown[behind]] < begun[entry]]
        late = shown[early[0] if len(early) else behind[out[shown[behind]] < elements.until[ahead]][0]]
        read, first, second = history[row], history[int(put[ahead])].value, history[int(put[late])].value
        where = f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))}"
        if len(early):
            known = "put in" if elements.told(int(late)) == put[late] else "seen there"
            why = f"which had been {known} by {clock(int(came[late]))}, before {first} was put in"
            more = [int(put[late]), elements.told(int(late)), int(put[ahead])]
        else:
            why = f"which was taken out by {clock(int(history.completed[taken[late]]))}, when {first} was still there"
            more = [int(put[late]), int(taken[late]), *staying(elements, ahead)]
        return f"{where} showed {first} before {second}, {why}.", rows_told(history, *more, row)

    found.add_rows("reordered", rows, tell)
    crossed[rows] = True
    return crossed


def _least_behind(values: Ints, shown: Integers, reads: Ints) -> Ints:
    """Of each entry the least of the values of the elements behind it in its read; `LAST` where it is the last. The entries of
    a read lie beside each other."""
    ones = distinct(shown)
    order = ones[np.argsort(values[ones], kind="stable")]
    wide = len(order)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(wide)
    same = reads[1:] == reads[:-1]
    read = np.cumsum(np.append(0, ~same)) * wide
    # Each read's are less than those of the next one, so that one pass from behind goes through all.
    least = np.minimum.accumulate((place[shown] + read)[::-1])[::-1]
    found = np.full(len(shown), LAST)
    found[:-1][same] = values[order[least[1:][same] - read[1:][same]]]
    return found


def find_circles(found: Findings, history: History, elements: Elements, every: Stretches) -> Ints:
    """Reads whose orders contradict each other: each circle of elements once. Of which queues these are."""
    one, other, _ = every.joints()
    back = every.order.places[other] < every.order.places[one]
    if not back.any():
        return np.zeros(0, np.int64)
    # Loaded only where queues contradict themselves: `import splitbrain` stays light.
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    entries, shown_by = every.entries(np.isin(history.key[every.row], elements.key[one[back]]))
    shown = every.shown[entries]
    same = np.flatnonzero(shown_by[1:] == shown_by[:-1])
    before, behind, by = shown[same], shown[same + 1], shown_by[same]
    # What follows an element is the same nearly everywhere: few pairs are left to be looked at.
    following = np.full(len(elements.put), -1)
    following[before] = behind
    usual = np.full(len(elements.put), -1)
    usual[before] = by
    other = np.flatnonzero(following[before] != behind)
    first = np.flatnonzero(following >= 0)
    source = np.concatenate([first, before[other]])
    target, reads = np.concatenate([following[first], behind[other]]), np.concatenate([usual[first], by[other]])
    graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(len(following),) * 2)
    _, label = connected_components(graph, directed=True, connection="strong")
    inside = np.flatnonzero((label[source] == label[target]) & (source != target))
    if not len(inside):
        return np.zeros(0, np.int64)
    import networkx as nx

    wrong: list[int] = []
    for _, places in grouped(label[source[inside]]):
        edges = inside[places]
        circle: Any = nx.DiGraph()
        for at in edges.tolist():
            circle.add_edge(int(source[at]), int(target[at]), read=int(reads[at]))
        around = _shortest_circle(circle)
        rows = sorted({circle.edges[one]["read"] for one in around}, key=lambda row: int(history.completed[row]))

        def tell(_: int, circle: Any = circle, around: Any = around, rows: list[int] = rows) -> Told:
            told = "; ".join(
                f"that at {clock(int(history.completed[circle.edges[one]['read']]))} showed "
                f"{history[int(elements.put[one[0]])].value} before {history[int(elements.put[one[1]])].value}"
                for one in around
            )
            put = [int(elements.put[one]) for one, _ in around]
            key = history[rows[-1]].key
            return f"reads of queue {key} contradict each other: {told}.", rows_told(history, *put, *rows)

        found.add_rows("reordered", np.array(rows[-1:]), tell)
        wrong.append(int(history.key[rows[-1]]))
    return np.array(wrong, np.int64)


def _shortest_circle(circle: Any) -> list[tuple[int, int]]:
    """The edges of the shortest circle in a strongly connected graph, through one of its first `_TRIED` edges."""
    import networkx as nx

    best: list[int] = []
    for source, target in list(circle.edges)[:_TRIED]:
        way = nx.shortest_path(circle, target, source)
        if not best or len(way) < len(best):
            best = way
    return list(zip(best, [*best[1:], best[0]], strict=True))


def find_parting(found: Findings, history: History, elements: Elements, every: Stretches) -> Ints:
    """Reads that show different elements right behind, or right before, the same one: each shows all that is there, so
    that this is always the same. Each read at most once. Which rows they are."""
    doubtful = np.zeros(len(elements.put), np.bool_)
    for ends in every.joints()[:2]:
        doubtful[ends] = True
    entries, shown_by = every.entries(np.isin(every.row, every.rows_touching(doubtful)))
    shown = every.shown[entries]
    same = np.flatnonzero(shown_by[1:] == shown_by[:-1])
    before, behind, by = shown[same], shown[same + 1], shown_by[same]
    told: set[int] = set()
    for one, other, place in ((before, behind, "behind"), (behind, before, "before")):
        usual = np.full(len(elements.put), -1)
        usual[one] = np.arange(len(one))
        against = np.flatnonzero(other[usual[one]] != other)
        against = against[np.unique(one[against], return_index=True)[1]]
        against = np.array([at for at in against.tolist() if not told & {int(by[at]), int(by[usual[one[at]]])}], np.int64)
        for at in against.tolist():
            both = sorted((at, int(usual[one[at]])), key=lambda pair: int(history.completed[by[pair]]))
            told |= {int(by[pair]) for pair in both}
            codes = [int(one[at]), *(int(other[pair]) for pair in both)]

            def tell(_: int, both: list[int] = both, codes: list[int] = codes, place: str = place) -> Told:
                values = [history[int(elements.put[code])].value for code in codes]
                shows = "; ".join(
                    f"that at {clock(int(history.completed[by[pair]]))} showed {value} right {place} {values[0]}"
                    for pair, value in zip(both, values[1:], strict=True)
                )
                rows = [*(int(elements.put[code]) for code in codes), *(int(by[pair]) for pair in both)]
                return f"reads of queue {history[rows[-1]].key} contradict each other: {shows}.", rows_told(history, *rows)

            found.add_rows("reordered", by[both[-1:]], tell)
    return np.array(sorted(told), np.int64)


def find_torn(
    found: Findings, history: History, elements: Elements, windows: Windows, every: Stretches
) -> Ints:
    """Reads that begin with an element though the one that another read shows before it was still there, or end with one
    though what follows it had come in: each once. Which rows they are."""
    following = every.following()
    previous = np.full(len(following), -1)
    linked = np.flatnonzero(following >= 0)
    previous[following[linked]] = linked
    ends = np.flatnonzero(every.last)
    begins = np.append(0, ends + 1)[: len(ends)]
    heads, tails = every.shown[every.first[begins]], every.shown[every.first[ends] + every.size[ends] - 1]
    reads = every.row[ends]
    ahead, next_one = previous[heads], following[tails]
    left = (ahead >= 0) & (elements.until[ahead] > windows.high[reads])
    short = (next_one >= 0) & (elements.there[next_one] < windows.low[reads])
    wrong = np.flatnonzero(left | short)
    rows = reads[wrong]

    def tell(at: int) -> Told:
        place, row = int(wrong[at]), int(rows[at])
        missed, end = (int(ahead[place]), int(heads[place])) if left[place] else (int(next_one[place]), int(tails[place]))
        other = every.last_linking(missed if left[place] else end)
        read, value, known = history[row], history[int(elements.put[missed])].value, history[int(elements.put[end])].value
        since = f"had been there since {clock(int(elements.there[missed]))}"
        sentence = (
            f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} did not show "
            f"{value}, which a read at {clock(int(history.completed[other]))} showed right "
            f"{'before' if left[place] else 'behind'} {known}, though {value} "
            f"{stays_because(history, elements, missed) if left[place] else since}"
        )
        more = staying(elements, missed) if left[place] else [int(elements.put[missed]), elements.told(missed)]
        limits = limits_of(history, elements, windows, every.elements_of(row), row)
        return f"{sentence}.", rows_told(history, int(elements.put[end]), *more, *limits, other, row)

    found.add_rows("stale-element", rows, tell)
    return rows


def find_jumped(
    found: Findings, history: History, elements: Elements, windows: Windows, every: Stretches
) -> None:
    """Elements that came out while one was there which a read shows without them: as they were not out before it, they came
    in behind all that it shows. Each once. Asked of queues of which nothing simpler tells a wrong order."""
    order, taken = every.order.elements, elements.taken
    moved, seen = (elements.put >= 0) & (taken >= 0), elements.seen_last > FIRST
    stays, high = every.over(np.maximum, elements.until), windows.high[every.row]
    # Something stands before what a read shows that is there longer than that, or behind it and is out sooner.
    known = (moved & seen)[order]
    before = every.before(np.maximum, np.where(known, elements.until[order], FIRST), FIRST)
    behind = every.behind(np.minimum, np.where(known, elements.out[order], LAST), LAST)
    doubtful = (before > high) | (behind < stays)
    # Of what no read shows that one tells which shows what is there longest, of those that were over before it was out.
    lonely = np.flatnonzero(moved & ~seen)
    of_key = {key: at for key, at in grouped(history.key[every.row])}
    for key, places in grouped(elements.key[lonely]):
        at = of_key.get(key)
        if at is None:
            continue
        alone = lonely[places]
        by_high = np.argsort(high[at], kind="stable")
        longest = np.append(FIRST, np.maximum.accumulate(stays[at][by_high]))
        latest = longest[np.searchsorted(high[at][by_high], elements.until[alone], side="left")]
        wrong = latest > elements.out[alone]
        if wrong.any():
            doubtful[at] |= np.isin(stays[at], latest[wrong])
    if not doubtful.any():
        return
    moving = np.flatnonzero(moved)
    moving_of = {key: moving[places] for key, places in grouped(elements.key[moving])}
    pairs: dict[int, tuple[int, int]] = {}
    doubts = every.row[doubtful]
    for key, places in grouped(history.key[doubts]):
        mine = moving_of.get(key, moving[:0])
        mine = mine[np.argsort(elements.out[mine], kind="stable")]
        ends, rows = elements.out[mine], doubts[places]
        for row in distinct(rows).tolist():
            shown = every.elements_of(row)
            there, by = int(shown[np.argmax(elements.until[shown])]), windows.high[row]
            members = set(shown.tolist())
            begin, end = np.searchsorted(ends, (by, elements.until[there]), side="left").tolist()
            early = next((
                one for one in mine[begin:end].tolist() if elements.until[one] > by and one not in members
            ), -1)
            if early >= 0:
                pairs.setdefault(early, (row, there))
    early_ones = np.array(list(pairs), np.int64)

    def tell(at: int) -> Told:
        early = int(early_ones[at])
        row, other = pairs[early]
        put, taken, read = int(elements.put[early]), int(elements.taken[early]), history[row]
        value, first = history[put].value, history[int(elements.put[other])].value
        sentence = (
            f"{value} came out of queue {read.key} at {clock(int(history.completed[taken]))}, before {first}, though a "
            f"read at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed {first} when {value} was "
            f"still to come, and {first} {stays_because(history, elements, other)}."
        )
        limits = limits_of(history, elements, windows, every.elements_of(row), row)
        return sentence, rows_told(history, put, *staying(elements, other), *limits, row, taken)

    found.add_rows("reordered", elements.taken[early_ones], tell)
