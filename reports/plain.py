"""One sentence on top of everything, for a reader who has never heard of CAP: what was done, and what it cost.

It claims nothing that the result does not count: every clause rests on a figure that the report tells further down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from splitbrain.checkers.anomalies import generalises, in_order, losing
from splitbrain.checkers.assessment import CIRCLES
from splitbrain.checkers.cases.cart import KEPT as CARTS
from splitbrain.checkers.cases.cart import REMOVED
from splitbrain.checkers.cases.flash_sale import CHARGES, ORDERS, STOCKS
from splitbrain.checkers.cases.messaging import KEPT as MESSAGES
from splitbrain.checkers.cases.rate_limiter import MODEL as LIMITS
from splitbrain.checkers.cases.social_feed import BLOCKS, DELETIONS
from splitbrain.checkers.result import Discarded, Measure, Result, Scenario, Side
from splitbrain.checkers.sets import MODEL as SETS
from splitbrain.checkers.structures.bank import CONSERVED, COVERED, UP_TO_DATE
from splitbrain.checkers.structures.counter import MODEL as COUNTERS
from splitbrain.checkers.structures.ids import MODEL as IDENTIFIERS
from splitbrain.checkers.structures.kept import MODEL as TRANSFERS
from splitbrain.checkers.structures.lock import EXCLUSIVE, FENCED
from splitbrain.checkers.structures.queue import COMPLETE as QUEUES
from splitbrain.checkers.structures.set_full import COMPLETE as SETS_FULL
from splitbrain.checkers.structures.set_full import FRESH, SetFullChecker
from splitbrain.checkers.structures.watch import MODEL as WATCHES
from splitbrain.checkers.verdict import Validity
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.sides import listed
from splitbrain.reports.wording import count, plural, printable, seconds, sentence

_WORST = ("neither", "unavailable", "AP", "hybrid", "CP", "not-exercised", "not-distributed", "unknown")

TIMES = {
    "double-hold": "two clients held the same lock",
    "stale-fence": "a lock was granted with a number that was not new",
    "fence-passed": "a write of a former holder of a lock was let through",
    "missed-event": "a watcher was not told of a change",
    "event-reordered": "a watcher was told of changes in the wrong order",
    "duplicate-id": "the same identifier was handed out twice",
    "oversold": "something was sold that was not there",
    "charged-twice": "a payment was carried out twice",
    "came-back": "what had been removed was there again",
    "over-admitted": "a request over the limit was let through",
    "blocked-seen": "a blocked person was shown",
    "deleted-seen": "a deleted post was shown",
    "wrong-total": "a total was wrong",
    "inconsistent-analysis": "balances were read that never were so at one moment",
    "wrong-balance": "an account held in the end what no transfers had left there",
    "negative-balance": "an account was seen overdrawn",
    "duplicate": "an element was there, or was handed out, once too often",
}
"""What was seen so many times, in everyday words, where writes that were lost and reads of old data do not say it."""

WHOLE = frozenset({"linearizable", "strict-serializable", SETS})
"""Models of which whoever keeps them loses no confirmed write and answers no read wrongly."""

KEPT = {
    CONSERVED: "every total was right",
    COVERED: "no account was overdrawn",
    TRANSFERS: "every confirmed transfer was kept",
    UP_TO_DATE: "no read missed a confirmed transfer",
    COUNTERS: "no read of a counter missed a confirmed addition or went back",
    SETS_FULL: "no confirmed element was lost",
    FRESH: "no read of a set was old",
    QUEUES: "no confirmed element was lost or handed out twice",
    EXCLUSIVE: "no two clients held the same lock at once",
    FENCED: "no former holder of a lock could write",
    IDENTIFIERS: "no identifier was handed out twice",
    WATCHES: "no watcher missed a change",
    LIMITS: "no request over the limit was let through",
    STOCKS: "nothing was sold that was not there",
    ORDERS: "no confirmed order was lost",
    CHARGES: "no payment was carried out twice",
    MESSAGES: "no confirmed message was lost",
    CARTS: "nothing was lost from a cart",
    REMOVED: "nothing that had been removed came back",
    BLOCKS: "no blocked person was shown",
    DELETIONS: "no deleted post was shown",
}
"""Models that are about one thing, and what whoever keeps them is known to have done."""

LOSSES = frozenset({TRANSFERS, UP_TO_DATE, COUNTERS, SETS_FULL, QUEUES, ORDERS, MESSAGES, CARTS})
"""Those of them that no database keeps which loses what it confirmed."""

TIMED = frozenset(name for name in CIRCLES if name.endswith(("-process", "-realtime")))
"""Those circles of transactions that are none where it does not matter which transaction was over before another began."""

CLAUSES = 3
"""Kinds of damage that the sentence names; the report lists all."""

BLIP = 0.2
"""Seconds: an outage that is shorter is not what clients were refused for."""


class _Seen(msgspec.Struct, frozen=True):
    """What came to light under one fault, or in a whole run: anomalies by name, acknowledged writes that were lost, and those
    that gave way to another side's (`untold`: there may be more). `by_element`: of those that came late each element was
    counted, and not each read that missed any."""

    counts: Mapping[str, int]
    lost: int
    gone: int
    untold: bool
    by_element: bool


def plain(result: Result) -> str:
    """What happened, in a few sentences of everyday words. What is told of a fault is what came of that one; where the whole
    run shows more, a sentence of its own says so."""
    if result.validity == "unknown" and not result.counts:
        because = _because(result)
        reason = result.reason.rstrip(".").removesuffix(": nothing is proven")
        return sentence(f"this run proves nothing either way{because}: {reason}")
    worst = _worst(result)
    blast = result.blast
    lost = result.lost.total or blast.lost
    by_element = any(verdict.checker == SetFullChecker.name for verdict in result.verdicts)
    whole = _Seen(_beside_divergence(result.counts), lost, blast.discarded or 0, blast.discarded_untold > 0, by_element)
    everywhere = _damage(whole, None, result.validity) or _kept(result)
    if worst is None:
        return sentence(everywhere + _apart(result))
    gone = worst.discarded or Discarded()
    here = _Seen(_beside_divergence(worst.anomalies), worst.lost, gone.writes, gone.untold > 0, by_element)
    damage, refused = _damage(here, worst, result.validity), _refused(worst)
    more = here.counts != whole.counts and everywhere != damage
    if not damage:
        told = [refused or _served(worst), "" if more else _kept(result)]
    elif refused and not _answered(worst, "read"):  # What nobody read then came to light before or after.
        told = [refused, f"what came of it: {damage}"]
    else:
        told = [damage, refused or _all_served(worst)]
    first = sentence(f"{_cause(worst, result.scenarios)}, {'; '.join(filter(None, told))}{_apart(result)}")
    return f"{first} {sentence(f'in the whole run, {everywhere}')}" if more else first


def _because(result: Result) -> str:
    """Why a run proves nothing, where its reason is a detail for those who look for it: what an answer was no to, or what some
    program threw."""
    if result.reason.startswith("the checker failed: "):
        return ", because a program that judges it failed"
    if not any(one.checker == "quality" and result.reason.startswith(one.reason) for one in result.verdicts):
        return ""
    return next((f", because {one.why}" for one in result.quality.failed[:1] if one.why), "")


def _beside_divergence(counts: Mapping[str, int]) -> dict[str, int]:
    """The anomalies but the divergence of copies, of which `_apart` tells."""
    return {name: number for name, number in counts.items() if name != "diverged"}


def _apart(result: Result) -> str:
    """Whether copies of the data never became equal again."""
    if not result.counts.get("diverged"):
        return ""
    if any(row.bit and row.links_cut for row in result.scenarios):
        return "; once the network was whole again, copies of the data stayed different"
    return "; copies of the data stayed different in the end"


def _kept(result: Result) -> str:
    """What is known of data to which no damage can be told."""
    if result.consistency != "held":
        return "whether data stayed correct is not known"
    if found := sum(_beside_divergence(result.counts).values()):
        rule = f" ({printable(result.standings[0].model)})" if result.standings else ""
        breaks = "anomaly breaks" if found == 1 else "anomalies break"
        return f"the rule that was tested{rule} held, and {count(found)} {breaks} only stricter ones"
    told = _rules([one.model for one in result.standings if one.state == "holds"])
    # Whether anybody read in the end what was written is known of a run alone.
    return told if result.plan is not None else f"as far as anybody looked, {told}"


def _rules(held: Sequence[str]) -> str:
    """What these models, which hold, say in everyday words: no more than was tested."""
    if not held:
        return "nothing wrong was found"
    if held[0] in WHOLE:
        return "no confirmed write was lost and no read was wrong"
    told = [KEPT[model] for model in held if model in KEPT]
    if not told:
        return f"the rule that was tested ({printable(held[0])}) held"
    untold = CONSERVED in held and not {TRANSFERS, UP_TO_DATE} & set(held)
    return listed(told[:CLAUSES]) + ("; whether every confirmed transfer was kept is not known" if untold else "")


def tells_losses(result: Result) -> bool:
    """Whether a confirmed write that was lost would have been found: the totals of a bank are right without a transfer."""
    tested = {one.model for one in result.standings}
    return not tested & KEPT.keys() or bool(tested & LOSSES)


def _damage(seen: _Seen, worst: Scenario | None, validity: Validity) -> str:
    """What was lost or told wrongly; empty where nothing was, or all of it is permitted."""
    told = [*_written(seen, worst), *_read(seen)]
    names = [name for name in in_order(seen.counts) if name in TIMES]
    told += [f"{plural(seen.counts[name], 'time')} {TIMES[name]}" for name in names][: max(0, CLAUSES - len(told))]
    return listed(told) if told else _wrong(seen.counts) if validity == "invalid" else ""


def _wrong(counts: Mapping[str, int]) -> str:
    """What was seen for which there are no everyday words; empty where nothing was."""
    if circles := sum(number for name, number in counts.items() if name in CIRCLES - TIMED):
        return f"{plural(circles, 'time')} no order of the transactions explains what they saw"
    if circles := sum(number for name, number in counts.items() if name in TIMED):
        return f"{plural(circles, 'time')} no order of the transactions that fits when they were made explains what they saw"
    other = sum(counts.values())
    return f"the database gave {plural(other, 'answer')} that no correct one can give" if other else ""


def _worst(result: Result) -> Scenario | None:
    """The fault to tell of: the one that cost most."""
    bitten = [row for row in result.scenarios if row.bit]
    return min(
        bitten, key=lambda row: (-row.lost, not row.anomalies, _WORST.index(row.classification), row.fault), default=None
    )


def _beside(row: Scenario, rows: Sequence[Scenario]) -> str:
    """What else was in force at the time."""
    others = [
        f"{'the partition ' if other.links_cut and not other.struck else ''}{printable(other.label)}"
        for other in rows if other.fault in row.beside and other.bit
    ]
    if len(others) > 1:
        return f", and beside it {plural(len(others), 'more fault')}"
    return f", and beside it {others[0]}" if others else ""


def _cause(row: Scenario, rows: Sequence[Scenario]) -> str:
    """`while n1 was cut off from the 4 other nodes`, of `rows` that tell what else was done meanwhile."""
    if row.done and not row.links_cut:
        return f"while {printable(row.done)}{_beside(row, rows)}"
    if row.struck or not row.links_cut:
        return f"while the test did this ({printable(row.label)}{_beside(row, rows)})"
    if len(row.sides) < 2:
        return f"while some connections were cut ({printable(row.name)})"
    smallest, *others = sorted(row.sides, key=lambda part: (len(part.nodes), not part.primary))
    if len(others) > 1:
        return f"while the network was split into {len(row.sides)} parts"
    rest = len(others[0].nodes)
    were = "was" if len(smallest.nodes) == 1 else "were"
    whom = "the other node" if rest == 1 else f"the other {rest} nodes"
    return f"while {listed(list(map(printable, smallest.nodes)))} {were} cut off from {whom}"


def _written(seen: _Seen, worst: Scenario | None) -> list[str]:
    """What became of writes."""
    found = []
    names = set(seen.counts) & {*losing(), "split-brain"}
    contested = worst is not None and (worst.discarded is not None and worst.discarded.contested > 0)
    if worst is not None and contested and (names or seen.gone):
        found.append(f"{'both' if len(worst.sides) == 2 else 'several'} sides accepted writes")
    if seen.lost:
        found.append(f"{plural(seen.lost, 'write')} that had been confirmed {'was' if seen.lost == 1 else 'were'} lost")
    elif seen.gone and found:
        found.append(f"{'at least ' if seen.untold else ''}{plural(seen.gone, 'confirmed write')} gave way to the other side's")
    elif "split-brain" in names:
        found.append("two versions of the same data went on side by side")
    return found


def _read(seen: _Seen) -> list[str]:
    """What was read wrongly. A read that misses an element may be one of those that show another for too long: where there are
    both, there are at least as many as of the more frequent kind."""
    old = {name: number for name, number in seen.counts.items() if generalises("non-monotonic-read", name) and name not in
           (*losing(), "split-brain", *TIMES)}
    missed = old.pop("stale-element", 0)
    others = sum(old.values())
    if missed and seen.by_element:
        were = "was" if missed == 1 else "were"
        return [f"{plural(missed, 'element')} that {were} there {were} missing from what was read",
                *([f"{plural(others, 'read')} returned old data"] if others else [])]
    if not missed or not others:
        return [f"{plural(missed + others, 'read')} returned old data"] if missed or others else []
    return [f"at least {plural(max(missed, others), 'read')} returned old data"]


def _answered(row: Scenario, kind: Kind) -> bool:
    """Whether a call of that kind was answered while the fault was in force, or none was made."""
    measures = [part.of(kind) for part in row.asked_sides]
    return any(one.answered for one in measures) or not any(one.attempted for one in measures)


def _all_served(row: Scenario) -> str:
    """That all clients went on working, where that was measured; else nothing."""
    told = _served(row)
    return "" if told == NOT_KNOWN else told


NOT_KNOWN = "nobody was seen to be shut out"
"""Said of clients where too little was measured to say more."""


def _served(row: Scenario) -> str:
    """Who went on working, where nobody was refused: what was not measured is not claimed."""
    measures = [measure for part in row.asked_sides for measure in (part.read, part.write)]
    asked = {measure.kind for measure in measures if measure.attempted or measure.state != "unknown"}
    if not asked or any(measure.state == "unknown" for measure in measures if measure.kind in asked):
        return NOT_KNOWN
    return f"{'clients beside the other nodes' if row.struck and not row.links_cut else 'every client'} went on working"


def _refused(row: Scenario) -> str:
    """Who could not work: the sides one by one, or all clients where the same befell them."""
    told = {part.nodes: _shut(part) for part in row.asked_sides if "blocked" in (part.read.state, part.write.state)}
    if not told:
        return ""
    if len(told) == len(row.asked_sides) and len(set(told.values())) == 1 and not (row.struck and not row.links_cut):
        (what,) = set(told.values())
        return f"no client {what.replace('could not', 'could', 1)}" if what.endswith(AT_ALL) else f"clients {what}"
    shown = [f"clients beside {listed(list(map(printable, nodes)))} {what}" for nodes, what in list(told.items())[:2]]
    return "; ".join(shown) + (f" (and on {plural(len(told) - 2, 'more side')})" if len(told) > 2 else "")


AT_ALL = " at all"


def _shut(part: Side) -> str:
    """What its clients could not do: `could not write at all, and could not read for 1.2 s`."""
    ways: dict[str, list[Measure]] = {}
    for measure in (part.write, part.read):
        if measure.state == "blocked":
            ways.setdefault(_way(measure), []).append(measure)
    return ", and ".join(_told(way, " or ".join(one.kind for one in of), of) for way, of in ways.items())


def _long(of: Sequence[Measure], last: str) -> str:
    """How long their longest outages were: `1.2 s`, `the last 1.2 s`, and of two kinds that differ `up to 1.2 s`."""
    told = {seconds(one.outage): one.outage for one in of}
    return ("up to " if len(told) > 1 else "") + last + max(told, key=lambda text: told[text])


def _way(measure: Measure) -> str:
    """How it was refused: never answered, not for a time, not any more in the end, or now and then."""
    if not measure.answered:
        return "never"
    if measure.outage >= BLIP:
        return "for a time" if measure.outage_ended else "in the end"
    return "seldom" if measure.answered >= 0.9 * measure.attempted else "often"


def _told(way: str, what: str, of: Sequence[Measure]) -> str:
    match way:
        case "never":
            return f"could not {what}{AT_ALL}"
        case "for a time":
            return f"could not {what} for {_long(of, '')}"
        case "in the end":
            return f"could not {what} for {_long(of, 'the last ')}"
        case "seldom":
            return f"could not always {what}"
        case _:
            return f"often could not {what}"
