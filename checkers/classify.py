"""Classification: CP, AP, neither, ... as the window of each fault showed it; measured, never assumed.

For one fault and one kind of operation, with "refuted" for an anomaly that concerns this kind:

=============  =================================  =================================================================
consistency    sides                              class
=============  =================================  =================================================================
held           some blocked                       CP if the side with a quorum, where there is one, was not the only
                                                  one blocked and served again in the window, and every home
                                                  before and after; `unavailable` if it answered nothing
held           all available                      not-exercised
refuted        some blocked                       neither
refuted        all available                      AP if the replicas were equal afterwards, neither if they never were
anything else                                     unknown
=============  =================================  =================================================================

A side is blocked or available by evidence alone (`availability.measure`): of one where a call or two got no answer among a few
nothing follows, and the sentence says how many calls were needed. A fault has a class all the same where it is the same one
whatever such sides were: where writes are CP, reads of a consistent history that a side may or may not have been served leave
it CP, and where reads are refuted they are another thing than writes that are CP. Calls that nobody made might have been
answered wrongly too, so they leave it unknown; the sentence tells what the other kind is alone. `neither` is also what one
kind is alone: an anomaly and a blocked side were there.

Where something else was done to a node that was cut off (it was killed, paused, its disk filled), also by another fault, its
clients count for its side as people are told of it, and not for the class: the database did not choose that they wait. A side
without any other node (`Scenario.masked_sides`) leaves the class unknown wherever it matters how that side was served. Links
that are slow or lose packets are the network's as a cut is, and leave everybody's clients in.

A fault or a heal that was not proven, an unhealthy baseline (of all clients, or of those at a home that was blocked), and a
server that died on its own before the heal leave the class unknown. One label over all: the class that all faults agree on,
those that cost nothing left out; else `hybrid`, or `unknown` where only an unknown one is in the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

import msgspec

from splitbrain.checkers.anomalies import refutes_reads_only
from splitbrain.checkers.measures.availability import GOOD, TRIED
from splitbrain.checkers.result import Availability, Class, Consistency, Convergence, Measure, Sacrifice, Scenario, Side
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.sides import group

SHORT = 2.0
"""Seconds; a shorter fault is named as a reason why it cost nothing."""


class Classified(msgspec.Struct, frozen=True, kw_only=True):
    """The rows with their classes, and the labels over all of them."""

    rows: tuple[Scenario, ...]
    classification: Class
    sentence: str
    classes: dict[Kind, Class]
    sacrifices: dict[Kind, Sacrifice]


def classify(
    rows: Sequence[Scenario], before: Sequence[Measure], converged: Convergence, *, nodes: int, lost: int, model: str,
    outside: Mapping[str, int] = {},
) -> Classified:
    """Classes for rows whose sides, consistency, anomalies and recovery are filled in. `before` is the baseline, `nodes` the
    size of the cluster, `lost` the number of acknowledged writes that were lost, `model` what the run tests
    (`linearizable`), `outside` the anomalies that refute it and that no fault caused."""
    words = _Words(model)
    done = tuple(_row(row, before, converged, words) for row in rows)
    classes = {kind: _over([row.classes[kind] for row in done]) for kind in KINDS}
    whole: Class
    if nodes == 1:
        whole, sentence = "not-distributed", "not distributed: one node holds all data, so there is nothing to partition"
        classes = dict.fromkeys(KINDS, whole)
    elif not done:
        whole, sentence = "not-exercised", "not exercised: no fault happened"
        classes = dict.fromkeys(KINDS, whole)
    else:
        whole = _over([row.classification for row in done])
        sentence = _spelled(whole, classes, done)
        if outside and all(row.consistency != "refuted" for row in done):
            whole, sentence, classes = _besides(whole, sentence, classes, outside, words)
    given_up = sum(row.discarded.writes for row in done if row.discarded)
    if lost:
        sentence += f", {lost:,} acknowledged {'write' if lost == 1 else 'writes'} lost"
    if given_up:
        least = "at least " if any(row.discarded and row.discarded.untold for row in done) else ""
        sentence += f", {least}{given_up:,} acknowledged {'write' if given_up == 1 else 'writes'} discarded"
    return Classified(
        rows=done, classification=whole, sentence=sentence, classes=classes,
        sacrifices={kind: _sacrifice(done, kind) for kind in KINDS},
    )


def _besides(
    whole: Class, sentence: str, classes: dict[Kind, Class], outside: Mapping[str, int], words: _Words
) -> tuple[Class, str, dict[Kind, Class]]:
    """These, where no fault refuted the model and something else did: then it is not consistent, whatever it gave up for it."""
    spared = {"write"} if refutes_reads_only(outside) else set()
    classes = {kind: "unknown" if cls == "CP" and kind not in spared else cls for kind, cls in classes.items()}
    if whole == "CP":
        told = f"unknown: {words.refuted}, though no fault is the cause; during the faults a side was blocked"
        return "unknown", told, classes
    return whole, f"{sentence}; {words.refuted}, but not by a fault", classes


def consistency(row: Scenario, kind: Kind) -> Consistency:
    """What the row's consistency means for one kind of operation: an anomaly of reads alone leaves the writes as they were,
    unless several sides took writes of the same key."""
    if row.consistency == "refuted" and kind == "write" and row.anomalies and refutes_reads_only(row.anomalies):
        return "refuted" if row.discarded is not None and row.discarded.contested else "held"
    return row.consistency


class _Words:
    """How the model that a run tests is spoken of: `linearizable` is an adjective, `totals conserved` a clause."""

    def __init__(self, model: str) -> None:
        subject, _, predicate = (model or "consistent").rpartition(" ")
        self.held = model or "no anomaly"
        self.refuted = f"{subject} not {predicate}".strip()
        self.question = f"{subject} are {predicate}" if subject else f"the history is {predicate}"


def _row(row: Scenario, before: Sequence[Measure], converged: Convergence, words: _Words) -> Scenario:
    found = {kind: _class(row, kind, before, converged, words) for kind in KINDS}
    classes = {kind: found[kind][0] for kind in KINDS}
    whole, sentence = _whole(found)
    if whole == "unknown" and classes["write"] in ("CP", "unavailable") and consistency(row, "read") == "refuted":
        whole, sentence = "hybrid", f"writes {classes['write']}, reads {words.refuted}, and how available is not known"
    if whole == "unknown":
        either = {_whole(one) for one in _possible(row, found, before, converged, words)}
        if {cls for cls, _ in either} == {"neither"} and len(either) > 1:
            whole, sentence = "neither", f"neither: {words.refuted}, and the replicas never agreed afterwards"
        elif len(either) == 1 and "unknown" not in dict(either):
            whole, sentence = either.pop()
    if whole == "unknown" and (known := [kind for kind in KINDS if classes[kind] != "unknown"]):
        sentence += f"; {known[0]}s alone: {_name(classes[known[0]])}"
    return msgspec.structs.replace(row, classification=whole, classes=classes, sentence=sentence)


def _whole(found: Mapping[Kind, tuple[Class, str]]) -> tuple[Class, str]:
    """The class of a fault from those of its reads and writes, and why."""
    classes = {kind: cls for kind, (cls, _) in found.items()}
    whole = _both(classes)
    if whole == "hybrid":
        return whole, ", ".join(f"{kind}s {_name(classes[kind])}" for kind in ("write", "read"))
    return whole, next(reason for cls, reason in found.values() if cls == whole)


MOST_UNCLEAR = 6
"""Sides and kinds of which it is not known whether they were served, up to which every case is gone through."""


def _possible(
    row: Scenario, found: Mapping[Kind, tuple[Class, str]], before: Sequence[Measure], converged: Convergence, words: _Words
) -> Iterator[dict[Kind, tuple[Class, str]]]:
    """What the reads and the writes of a fault are in each case that there is, where of some sides too little was seen to tell
    whether they were served: that each of them was, or was not. Nothing where a side was hardly asked: then also what it would
    have answered is not known."""
    unclear = [(side.nodes, kind) for kind in KINDS if found[kind][0] == "unknown" for side in row.cut_sides
               if side.of(kind).state == "unknown"]
    asked = {(side.nodes, kind): side.of(kind).attempted for side in row.cut_sides for kind in KINDS}
    if not unclear or len(unclear) > MOST_UNCLEAR or any(asked[one] < TRIED for one in unclear):
        return
    states: tuple[Availability, ...] = ("available", "blocked")
    for case in product(states, repeat=len(unclear)):
        changed = _as_if(row, dict(zip(unclear, case, strict=True)))
        yield {kind: _class(changed, kind, before, converged, words) for kind in KINDS}


def _as_if(row: Scenario, states: Mapping[tuple[tuple[str, ...], Kind], Availability]) -> Scenario:
    """The row, had these sides been served like that."""
    def measured(side: Side, found: Measure) -> Measure:
        return msgspec.structs.replace(found, state=states.get((side.nodes, found.kind), found.state))

    return msgspec.structs.replace(row, sides=tuple(
        msgspec.structs.replace(side, read=measured(side, side.read), write=measured(side, side.write),
                                spared=tuple(measured(side, one) for one in side.spared))
        for side in row.sides
    ))


def _class(
    row: Scenario, kind: Kind, before: Sequence[Measure], converged: Convergence, words: _Words
) -> tuple[Class, str]:
    """The class of one kind in one fault, and why: the first thing that decides it."""
    held = consistency(row, kind)
    open_still = _unproven(row, kind, before)
    if open_still is not None:
        return open_still
    if not row.links_cut:
        return _uncut(row, kind, held, words)
    open_still = _unseen(row, kind, held, before)
    if open_still is not None:
        return open_still
    return _refuted(row, kind, converged, words) if held == "refuted" else _unrefuted(row, kind, held, words)


def _unproven(row: Scenario, kind: Kind, before: Sequence[Measure]) -> tuple[Class, str] | None:
    """Why nothing follows from this fault for that kind, if so: it, its heal or the baseline was not what it should be."""
    if not row.bit:
        return "unknown", "unknown: the fault was not proven to take effect as intended"
    if row.healed is None or row.recovery_reason == "the heal was not proven":
        return "unknown", "unknown: the heal was not proven"
    if row.dead:
        return "unknown", f"unknown: {row.deaths}, so what was not answered is not the fault's doing alone"
    calm = next((found for found in before if found.kind == kind), None)
    if calm is None or calm.share is None:
        return "unknown", f"unknown: no {kind} was made before the first fault"
    if calm.share < GOOD:
        return "unknown", f"unknown: {kind}s were not served well before the first fault"
    return None


def _uncut(row: Scenario, kind: Kind, held: Consistency, words: _Words) -> tuple[Class, str]:
    """The class of a fault that cut no link, and what it did all the same."""
    states = [side.of(kind).state for side in row.cut_sides]
    if not states:
        went = "no server was spared"
    elif "blocked" in states:
        went = "some of the servers that went on were blocked"
    elif "unknown" in states:
        went = "too little was asked of the servers that went on"
    else:
        went = "the servers that went on were available"
    told = {"held": words.held, "refuted": words.refuted, "undecided": f"whether {words.question} was not decided"}[held]
    which = " for good" if row.links_flapping else " between nodes" if row.severed else ""
    return "not-exercised", f"not exercised: no link was cut{which} ({row.label}); {told}, and {went}"


def _unseen(row: Scenario, kind: Kind, held: Consistency, before: Sequence[Measure]) -> tuple[Class, str] | None:
    """Why too little was seen of a cut for a class of that kind, if so."""
    written = any(found.kind == "write" and found.attempted for found in (*before, *(side.write for side in row.cut_sides)))
    if held == "held" and not written:
        return "unknown", "unknown: nothing was written, so that no answer could have been wrong"
    blocked = [side for side in row.cut_sides if side.of(kind).state == "blocked"]
    unclear = [side for side in row.cut_sides if side.of(kind).state == "unknown"]
    waited = {node for side in blocked or unclear for node in side.nodes}
    if shut := [node for node in row.shut_before.get(kind, ()) if node in waited]:
        return "unknown", f"unknown: {kind}s at {group(shut)} were not served before the first fault either"
    if not blocked and unclear:
        return "unknown", f"unknown: {_too_little(kind, unclear)}"
    return None


def _refuted(row: Scenario, kind: Kind, converged: Convergence, words: _Words) -> tuple[Class, str]:
    """The class of a kind that was answered wrongly, where it is known how each side was served or that one was blocked."""
    if any(side.of(kind).state == "blocked" for side in row.cut_sides):
        return "neither", "neither consistent nor available during the partition"
    masked = row.masked_sides
    if converged.state == "agreed" and masked:
        return "unknown", f"unknown: {words.refuted}, but {_masked(masked)}"
    if converged.state == "agreed":
        return "AP", f"AP: every side was served{_aside(row)}, but {words.refuted}; the replicas agreed afterwards"
    if converged.state == "diverged":
        told = f"every side was served{_aside(row)}, but" if not masked else f"{words.refuted}, and"
        return "neither", f"neither: {told} the replicas never agreed afterwards"
    return "unknown", f"unknown: {words.refuted}, and whether the replicas agreed is not known ({converged.reason})"


def _unrefuted(row: Scenario, kind: Kind, held: Consistency, words: _Words) -> tuple[Class, str]:
    """The class of a kind of which no answer was wrong, or it is not known (`undecided`), where it is known how each side was
    served or that one was blocked."""
    quorum = next((side.of(kind) for side in row.cut_sides if side.quorum), None)
    if quorum is not None and quorum.state == "blocked" and quorum.served is False and quorum.answered == 0:
        return "unavailable", f"unavailable: the side with a quorum was answered no {kind}"
    if held == "undecided":
        return "unknown", f"unknown: it was not decided whether {words.question}"
    blocked = any(side.of(kind).state == "blocked" for side in row.cut_sides)
    masked = row.masked_sides
    if masked and (not blocked or any(side.quorum for side in masked)):
        return "unknown", f"unknown: {words.held}, but {_masked(masked)}"
    if not blocked:
        everywhere = f"{words.held} and available everywhere{_aside(row)}"
        if row.discarded is not None and row.discarded.writes:
            return "not-exercised", f"not exercised: {everywhere}, the fault cost nothing that was tested"
        return "not-exercised", f"not exercised: {everywhere}, the fault cost nothing: {_why(row)}"
    doubt = "" if quorum is None else _doubted_quorum(row, kind, quorum, words)
    if doubt:
        return "unknown", f"unknown: {doubt}"
    if not row.served_after:
        short = row.recovery is None and row.recovery_reason.endswith("left after the heal")
        told = f"{row.recovery_reason}: too little to see who was served again" if short else (
            "not every home was served again after the heal")
        return "unknown", f"unknown: {words.held} and blocked on a side, but {told}"
    went = "the side with a quorum went on" if quorum is not None else "no side had a quorum"
    return "CP", f"CP: {words.held}; a side was blocked during the partition, {went}"


def _doubted_quorum(row: Scenario, kind: Kind, quorum: Measure, words: _Words) -> str:
    """Why it is not known that the side with a quorum went on while another one was blocked; empty where it is known."""
    if not quorum.served:
        tried = f"{quorum.answered:,} of {quorum.attempted:,} {kind}s answered"
        if quorum.served is None and quorum.state != "blocked":
            return f"too little is known of how the side with a quorum was served ({tried})"
        shut = [home.node for home in row.homes if (home.read if kind == "read" else home.write).state == "blocked"]
        if len(row.sides) == 1 and 0 < len(shut) < len(row.homes):
            joined = "though links by way of others joined them with a quorum"
            return f"{kind}s at {group(shut)} were not served, {joined} ({tried})"
        return f"the side with a quorum did not serve steadily again before the heal ({tried})"
    others = [side for side in row.cut_sides if not side.quorum]
    states = [side.of(kind).state for side in others]
    if "blocked" in states:
        return ""
    if row.masked_sides:
        return f"{words.held}, and only the side with a quorum was blocked, for a time; {_masked(row.masked_sides)}"
    if "unknown" in states:
        return _too_little(kind, [side for side in others if side.of(kind).state == "unknown"])
    if not others:
        return ""
    # A pause until there is a new primary gives nothing up, and the other side went on as if there were no quorum to ask.
    return (
        f"{words.held}, but only the side with a quorum was blocked, for a time; what was answered elsewhere without it may "
        "not have been kept"
    )


def _too_little(kind: Kind, sides: Sequence[Side]) -> str:
    """What of these sides is not known, by the first, and what would tell more."""
    found = sides[0].of(kind)
    more = ": raise --rate or --concurrency, or lengthen --fault" if found.attempted else ""
    if not found.attempted and sides[0].read.attempted + sides[0].write.attempted:
        more = "; who waits for one call makes no other: raise --concurrency"
    return f"too little is known of {kind}s at {group(sides[0].nodes)} ({found.reason}{more})"


def _masked(sides: Sequence[Side]) -> str:
    """Why nothing follows from who was served on these sides."""
    nodes = [node for side in sides for node in side.nodes]
    were, whom = ("was", "it") if len(nodes) == 1 else ("were", "each of them")
    return (f"while {' '.join(nodes)} {were} cut off something else was done to {whom}, so who was served there says nothing "
            "of the partition")


def _aside(row: Scenario) -> str:
    """The homes that a sentence about all sides leaves out."""
    struck = [node for side in row.cut_sides for node in side.struck]
    return f" (clients at {' '.join(struck)} aside, to which something else was done)" if struck else ""


def _why(row: Scenario) -> str:
    if row.in_force is not None and row.heal_began is not None and row.heal_began - row.in_force < SHORT:
        return f"it lasted {row.heal_began - row.in_force:.1f} s"
    return "every client still reached what it needed"


def _both(classes: Mapping[Kind, Class]) -> Class:
    """The class of a fault from those of its reads and writes: a kind that cost nothing leaves the other's."""
    found = {cls for cls in classes.values() if cls != "not-exercised"}
    if len(found) < 2:
        return found.pop() if found else "not-exercised"
    if "unknown" in found:
        return "neither" if "neither" in found else "unknown"
    return "hybrid"


def _over(classes: Iterable[Class]) -> Class:
    """The class over several faults."""
    found = {cls for cls in classes if cls != "not-exercised"}
    if len(found) < 2:
        return found.pop() if found else "not-exercised"
    if "unknown" in found and not found & {"AP", "neither", "hybrid"}:
        return "unknown"
    return "neither" if found == {"unknown", "neither"} else "hybrid"


def _spelled(whole: Class, classes: Mapping[Kind, Class], rows: Sequence[Scenario]) -> str:
    if whole == "hybrid":
        apart = {row.classification for row in rows if row.classification != "not-exercised"}
        if apart == {"hybrid"} and not {"hybrid", "unknown"} & set(classes.values()):
            return "hybrid: " + ", ".join(f"{kind}s {_name(classes[kind])}" for kind in ("write", "read"))
        return "hybrid: " + _apart(rows)
    matching = [row for row in rows if row.classification == whole]
    if whole == "unknown" and len(matching) < len(rows):
        return f"{matching[0].sentence} (in '{matching[0].name}'; otherwise: {_apart([r for r in rows if r not in matching])})"
    # One that cut links says more than one that did not.
    sentence = next((row for row in matching if row.links_cut), matching[0]).sentence
    if len(matching) < len(rows):
        others = [row for row in rows if row not in matching]
        spared = all(row.classification == "not-exercised" and not row.links_cut and not row.links_flapping for row in others)
        rest = "the rest cut no link between nodes" if spared else f"otherwise: {_apart(others)}"
        sentence += f" (in {len(matching)} of {len(rows)} faults; {rest})"
    return sentence


def _apart(rows: Sequence[Scenario]) -> str:
    """Every class that was seen and when: "CP unless the primary is cut off from the majority (then neither)"."""
    groups: dict[str, list[Scenario]] = {}
    for row in rows:
        text = row.sentence if row.classification == "hybrid" else _name(row.classification)
        groups.setdefault(text, []).append(row)
    if len(groups) == 1:
        return next(iter(groups))
    if len(groups) == 2:
        for usual, other in (tuple(groups), tuple(groups)[::-1]):
            isolated = [_isolated(row) for row in groups[other]], [_isolated(row) for row in groups[usual]]
            if all(isolated[0]) and not any(isolated[1]):
                return f"{usual} unless the primary is cut off from the majority (then {other})"
    parts = []
    for text, members in groups.items():
        names = list(dict.fromkeys(f"'{row.name}'" for row in members))
        parts.append(f"{text} in {' and '.join(names)}")
    return "; ".join(parts)


def _isolated(row: Scenario) -> bool:
    """Whether there was a side with a quorum and the primary was not on it."""
    return row.primary is not None and any(side.quorum and not side.primary for side in row.cut_sides)


def _name(cls: Class) -> str:
    return {"neither": "neither consistent nor available", "not-exercised": "unharmed", "unknown": "not known"}.get(cls, cls)


def _sacrifice(rows: Sequence[Scenario], kind: Kind) -> Sacrifice:
    """The worst that any fault did to that kind."""
    if any(consistency(row, kind) == "refuted" for row in rows):
        return "wrong"
    clear = [row for row in rows if row.bit and not row.dead]
    shut = [[side.of(kind).state == "blocked" and not side.of(kind).served for side in row.cut_sides] for row in clear]
    if any(sides and all(sides) for sides in shut):
        return "blocked everywhere"
    if any(any(sides) for sides in shut):
        return "blocked on a side"
    states = {side.of(kind).state for row in clear for side in row.cut_sides}
    if "unknown" in states or any(row.dead for row in rows) or any(consistency(row, kind) == "undecided" for row in clear):
        return "unknown"
    if any(row.masked_sides for row in clear):
        return "unknown"
    return "delayed" if "blocked" in states else "none"
