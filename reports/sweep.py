"""A sweep: what a partition cost, against how long it lasted.

The runs of one database and variant, alike but for the length of their faults. A point is a run, at the length that was
measured; nothing is drawn between two of them, because nobody was there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from splitbrain.reports.nights import Cost, Place, Told
from splitbrain.reports.rates import markdown_row
from splitbrain.reports.wording import count, in_markdown, plural, printable, seconds, sentence


class Measured(NamedTuple):
    """One thing that faults cost: its name, its unit on an axis, its number, how that is told, and whether it may be more."""

    key: str
    name: str
    unit: str
    number: Callable[[Cost], float | None]
    told: Callable[[float], str]
    at_least: Callable[[Cost], bool] = lambda _: False


def _count(number: float) -> str:
    return count(round(number))


MEASURES = (
    Measured("lost", "writes lost, proven", "writes", lambda cost: cost.lost, _count),
    Measured("discarded", "writes discarded", "writes", lambda cost: cost.discarded, _count, lambda cost: cost.untold),
    Measured("stale_ms", "stalest read of the run", "seconds",
             lambda cost: None if cost.stale_ms is None else cost.stale_ms / 1000, seconds, lambda cost: cost.at_least),
    Measured("recovery", "recovery after the heal", "seconds", lambda cost: cost.recovery, seconds),
)


class Point(NamedTuple):
    """One run of a sweep."""

    run: Told
    cost: Cost


class Sweep(NamedTuple):
    """The runs of one place with faults of several lengths, the shortest first. `missing` are those that have no cost: they
    could not be judged, or had no fault."""

    place: Place
    points: tuple[Point, ...]
    missing: tuple[Told, ...]

    @property
    def name(self) -> str:
        return f"{self.place.database} {self.place.version} {self.place.variant}".replace("  ", " ")

    @property
    def where(self) -> str:
        return f"{self.place.nodes}, {self.place.workload} under {self.place.nemesis}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the points do not tell, and why."""
        lines = []
        if unproven := sum(not point.cost.proven for point in self.points):
            lines.append(f"{plural(unproven, 'run')} had a fault that was not proven: marked, and no proof.")
        if undecided := sum(point.run.verdict == "unknown" for point in self.points):
            lines.append(f"{plural(undecided, 'run')} ended unknown: marked too.")
        if self.missing:
            lines.append(f"{plural(len(self.missing), 'run')} could not be judged and {_is(len(self.missing))} not among them.")
        for measured in MEASURES:
            reasons = [why for point in self.points if (why := point.cost.unknown.get(measured.key)) is not None]
            if reasons:
                told = "; ".join(dict.fromkeys(filter(None, reasons)))
                lines.append(f"{measured.name}: not known in {len(reasons)} of {plural(len(self.points), 'run')}"
                             f"{f' ({told})' if told else ''}.")
        return tuple(lines)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def certain(point: Point) -> bool:
    """Whether a point stands for its length: its faults were proven, and the run decided something."""
    return point.cost.proven and point.run.verdict != "unknown"


def cell(point: Point, measured: Measured) -> str:
    """What one run cost of one thing: a number, or that it is not known."""
    number = measured.number(point.cost)
    if number is None:
        return "not known"
    return ("at least " if measured.at_least(point.cost) else "") + measured.told(number)


def lasted(point: Point) -> str:
    """How long the faults of a run lasted: measured, or planned where they were not proven."""
    faults = len(point.cost.lengths) + point.cost.unproven
    told = seconds(point.cost.length) + ("" if point.cost.lengths else " planned")
    return told + (f" each, {faults} faults" if faults > 1 else "") + ("" if point.cost.proven else ", not proven")


def markdown(sweep: Sweep) -> list[str]:
    """A sweep as lines of Markdown: a row a run."""
    heads = ("fault", *(measured.name for measured in MEASURES), "verdict", "run")
    lines = [f"## Against the length of the fault: {in_markdown(f'{sweep.name}, {sweep.where}')}", "", markdown_row(heads)]
    lines.append(markdown_row(("---:",) * (len(heads) - 2) + ("---",) * 2))
    for point in sweep.points:
        cells = (lasted(point), *(cell(point, measured) for measured in MEASURES), point.run.verdict, printable(point.run.run))
        lines.append(markdown_row(cells))
    return [*lines, *(line for note in sweep.notes for line in ("", in_markdown(sentence(note))))]


def sweeps(runs: Sequence[Told]) -> tuple[Sweep, ...]:
    """Every sweep among the runs of a suite, in their order."""
    places: dict[Place, list[Told]] = {}
    for run in runs:
        if run.place.fault:
            places.setdefault(msgspec.structs.replace(run.place, fault=0.0), []).append(run)
    return tuple(
        Sweep(place, tuple(sorted((Point(run, run.cost) for run in here if run.cost is not None),
                                  key=lambda point: point.cost.length)),
              tuple(run for run in here if run.cost is None))
        for place, here in places.items()
    )
