"""One sentence on top of everything, for a reader who has never heard of CAP: what was done, and what it cost.

It claims nothing that the result does not count: every clause rests on a figure that the report tells further down.
"""

from __future__ import annotations

from collections.abc import Sequence

from splitbrain.checkers.anomalies import generalises, losing
from splitbrain.checkers.result import Result, Scenario, Side
from splitbrain.reports.wording import plural, printable, seconds, sentence

_WORST = ("neither", "unavailable", "AP", "hybrid", "CP", "not-exercised", "not-distributed", "unknown")


def plain(result: Result) -> str:
    """What happened, in one or two sentences of everyday words."""
    if result.validity == "unknown" and not result.counts:
        return f"This run proves nothing either way: {sentence(result.reason)}"
    worst = _worst(result)
    costs = [*_written(result, worst), *_read(result)]
    if not costs and result.counts:
        costs = [f"the database gave {plural(sum(result.counts.values()), 'answer')} that no correct one can give"]
    refused = _refused(worst) if worst is not None else ""
    if costs:
        told = "; ".join(filter(None, (_joined(costs), refused)))
    elif result.consistency == "held":
        told = f"{refused or 'every client went on working'}; no confirmed write was lost and no read was wrong"
    else:
        told = f"{refused or 'every client went on working'}; whether data stayed correct is not known"
    told = f"{_cause(worst, result.scenarios)}, {told}" if worst is not None else told
    after = "; once the network was whole again, copies of the data stayed different" if result.counts.get("diverged") else ""
    return sentence(told + after)


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
    return f"while {_joined(list(map(printable, smallest.nodes)))} {were} cut off from {whom}"


def _written(result: Result, worst: Scenario | None) -> list[str]:
    """What became of writes."""
    found = []
    gone = result.blast.discarded or 0
    names = set(result.counts) & {*losing(), "split-brain"}
    contested = worst is not None and (worst.discarded is not None and worst.discarded.contested > 0)
    if worst is not None and contested and (names or gone):
        found.append(f"{'both' if len(worst.sides) == 2 else 'several'} sides accepted writes")
    if result.lost.total or result.blast.lost:
        found.append(f"{plural(result.lost.total or result.blast.lost, 'write')} that had been confirmed {_were(result)} lost")
    elif gone and found:
        found.append(f"{plural(gone, 'confirmed write')} gave way to the other side's")
    elif "split-brain" in names:
        found.append("two versions of the same data went on side by side")
    return found


def _were(result: Result) -> str:
    return "was" if (result.lost.total or result.blast.lost) == 1 else "were"


def _read(result: Result) -> list[str]:
    """What was read wrongly."""
    old = sum(number for name, number in result.counts.items() if generalises("non-monotonic-read", name) and name not in
              (*losing(), "split-brain"))
    return [f"{plural(old, 'read')} returned old data"] if old else []


def _refused(row: Scenario) -> str:
    """Who could not work."""
    shut = [part for part in row.asked_sides if "blocked" in (part.read.state, part.write.state)]
    if not shut:
        return ""
    told = [_shut(part, row) for part in shut[:2]]
    return " and ".join(told) + (f" (and on {plural(len(shut) - 2, 'more side')})" if len(shut) > 2 else "")


def _shut(part: Side, row: Scenario) -> str:
    kinds = [measure for measure in (part.write, part.read) if measure.state == "blocked"]
    what = " or ".join({"write": "write", "read": "read"}[measure.kind] for measure in kinds)
    who = "clients" if len(row.asked_sides) == 1 else f"clients beside {_joined(list(map(printable, part.nodes)))}"
    if any(measure.outage_ended and measure.outage and measure.answered for measure in kinds):
        return f"{who} could not {what} for {seconds(max(measure.outage for measure in kinds))}"
    if all(measure.answered == 0 for measure in kinds):
        return f"{who} could not {what} at all"
    return f"{who} could often not {what}"


def _joined(clauses: list[str]) -> str:
    return clauses[0] if len(clauses) == 1 else ", ".join(clauses[:-1]) + " and " + clauses[-1]
