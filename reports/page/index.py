"""The index of a suite: one page for a night, its matrix sorted by surprise, each cell with the nights before.

Rows are database, version and variant; columns are workload and nemesis. What missed its expectation comes first, then what
differs from the nights before, then what could not be judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from splitbrain.checkers.measures.availability import wilson
from splitbrain.checkers.result import Assessment
from splitbrain.harness.files import write_whole
from splitbrain.reports import sweep
from splitbrain.reports.nights import Night, Place, RateSeen, Told, differ, headline, rates_seen
from splitbrain.reports.page import charts, templates
from splitbrain.reports.wording import plural, sentence, share

TREND = 30
"""Nights that a trend shows, the newest at the right."""


class Mark(msgspec.Struct, frozen=True):
    """One night in a trend: `kind` is `good`, `missed`, `unknown` or `none`, `hint` what it was."""

    kind: str
    hint: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One place of the matrix tonight. `surprise` sorts: 0 an expectation was missed, 1 it differs from the nights before, 2 it
    could not be judged, 3 nothing new."""

    place: Place
    runs: tuple[Told, ...]
    surprise: int
    why: tuple[str, ...]
    """Line by line; what programs logged comes after the first."""
    verdict: str
    common: str
    interval: str
    found: str
    again: str
    expected: str
    met: bool | None
    trend: tuple[Mark, ...]

    @property
    def undecided(self) -> str:
        """What a place is that could not be judged: one with a run that proves nothing, or that went wrong."""
        return {"unknown": "proves nothing", "not judged": "not judged"}.get(self.verdict, "did not end as it should")


class Claimed(msgspec.Struct, frozen=True):
    """What somebody says of a database's variant, and in how many of tonight's runs that held, did not, or was not tested."""

    database: str
    variant: str
    text: str
    source: str
    standings: str
    why: tuple[str, ...]
    """The reasons of these standings, those that hold apart."""
    refuted: bool


class Observed(msgspec.Struct, frozen=True):
    """A database's variant: what was observed of it, in how many of tonight's runs, and all that is said of it."""

    observed: str
    runs: tuple[Told, ...]
    claims: tuple[Claimed, ...]


class Status(msgspec.Struct, frozen=True):
    """How far a suite is: `done` of `of` runs, and what that leaves, in words (empty where it is not known, or over)."""

    done: int
    of: int
    left: str = ""

    @property
    def sentence(self) -> str:
        if self.done >= self.of:
            return f"all {plural(self.of, 'run')} done"
        return f"run {self.done + 1} of {self.of}" + (f", {self.left}" if self.left else "")


def write(
    path: Path, name: str, runs: Sequence[Told], before: Sequence[Night], status: Status, beside: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the index of a suite's night. Raises `StorageError`."""
    write_whole(path, page(name, runs, before, status, beside))


def page(
    name: str, runs: Sequence[Told], before: Sequence[Night], status: Status, beside: Sequence[tuple[str, str]] = ()
) -> str:
    """The index as text; links lead to the runs' folders beside it, and to the pages `beside` it (what each is, its file)."""
    environment = templates.environment()
    seen = rates_seen(runs, before)
    cells = matrix(runs, before, seen)
    columns = list(dict.fromkeys(cell.place.column for cell in cells))
    rows: dict[tuple[str, ...], dict[tuple[str, str], Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.place.row, {})[cell.place.column] = cell
    environment.filters.update(lasted=sweep.lasted, cost=sweep.cell, sentence=sentence, nodes=_nodes)
    surprises = [cell for cell in cells if cell.surprise < 3]
    return environment.get_template("index.html.j2").render(
        sweeps=[(one, _drawn(one, number)) for number, one in enumerate(sweep.sweeps(runs))], measures=sweep.MEASURES,
        name=name, status=status, live=status.done < status.of, columns=columns, rows=rows, rates=seen, claims=claimed(runs),
        headline=headline(runs), expected=any(run.expect for run in runs), total=len(runs), nights=len(before),
        green=_green(before), beside=beside,
        surprises=surprises, tone=_tone(runs, surprises, status),
        style=templates.style(),
    )


def _nodes(of: str) -> str:
    """`5 nodes, namespaces`, of what a place calls `5 namespaces`."""
    number, _, testbed = of.partition(" ")
    return f"{number} node{'' if number == '1' else 's'}, {testbed}"


def _tone(runs: Sequence[Told], surprises: Sequence[Cell], status: Status) -> str:
    """The colour of a night: green only where all of it is over and as it should be. Anomalies that nobody expected, or that
    were the same on the nights before, are no surprise, and yet not green."""
    if surprises:
        return "unknown" if surprises[0].surprise else "invalid"
    over = status.done >= status.of
    return "valid" if runs and over and all(run.exit_code == 0 for run in runs) else "study"


def _drawn(one: sweep.Sweep, number: int) -> str:
    """The chart of a sweep; empty where there is no point in it."""
    told = f"what faults cost against their length, {one.name}"
    return charts.draw(charts.against_length(one), f"sweep{number}", told) if one.points else ""


def matrix(runs: Sequence[Told], before: Sequence[Night], seen: Sequence[RateSeen]) -> list[Cell]:
    """Every place of tonight's runs, the most surprising first."""
    places: dict[Place, list[Told]] = {}
    for run in runs:
        places.setdefault(run.place, []).append(run)
    cells = [_cell(place, tuple(here), before, [one for one in seen if one.place == place]) for place, here in places.items()]
    return sorted(cells, key=lambda cell: cell.surprise)


def _cell(place: Place, runs: tuple[Told, ...], before: Sequence[Night], seen: Sequence[RateSeen]) -> Cell:
    words = Counter(_word(run) for run in runs)
    common, times = words.most_common(1)[0]
    low, high = wilson(times, len(runs))
    earlier = [run for night in before for run in night.runs if run.place.row[:1] + run.place.row[2:] == place.row[:1] +
               place.row[2:] and run.place.column == place.column]
    missed = [run for run in runs if run.exit_code == 4]
    refuted = [one for one in seen if one.refuted]
    unjudged = [run for run in runs if not run.whole]
    surprise, why = 3, ""
    if missed or refuted:
        told = [f"not met: {one.what} ({one.reason})" for run in missed for one in run.expectations if not one.met]
        why = "; ".join(dict.fromkeys([*told[:2], *(f"{one.sentence}, fewer than expected" for one in refuted)]))
        surprise = 0
    elif new := _new(words, len(runs), earlier):
        surprise, why = 1, new
    elif unjudged or any(run.exit_code not in (0, 1) for run in runs):
        surprise, why = 2, next((run.reason for run in (*unjudged, *runs) if run.exit_code != 0), "")
    expectations = list(dict.fromkeys(one for run in runs for one in run.expect))
    return Cell(
        place=place, runs=runs, surprise=surprise, why=tuple(why.splitlines()) or ("",), verdict=_worst(runs), common=common,
        interval=f"{times} of {len(runs)}" + (f" ({share(round(low * 1000), 1000)} to {share(round(high * 1000), 1000)})"
                                              if len(runs) > 1 else ""),
        found=", ".join(f"{name} in {number}" for name, number in
                        Counter(name for run in runs for name in run.anomalies).most_common(4)),
        again=_again([reason for run in runs for reason in run.retried]), expected=", ".join(expectations),
        met=None if not expectations else not (missed or refuted or unjudged),
        trend=tuple(_mark(night, place) for night in before[-TREND:]),
    )


def _green(before: Sequence[Night]) -> str:
    """How many of the nights before were green; empty where there were none."""
    if not before:
        return ""
    good = sum(night.green for night in before)
    low, high = (share(round(bound * 1000), 1000) for bound in wilson(good, len(before)))
    were = "was" if 1 in (good, len(before)) else "were"
    return f"{good} of {plural(len(before), 'night')} before {were} green ({low} to {high})."


def claimed(runs: Sequence[Told]) -> list[Observed]:
    """Every variant of tonight's runs with its claims and labels beside what was observed; of these, what was refuted comes
    first."""
    variants: dict[tuple[str, str], list[Told]] = {}
    for run in runs:
        variants.setdefault((run.place.database, run.place.variant), []).append(run)
    rows = []
    for (database, variant), here in variants.items():
        found: dict[tuple[str, str], list[Assessment]] = {}
        for run in here:
            for claim in run.claims:
                found.setdefault((claim.text, claim.source), []).append(claim)
        words = Counter(_word(run) for run in here)
        anomalies = Counter(name for run in here for name in run.anomalies)
        said = [
            Claimed(
                database, variant, text, source, _counted(Counter(one.standing for one in told)),
                tuple(dict.fromkeys(f"{one.standing}: {one.reason}" for one in told if one.standing != "holds")),
                any(one.standing == "does not hold" for one in told),
            ) for (text, source), told in found.items()
        ]
        if said:
            rows.append(Observed(
                _counted(words) + (f"; {_counted(anomalies)}" if anomalies else ""), tuple(here),
                tuple(sorted(said, key=lambda one: not one.refuted)),
            ))
    return rows


def _counted(words: Counter[str]) -> str:
    if words.total() == 1:
        return next(iter(words.elements()))
    return ", ".join(f"{word} {times}" for word, times in words.most_common())


def _word(run: Told) -> str:
    """What a run showed, in one or two words: of one without a partition the half of PACELC."""
    if run.verdict in ("not judged", "unknown"):
        return run.verdict
    if run.otherwise is not None:
        return run.otherwise
    return run.classification.replace("-", " ") if run.classification != "unknown" else run.verdict


def _worst(runs: Sequence[Told]) -> str:
    verdicts = {run.verdict for run in runs}
    return next(word for word in ("not judged", "invalid", "unknown", "valid") if word in verdicts)


def _again(reasons: Sequence[str]) -> str:
    """What came of attempts that were made again."""
    if not reasons:
        return ""
    more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    verb = "was" if len(reasons) == 1 else "were"
    return f"{plural(len(reasons), 'attempt')} before {verb} unknown: {'; '.join(reasons[:2])}{more}"


def _new(words: Counter[str], runs: int, earlier: Sequence[Told]) -> str:
    """How tonight differs from the nights before by more than chance; empty where it does not."""
    if not earlier:
        return ""
    was = Counter(_word(run) for run in earlier)
    for word in {**words, **was}:
        if differ(words[word], runs, was[word], len(earlier)) or (word not in was and len(earlier) >= 10):
            return f"{word} {words[word]} of {runs}; on the nights before {was[word]} of {len(earlier)}"
    return ""


def _mark(night: Night, place: Place) -> Mark:
    here = [run for run in night.runs if run.place.database == place.database and run.place.variant == place.variant
            and run.place.nodes == place.nodes and run.place.column == place.column]
    if not here:
        return Mark("none", f"{night.name}: not run")
    worst = "missed" if any(run.exit_code == 4 for run in here) else (
        "good" if all(run.whole for run in here) else "unknown")
    told = ", ".join(f"{word} {number}" for word, number in Counter(map(_word, here)).most_common())
    return Mark(worst, f"{night.name}: {told}")
