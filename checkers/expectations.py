"""What `--expect` may name, and whether a result shows it."""

from __future__ import annotations

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.result import CLASSES, Expectation, Result
from splitbrain.harness.errors import UsageError, hint

SIDES = ("available:majority", "available:minority", "blocked:majority", "blocked:minority")
"""`available`: reads and writes were, in every fault that had such a side, and there was one. `blocked`: reads or writes
were, on every such side."""

WORDS: tuple[str, ...] = ("valid", "invalid", *ANOMALIES, *CLASSES, *SIDES)


def parse(text: str) -> str:
    """The expectation in its one spelling; case does not matter. Raises `UsageError` naming the nearest for any other."""
    known = {word.lower(): word for word in WORDS}
    if text.strip().lower() in known:
        return known[text.strip().lower()]
    raise UsageError(f"nothing to expect is called '{text}': {hint(text.strip(), WORDS)}")


def meets(text: str, result: Result) -> Expectation:
    """Whether `result` shows what `text` names (as `parse` accepts it)."""
    what = parse(text)
    if what in ("valid", "invalid"):
        return Expectation(what, result.validity == what, f"the run is {result.validity}: {result.reason}")
    if what in SIDES:
        return _side(what, result)
    if what in ANOMALIES:
        number = result.counts.get(what, 0)
        return Expectation(what, number > 0, f"seen {number:,} times" if number else "not seen")
    met = result.classification == what or (what == "unknown" and result.validity == "unknown")
    return Expectation(what, met, f"classified: {result.sentence}")


def _side(what: str, result: Result) -> Expectation:
    state, _, which = what.partition(":")
    sides = [(row, side) for row in result.scenarios for side in row.cut_sides if side.quorum == (which == "majority")]
    if not sides:
        return Expectation(what, False, f"no fault left a {which} side")
    for row, side in sides:
        if row.dead:
            return Expectation(what, False, f"in '{row.name}' {row.deaths}")
        states = (side.read.state, side.write.state)
        if not (states == ("available", "available") if state == "available" else "blocked" in states):
            where = "{" + " ".join(side.nodes) + "}"
            told = f"reads {states[0]}, writes {states[1]}"
            if not row.bit:
                told += ", and the fault was not proven"
            return Expectation(what, False, f"in '{row.name}' {where} had {told}")
        if not row.bit:
            return Expectation(what, False, f"the fault '{row.name}' was not proven")
    return Expectation(what, True, f"on all {len(sides)} such sides")
