"""The vendor's claim and the labels of literature, held against what was seen; and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES, is_one, losing, undoing
from splitbrain.checkers.cases.social_feed import LIKES
from splitbrain.checkers.promises import BESIDE, BY_A_LOOK, DECIDING, MEASURED, PARTS, WORDS, breaks
from splitbrain.checkers.result import Answer, Assessment, Check, Class, Consistency, Convergence, Half, Pacelc, Scenario
from splitbrain.checkers.sessions.models import MODELS as SESSIONS
from splitbrain.checkers.structures.counter import FINAL as SUMS
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.checkers.verdict import Standing, Validity, Verdict
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.sides import group, listed
from splitbrain.harness.history.variant import Claim, Label, Promise


def claim(
    claimed: Claim, counts: Mapping[str, int], rows: tuple[Scenario, ...], verdicts: Sequence[Verdict],
    converged: Convergence, validity: Validity, *, overwritten: bool = False, damage: str = "",
    tested: bool = True, by_a_look: bool = False,
) -> Assessment:
    """Does not hold: a promise was refuted. Holds: what it admits was seen, or what is one of these by definition (where it
    admits losses, nothing but a loss will do), or every promise was decided (see `promises`) under a proven fault, during which
    the side with a quorum answered, and stood. Holds in part: the workload decides some of what is promised, or tests parts of
    it, and that stood. Not tested: anything else. `verdicts` are those of the workload's checkers; `overwritten`: transactions
    set registers, so that what is no longer there may have been overwritten; `by_a_look`: a service wrote what it made of an
    earlier look, without a condition; `damage` says what was done to files that the claim says nothing of, empty where nothing
    was; `tested`: the run was one that may support a claim at all."""
    def assess(standing: Answer, reason: str) -> Assessment:
        return Assessment(text=claimed.text, source=claimed.source, standing=standing, reason=reason)

    found = list(counts)
    if by_a_look:
        verdicts, counts = _without(BY_A_LOOK, verdicts, counts)
    overlooked = [name for name in found if name not in counts]
    standings = {promise: _standings(promise, verdicts) for promise in claimed.promises}
    for promise in claimed.promises:
        if broken := _broken(promise, counts, rows, standings[promise], converged):
            if damage:
                return assess("not tested", f"{broken}, but {damage}")
            return assess("does not hold", f"it promises {WORDS[promise]}, but {broken}")
    admitted = [name for name in claimed.admits if name in losing()] or list(claimed.admits)
    seen = [name for name in claimed.admits if counts.get(name)]
    if any(name in admitted for name in seen):
        return assess("holds", f"it admits {listed(seen)}, which {'was' if len(seen) == 1 else 'were'} seen")
    if "lost-write" in admitted and _short(one for verdict in verdicts for one in verdict.standings):
        return assess("holds", "it admits lost-write, and a counter held less in the end than was acknowledged, which is one")
    shown = [name for name in counts if counts[name] and name not in losing()]
    kinds = [(kind, name) for kind in admitted for name in shown if is_one(name, kind)]
    if kinds:
        return assess("holds", f"it admits {kinds[0][0]}, and {kinds[0][1]} was seen, which is one")
    if own := [name for name in admitted if name in overlooked]:
        return assess("not tested", f"it admits {listed(own)}, and what was seen may be the service's own doing, which writes "
                      "without a condition what it made of an earlier look")
    if any(name in losing() for name in admitted):
        was = "was, and is" if len(seen) == 1 else "were, and are"
        beside = f"; {' and '.join(seen)}, which it admits too, {was} no loss" if seen else ""
        return assess("not tested", _unseen(admitted, counts) + beside)
    bitten = [row for row in rows if row.bit]
    if not bitten:
        return assess("not tested", "no fault was proven to take effect")
    if all(_unanswered(row) for row in bitten):
        return assess("not tested", "the side with a quorum answered nothing during the partition")
    asked = [promise for promise in claimed.promises if _asked(promise, standings[promise])]
    parts = {promise: found for promise in claimed.promises
             if promise not in asked and (found := _parts(promise, standings[promise]))}
    if claimed.promises and not asked and not parts:
        return assess("not tested", f"the workload tests nothing of {WORDS[claimed.promises[0]]}")
    refuted = {one.model for verdict in verdicts for one in verdict.standings if one.state == "refuted"}
    # What refutes models that it says nothing of, or none, as copies that differ do, leaves the rest of the run to support it.
    untouched = tested and validity == "invalid" and refuted <= BESIDE and (bool(refuted) or counts.keys() <= {"diverged"})
    if (asked or parts) and (validity == "valid" or untouched):
        undecided = [promise for promise in asked if promise not in MEASURED and not _decided(promise, standings[promise])]
        if undecided:
            return assess("not tested", f"whether {WORDS[undecided[0]]} holds is not known")
        if "no-lost-write" in asked and overwritten and not any(
            one.model in _CURRENT and one.state == "holds" for verdict in verdicts for one in verdict.standings
        ):
            return assess("not tested", "whether an acknowledged write was lost is not known: who overwrites a register hides "
                          "what was there, and these transactions may read what is old")
        if "available" in asked and not any(row.links_cut for row in bitten):
            return assess("not tested", "no link between nodes was cut, so that there were no sides")
        if "available" in asked and all(row.masked_sides for row in bitten):
            return assess("not tested", "something else was done to every node of a side that was cut off")
        if "available" in asked and (unclear := _unclear(bitten)):
            return assess("not tested", unclear)
        if "converges" in asked and converged.state != "agreed":
            return assess("not tested", f"whether replicas converge is not known: {converged.reason}")
        unasked = [WORDS[promise] for promise in claimed.promises if promise not in asked and promise not in parts]
        return assess("holds in part" if unasked or parts else "holds", _stood(asked, parts, unasked))
    if claimed.promises:
        return assess("not tested", "the run proves nothing that could refute or support it")
    if claimed.admits:
        return assess("not tested", _unseen(admitted, counts))
    return assess("not tested", "it promises nothing that a run can refute")


def _unseen(admitted: list[str], counts: Mapping[str, int]) -> str:
    """What to say where nothing of what is admitted was seen, and of what was seen what is less than that."""
    unseen = "which was not" if len(admitted) == 1 else "none of which was"
    less = next(((name, kind) for kind in admitted for name in counts if counts[name] and is_one(kind, name)), None)
    beside = f"; {less[0]}, which was, shows no {less[1]}" if less else ""
    lost = [name for name in losing() if counts.get(name) and name not in admitted]
    beside += f"; of {' and '.join(lost)}, which {'was' if len(lost) == 1 else 'were'} seen, it does not speak" if lost else ""
    return f"it admits {' and '.join(admitted)}, {unseen} seen in this run{beside}"


def _standings(promise: Promise, verdicts: Sequence[Verdict]) -> list[Standing]:
    """The standings that a promise is held against. What sessions are promised of single operations and what transactions
    promise are not the same, where the names are: a transaction that sees half of another one is against causal consistency of
    transactions, and a client that reads registers one at a time may see just that."""
    other = "transactions" if promise in SESSIONS else "sessions" if promise in LEVELS else ""
    return [one for verdict in verdicts if verdict.checker != other for one in verdict.standings]


def _unclear(rows: Sequence[Scenario]) -> str:
    """Of which side it is not known whether it was served, in words: nobody asked there, or too few to tell why some were not
    answered. Empty where there is none."""
    for row in rows:
        for side in row.cut_sides:
            if side.read.time_share is None and side.write.time_share is None:
                return f"in '{row.name}' nothing was tried at {group(side.nodes)}"
            for found in (side.write, side.read):
                short = found.answered < found.attempted or found.outage > found.outage_limit
                if found.state == "unknown" and short:
                    return f"in '{row.name}' too little is known of {found.kind}s at {group(side.nodes)} ({found.reason})"
    return ""


def _unanswered(row: Scenario) -> bool:
    """Whether there was a side with a quorum that was asked and answered nothing."""
    return any(
        side.quorum and side.read.attempted + side.write.attempted > 0 and side.read.answered + side.write.answered == 0
        for side in row.sides
    )


_CURRENT = ("strict-serializable", "strong-snapshot-isolation")
"""The levels at which who begins after a write was acknowledged sees it, or what replaced it."""

def _asked(promise: Promise, standings: Sequence[Standing]) -> bool:
    """Whether the run is one that may decide a promise: of the models that do, it judged one."""
    return promise in MEASURED or any(one.model in DECIDING[promise] for one in standings)


def _decided(promise: Promise, standings: Sequence[Standing]) -> bool:
    """Whether one of them holds."""
    return any(one.model in DECIDING[promise] and one.state == "holds" for one in standings)


def _parts(promise: Promise, standings: Sequence[Standing]) -> list[str]:
    """The parts of a promise that hold."""
    return [one.model for one in standings if one.model in PARTS.get(promise, ()) and one.state == "holds"]


def _stood(asked: Sequence[Promise], parts: Mapping[Promise, Sequence[str]], unasked: Sequence[str]) -> str:
    """What was not refuted, what was so in part, by the models that show it, and of what the workload shows nothing."""
    whole = " and ".join(WORDS[promise] for promise in asked)
    told = [f"nothing refuted {whole or 'it'} in this run"]
    part = ", ".join(f"{WORDS[promise]} ({', '.join(by)})" for promise, by in parts.items())
    told += [f"tested in part: {part}"] * bool(parts)
    told += [f"not tested: {', '.join(unasked)}"] * bool(unasked)
    return "; ".join(told)


def _without(
    models: frozenset[str], verdicts: Sequence[Verdict], counts: Mapping[str, int]
) -> tuple[list[Verdict], dict[str, int]]:
    """The verdicts without where they stand to these models, and the counts without the anomalies that are against these
    alone."""
    kept = [
        msgspec.structs.replace(verdict, standings=tuple(one for one in verdict.standings if one.model not in models))
        for verdict in verdicts
    ]
    against = {name for verdict in verdicts for one in verdict.standings if one.model in models for name in one.by}
    against -= {name for verdict in kept for one in verdict.standings for name in one.by}
    return kept, {name: number for name, number in counts.items() if name not in against}


def _short(standings: Iterable[Standing]) -> bool:
    """Whether a counter fell short in the end: an addition is a write, and what was acknowledged of them is not there."""
    return any(one.model in (SUMS, LIKES) and one.state == "refuted" and "wrong-total" in one.by for one in standings)


def _broken(
    promise: Promise, counts: Mapping[str, int], rows: tuple[Scenario, ...], standings: Sequence[Standing],
    converged: Convergence,
) -> str:
    """How a promise was refuted, in words; empty where it was not."""
    match promise:
        case "no-lost-write":
            lost = sum(counts.get(name, 0) for name in undoing())
            short = "a counter held less in the end than was acknowledged" if _short(standings) else ""
            return "acknowledged writes were lost" if lost else short
        case "converges":
            return converged.reason if converged.state == "diverged" else ""
        case "available":
            for row in rows:
                for side in row.cut_sides:
                    if row.bit and not row.dead and "blocked" in (side.read.state, side.write.state):
                        kind = "writes" if side.write.state == "blocked" else "reads"
                        return f"in '{row.name}' {kind} were blocked at {group(side.nodes)}"
            return ""
        case _:
            refuted = [one for one in standings if one.state == "refuted" and breaks(promise, one.model)]
            seen = dict.fromkeys(name for one in refuted for name in one.by)
            return "seen: " + (", ".join(seen) or f"no {WORDS[promise]}") if refuted else ""


def label(
    given: Label, seen: Class, held: Consistency, otherwise: Pacelc | None = None, kinds: Mapping[Kind, Class] | None = None,
    gave_way: int = 0, model: str = "linearizable", beside: frozenset[str] = BESIDE,
) -> Assessment:
    """A label with CP or AP (or the P half of PACELC, `PC/EC`, or `neither`) against the class that was seen; `not consistent`
    against an anomaly; the half after the slash against what was seen without a partition (`otherwise`), where a run measured
    that. Where reads and writes differ (`kinds`, the class of each), a label that is right of one of them holds in part; so
    does CP where so many acknowledged writes `gave_way` to another side's, which is against no model that the run tests, and
    where the `model` that was tested is less than linearizability. Of a model `beside` it no label says anything."""
    kinds = kinds or {}
    named = set(re.findall(r"\b(CP|AP|CA|PC|PA|NEITHER)\b", given.text.upper()))
    meant = {"CP": "CP", "PC": "CP", "AP": "AP", "PA": "AP", "CA": "CA", "NEITHER": "neither"}
    classes = {meant[name] for name in named}
    standing: Answer
    if model in beside and (classes or "consistent" in given.text.lower()):
        standing, reason = "not tested", f"what was tested ({model}) is no matter of the consistency that it speaks of"
    elif not classes and "not consistent" in given.text.lower() and held == "refuted":
        return Assessment(text=given.text, source=given.source, standing="holds", reason="an anomaly was seen")
    elif seen in ("unknown", "not-exercised", "not-distributed"):
        known = "unknown" in kinds.values() and set(kinds.values()) != {"unknown"}
        standing, reason = "not tested", f"this run is {_WORDS[seen]}" + (f" ({_apart(kinds)})" if known else "")
    elif len(classes) != 1:
        standing, reason = "not tested", "it names no class, or several"
    elif classes == {seen} == {"CP"} and gave_way:
        standing = "holds in part"
        writes = f"{gave_way:,} acknowledged write{'s' if gave_way > 1 else ''}"
        reason = f"what was seen is CP by what was tested, but {writes} gave way to another side's"
    elif classes == {seen} and seen in ("CP", "CA") and model not in DECIDING["linearizable"]:
        standing, reason = "holds in part", f"what was seen is {seen} by what was tested" + (f" ({model})" if model else "")
    elif classes == {seen}:
        standing, reason = "holds", f"what was seen is {_WORDS.get(seen, seen)}"
    elif seen == "hybrid" and len(set(kinds.values())) > 1 and classes & set(kinds.values()):
        standing, reason = "holds in part", f"it says one thing, and what was seen is two: {_apart(kinds)}"
    elif seen == "hybrid" and "unknown" in kinds.values() and "hybrid" not in kinds.values():
        standing, reason = "not tested", f"what was seen is two: {_apart(kinds)}"
    else:
        standing, reason = "does not hold", f"not what was seen: {_WORDS.get(seen, seen)}"
    claimed = set(re.findall(r"/(EL|EC)\b", given.text.upper()))
    if len(claimed) == 1 and otherwise is not None and otherwise.half != "unknown":
        partitioned, told = standing, reason
        half = claimed.pop()
        reason = f"without a partition what was seen is {otherwise.sentence}"
        if half not in (otherwise.half, *otherwise.halves.values()):
            standing, reason = "does not hold", f"{reason}, not {half}"
        elif half != otherwise.half:
            reason += f": it says {half} of both kinds, and that is so of {_of(half, otherwise.halves)}"
            standing = partitioned if partitioned == "does not hold" else "holds in part"
        elif partitioned == "not tested":
            standing = "holds"
        reason += f"; in a partition: {told}"
    elif standing == "holds" and named & {"PC", "PA"}:
        reason += "; the half about latency without a partition was not measured"
    return Assessment(text=given.text, source=given.source, standing=standing, reason=reason)


def _apart(kinds: Mapping[Kind, Class]) -> str:
    """`writes CP, reads AP`."""
    return ", ".join(f"{kind}s {_WORDS.get(kinds[kind], kinds[kind])}" for kind in KINDS[::-1] if kind in kinds)


def _of(half: Half, halves: Mapping[Kind, Half]) -> str:
    """The kinds of which a half of PACELC was seen: `writes alone`."""
    return " and ".join(f"{kind}s" for kind in KINDS[::-1] if halves.get(kind) == half) + " alone"


_WORDS: dict[Class, str] = {
    "unknown": "unknown", "not-exercised": "not exercised", "not-distributed": "not distributed",
    "neither": "neither consistent nor available", "hybrid": "a hybrid",
}


_OTHERWISE = (
    (("double-hold", "stale-fence", "fence-passed"),
     "Do not let a lock that ends by time guard data alone: a holder that is cut off goes on as if it still had it. Give every "
     "grant a number that grows (a fencing token), and let the storage refuse a write with an older one."),
    (("missed-event", "event-reordered", "event-from-the-past"),
     "Do not build a state on events alone: read it anew after every reconnect, and watch on from the revision that was read."),
    (("blocked-seen", "deleted-seen", "came-back"),
     "Ask the leader or a quorum, at the moment of showing, for what must not be shown (who is blocked, what was removed), and "
     "keep what was removed as a mark of its own, so that an old copy cannot bring it back."),
    (("lost-update",),
     "Do not write what was made of an earlier read unless the database refuses it where that was replaced in the meantime: "
     "carry the version that was read into a conditional write, lock it while reading, or ask for serializable transactions."),
    (("duplicate-id",),
     "Do not take these identifiers for unique: let a unique index refuse the second, or give every node a range of its own."),
    (("oversold", "charged-twice", "over-admitted", "wrong-total", "wrong-balance", "negative-balance", "out-of-bounds"),
     "Do not confirm what one side alone cannot know: let a majority decide, or give every side a share of its own beforehand; "
     "after a partition reconcile what was confirmed."),
)
"""What to do about anomalies that are not about reads and writes of registers."""


CIRCLES = frozenset(name for name in ANOMALIES if name.startswith(("G0", "G1c", "G2", "G-")))
"""The anomalies that are circles of transactions, each of which must come before the next."""


_LONGER = "Run it longer or with more load, and look at the failed questions of the test's quality."


_BETTER = {
    "servers": "See in that server's log why it ended, mend that, and run again: a longer run would end alike.",
    "harness": "Run it on a machine that has less else to do, or with less load (--rate, --concurrency).",
    "complete": "Run it again and let it come to its end.",
    "phases": "See what failed, here and in the servers' logs, mend that, and run again: a longer run would fail alike.",
    "concurrent": "Run it with more clients at once (--concurrency), so that their calls meet.",
    "shared keys": "Run it with fewer keys (--keys) or more clients (--concurrency), so that they meet on the same data.",
    "baseline": "Give the time before the first fault more calls: a longer --baseline, or more load (--rate, --concurrency). "
                "Where calls failed in it, see why: the report lists them by reason.",
    "faults": "See why no fault could happen, or leave it more --time, and run again.",
    "proof": "See what was not as intended ('splitbrain doctor' tells what this machine lacks), and run again.",
    "asked": "Let the fault last longer (--fault), or give it more load (--rate, --concurrency).",
    "final reads": "See why the data could not be read after the last heal, or give it longer to come to rest (--settle).",
}
"""What makes a run prove something, by the first grave question that was answered with no."""


def _better(unmet: Sequence[Check], limits: Sequence[str]) -> str:
    """What to do about a run that proves nothing, or too little: of its quality, else of a checker's limits."""
    if not unmet:
        return _LIMITED if limits else _LONGER
    name = unmet[0].name
    if re.match(r"fault \d+", name):
        return _BETTER["asked" if " at " in name else "proof"]
    return _BETTER.get(name.removesuffix(" reads").removesuffix(" writes") if name.startswith("baseline") else name, _LONGER)


_LIMITED = (
    "Judge it again with more time (splitbrain check --time-limit), or make a run that is easier to judge: shorter, or with "
    "more keys (--keys) and fewer clients."
)


_FAILED = (
    "A program that judges the run failed ({}), which says nothing of the database, and running it longer will not help: the "
    "traceback stands in the report under Checkers, and in result.json. If the file that it names is your own, mend it and "
    "judge the run again with 'splitbrain check'; else it is a bug in splitbrain: report it with that and with journal.jsonl."
)


def recommendations(
    counts: Mapping[str, int], seen: Class, rows: tuple[Scenario, ...], validity: Validity, failed: Sequence[str] = (),
    unmet: Sequence[Check] = (), limits: Sequence[str] = (),
) -> tuple[str, ...]:
    """What a reader can do about it, the most urgent first: of a run that proves nothing, how to make one that does, by what
    was `unmet` of its quality and by the `limits` that checkers hit; and of checkers that `failed`, that they did."""
    proves_nothing = validity == "unknown" and not counts
    broken = [_FAILED.format(", ".join(dict.fromkeys(failed)))] if failed else []
    found = [*(broken or [_better(unmet, limits)])] if proves_nothing else []
    found += [told for names, told in _OTHERWISE if any(counts.get(name) for name in names)]
    if any(counts.get(name) for name in (*undoing(), "split-brain")):
        found.append(
            "Do not take an acknowledgement for durable here: wait for a majority of replicas before acknowledging (write "
            "concern, quorum, WAIT), or make the old primary stop by itself, fenced by a generation number, before a new one "
            "is chosen; after a partition reconcile what clients believe to be written."
        )
    circles = [name for name in counts if counts[name] and name in CIRCLES]
    if circles:
        found.append(
            "Where a transaction decides by what it reads, ask for serializable transactions (strict serializable ones where "
            "it matters which was over first), or lock what it reads until it is over."
        )
    if any(counts[name] and name in ANOMALIES and "write" not in ANOMALIES[name].refutes
           for name in counts if name not in circles):
        found.append(
            "Do not base a decision on a read: read through the leader or a quorum where freshness matters, or carry the "
            "version that was read into a conditional write."
        )
    if counts.get("aborted-read") or counts.get("unwritten-read") or counts.get("unexpected"):
        found.append("Treat a refused write as one that may have happened, and retry only what may happen twice.")
    if counts.get("duplicate"):
        found.append("Make consumers idempotent: an element can be there twice.")
    if counts.get("diverged"):
        found.append("Run an explicit repair after a partition and compare replicas: they did not agree by themselves.")
    if validity == "invalid" and not found:
        found.append("Do not rely on what was tested here: ask for a stricter guarantee, and run again to see if it holds.")
    shut = [row for row in rows if not row.dead
            and any(side.of(kind).state == "blocked" for side in row.cut_sides for kind in KINDS)]
    if shut:
        when = "a partition" if any(row.links_cut and not row.struck for row in shut) else "such a fault"
        found.append(
            f"Expect that in {when} some clients cannot work: give every call a deadline, and decide what clients do when "
            "they are refused."
        )
    if seen == "not-exercised" and any(row.links_cut for row in rows):
        found.append("Cut other nodes, or for longer: this fault did not hurt, so it shows nothing of the trade-off.")
    elif seen == "not-exercised" and rows:
        found.append("Cut links between nodes too (--nemesis partition-primary): without that nothing of the trade-off shows.")
    if not proves_nothing:
        found += broken or ([_better(unmet, limits)] if seen == "unknown" else [])
    return tuple(found)
