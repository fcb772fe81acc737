"""What `--expect` may name, and whether a result shows it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.result import CLASSES, Expectation, Result
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.sides import group

SIDES = ("available:majority", "available:minority", "blocked:majority", "blocked:minority")
"""`available`: reads and writes were, in every fault that had such a side, and there was one. `blocked`: reads or writes
were, on every such side."""

_SOUND = ("CP", "not-exercised")
"""The classes that say that nothing was wrong: a run that proves nothing does not show them."""

WORDS: tuple[str, ...] = ("valid", "invalid", *ANOMALIES, *CLASSES, *SIDES)


def parse(text: str) -> str:
    """The expectation in its one spelling; case does not matter. It may name the share of runs that show it at least:
    `neither 80%`. Raises `UsageError` naming the nearest for any other."""
    word, rate = word_and_rate(text)
    return word if rate is None else f"{word} {100 * rate:g}%"


def word_and_rate(text: str) -> tuple[str, float | None]:
    """What an expectation names, and the share of runs that show it at least where it is a rate. Raises `UsageError`."""
    known = {word.lower(): word for word in WORDS}
    word, _, share = text.strip().partition(" ")
    if word.lower() not in known or (share and not re.fullmatch(r"\d{1,3}(\.\d+)?\s*%", share.strip())):
        raise UsageError(f"nothing to expect is called '{text}': {_meant(word.lower(), known)}")
    if not share:
        return known[word.lower()], None
    rate = float(share.strip().rstrip("% ")) / 100
    if not 0 < rate <= 1:
        raise UsageError(f"'{text}' expects {share.strip()} of runs: it must be more than 0% and at most 100%.")
    return known[word.lower()], rate


def _meant(word: str, known: Mapping[str, str]) -> str:
    """The nearest of what there is, or what kinds of words there are; and where all of them are listed."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    near += [one for one in known if len(word) > 2 and word in one and one not in near][:3 - len(near)]
    if near:
        return f"did you mean {' or '.join(repr(known[one]) for one in near)}? {_LIST}"
    kinds = "a class (CP, AP, neither), a side (blocked:minority) or an anomaly (lost-write)"
    return f"it may be valid or invalid, {kinds}. {_LIST}"


_LIST = "The page 'Commands' of the documentation (docs/commands.md) lists all."


def meets(text: str, result: Result) -> Expectation:
    """Whether `result` shows what `text` names (as `parse` accepts it). A rate is met by every run that is judged."""
    what, rate = word_and_rate(text)
    found = _shows(what, result)
    if rate is None:
        return found
    told = f"{'seen' if found.met else 'not seen'} in this run ({found.reason}); a suite holds the rate against its runs"
    return Expectation(parse(text), result.validity != "unknown", told, rate, found.met)


def _shows(what: str, result: Result) -> Expectation:
    if what in ("valid", "invalid"):
        reason = f"no anomaly found {result.reason}" if result.validity == "valid" else result.reason
        return Expectation(what, result.validity == what, f"the run is {result.validity}: {reason}")
    if what in SIDES:
        return _side(what, result)
    if what in ANOMALIES:
        number = result.counts.get(what, 0)
        return Expectation(what, number > 0, f"seen {number:,} times" if number else "not seen")
    if what == result.classification and what in _SOUND and result.validity == "unknown":
        return Expectation(what, False, f"classified: {result.sentence}; but the run proves nothing: {result.reason}")
    met = result.classification == what or (what == "unknown" and result.validity == "unknown")
    return Expectation(what, met, f"classified: {result.sentence}")


def _side(what: str, result: Result) -> Expectation:
    state, _, which = what.partition(":")
    sides = [(row, side) for row in result.scenarios for side in row.cut_sides if side.quorum == (which == "majority")]
    for row in result.scenarios:
        if any(side.quorum == (which == "majority") for side in row.masked_sides):
            told = "something else was done to every node of a side that was cut off"
            return Expectation(what, False, f"in '{row.name}' {told}")
    if not sides:
        return Expectation(what, False, f"no fault left a {which} side")
    for row, side in sides:
        if row.dead:
            return Expectation(what, False, f"in '{row.name}' {row.deaths}")
        states = (side.read.state, side.write.state)
        if not (states == ("available", "available") if state == "available" else "blocked" in states):
            told = f"reads {states[0]}, writes {states[1]}"
            if not row.bit:
                told += ", and the fault was not proven"
            return Expectation(what, False, f"in '{row.name}' {group(side.nodes)} had {told}")
        if not row.bit:
            return Expectation(what, False, f"the fault '{row.name}' was not proven")
    return Expectation(what, True, f"on all {len(sides)} such sides" if len(sides) > 1 else "on the one such side")
