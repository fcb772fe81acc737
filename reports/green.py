"""How probable it is that a whole night of a suite is green, by the rates that were recorded; intervals, not point guesses.

A run is red where an expectation that names no rate is not met, or where it proves nothing, also when run again; an expectation
that names a rate makes a night red once the runs of this and the nights before refute it (`nights.CHANCE`).

What is not known is drawn: each probability from what Jeffreys' prior makes of the records (of 10 in 10, somewhere between
78% and 100%), all of them together many times over, so that few records make a wide interval. Whether a run proves anything,
and whether one that must be valid is, are rare events of one kind, which the records of all places tell together; any other
expectation is told by the records of its own place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.expectations import word_and_rate
from splitbrain.harness.plan import Plan, short
from splitbrain.reports.nights import CHANCE
from splitbrain.reports.rates import Rate, fault_of, markdown_row
from splitbrain.reports.wording import share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 5000

NIGHTS = 30
"""Nights whose runs a rate is held against, at most: as many as are kept."""


class Green(msgspec.Struct, frozen=True):
    """The share of nights that are green: the middle of what the records allow, and the bounds of 95% of it."""

    middle: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """`98.1% of nights (90.2% to 99.8%)`."""
        middle, low, high = (share(round(part * 100_000), 100_000) for part in (self.middle, self.low, self.high))
        return f"{middle} of nights ({low} to {high})"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a suite: its runs a night, what is expected of them, in how many of the records it was seen, and how often
    it leaves the night green."""

    place: tuple[str, ...]
    runs: int
    expected: tuple[str, ...]
    seen: tuple[str, ...]
    green: Green


class Forecast(msgspec.Struct, frozen=True):
    """A suite's rows, the one that is red most often first, and the whole night."""

    rows: tuple[Row, ...]
    green: Green


def forecast(runs: Iterable[tuple[Plan, int]], records: Sequence[Rate]) -> Forecast:
    """What the records make probable of a night. `runs` are the suite's plans, each with how often it is run again where it
    proves nothing. The same records give the same numbers."""
    import numpy as np

    random = np.random.default_rng(8161)

    def drawn(good: int, of: int) -> NDArray[np.float64]:
        return random.beta(good + 0.5, of - good + 0.5, DRAWS)

    places: dict[tuple[tuple[str, ...], tuple[str, ...], int], int] = {}
    for plan, retries in runs:
        key = _place(plan), plan.expect, retries
        places[key] = places.get(key, 0) + 1
    by_place: dict[tuple[str, ...], list[Rate]] = {}
    for one in records:
        nodes = f"{one.nodes} {one.testbed}"
        by_place.setdefault((one.database, one.variant, nodes, one.workload, one.nemesis), []).append(one)
    every = [one for place in {place for place, _, _ in places} for one in by_place.get(place, ())]
    judged = [one for one in every if one.validity != "unknown"]
    promised = [
        one for place in {place for place, expect, _ in places if "valid" in expect} for one in by_place.get(place, ())
        if one.validity != "unknown"
    ]
    proves = drawn(len(judged), len(every))
    holds = drawn(sum(one.validity == "valid" for one in promised), len(promised))

    whole = np.ones(DRAWS)
    rows = []
    for (place, expect, retries), times in places.items():
        here = [one for one in by_place.get(place, ()) if one.validity != "unknown"]
        green = (1 - (1 - proves) ** (retries + 1)) ** times
        seen = []
        for text in expect:
            word, rate = word_and_rate(text)
            shows = _told(word)
            good, of = sum(map(shows, here)) if shows else 0, len(here) if shows else 0
            seen.append(f"{good} of {of}")
            if rate is None:
                green = green * (holds if word == "valid" else drawn(good, of)) ** times
                continue
            green = green * (1 - np.interp(drawn(good, of), *_refuted(rate, times)))
        whole = whole * green
        rows.append(Row(place=place, runs=times, expected=expect, seen=tuple(seen), green=_middle(green)))
    return Forecast(tuple(sorted(rows, key=lambda row: row.green.middle)), _middle(whole))


@cache
def _refuted(rate: float, times: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities that a run shows it, and for each how probable it is that so many runs a night refute the rate, on the
    night of the first thirty on which that is most probable."""
    import numpy as np
    from scipy.special import bdtr

    shown = np.linspace(0, 1, 201)
    most = np.zeros_like(shown)
    for size in range(times, times * NIGHTS + 1, times):
        few = np.searchsorted(bdtr(np.arange(size + 1), size, rate), CHANCE) - 1  # The most that refutes it.
        if few >= 0:
            most = np.maximum(most, bdtr(few, size, shown))
    return shown, most


def _middle(drawn: NDArray[np.float64]) -> Green:
    import numpy as np

    low, middle, high = np.quantile(drawn, (0.025, 0.5, 0.975))
    return Green(float(middle), float(low), float(high))


def _place(plan: Plan) -> tuple[str, ...]:
    return short(plan.database), plan.variant, f"{plan.nodes} {plan.testbed}", short(plan.workload), fault_of(plan)


def _told(word: str) -> Callable[[Rate], bool] | None:
    """Whether a record shows what an expectation names; None where records do not tell."""
    if word in ("valid", "invalid"):
        return lambda one: one.validity == word
    if word in ANOMALIES:
        return lambda one: word in one.anomalies
    return None if ":" in word else lambda one: one.classification == word


def table(found: Forecast) -> str:
    """The forecast in Markdown, the night as a whole in its first line."""
    lines = [
        f"Green in {found.green.sentence}.", "",
        markdown_row(("database", "variant", "nodes", "workload", "nemesis", "runs a night", "expected", "recorded", "green")),
        markdown_row(("---",) * 5 + ("---:",) + ("---",) * 3),
    ]
    lines += [
        markdown_row((*row.place, str(row.runs), ", ".join(row.expected), ", ".join(row.seen), row.green.sentence))
        for row in found.rows
    ]
    return "\n".join(lines) + "\n"
