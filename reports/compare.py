"""Two runs, or two suites, side by side: what differs first, and by how much.

Two runs differ in what they showed; two suites in how many of their runs showed it, by more than chance, or in all of one and
none of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from splitbrain.checkers.result import Result
from splitbrain.harness.history.operation import KINDS
from splitbrain.reports.nights import Told, differ
from splitbrain.reports.wording import count, plan_value, plural, printable, seconds, share, side


class Line(msgspec.Struct, frozen=True):
    """One thing that is compared, as it is in each of the two. `apart`: the difference is one that matters; `given`: it was set
    and not seen."""

    what: str
    first: str
    second: str
    apart: bool
    given: bool = False


def runs(first: Result, second: Result) -> list[Line]:
    """Two runs: what was seen, what it cost, and which settings differ."""
    lines = [
        _line("verdict", first.heading, second.heading),
        _line("class", first.classification, second.classification),
    ]
    for name in dict.fromkeys([*first.counts, *second.counts]):
        here, there = first.counts.get(name, 0), second.counts.get(name, 0)
        # How often one run shows an anomaly is chance; whether it does is not.
        lines.append(Line(name, count(here), count(there), bool(here) != bool(there)))
    lines.append(Line("writes lost, proven", count(first.blast.lost), count(second.blast.lost),
                      bool(first.blast.lost) != bool(second.blast.lost)))
    lines.append(_line("replicas after the heal", first.convergence.state, second.convergence.state))
    lines.append(Line("recovery after the heal", _seconds(first.blast.recovery), _seconds(second.blast.recovery), False))
    rows = [{(row.label, side(part.nodes)): part for row in one.scenarios for part in row.told} for one in (first, second)]
    for place in [key for key in rows[0] if key in rows[1]]:
        for kind in KINDS[::-1]:
            was, became = rows[0][place].of(kind), rows[1][place].of(kind)
            lines.append(Line(
                f"{kind}s at {place[1]} in {place[0]}", share(was.answered, was.attempted),
                share(became.answered, became.attempted), {was.state, became.state} == {"available", "blocked"},
            ))
    if first.plan is not None and second.plan is not None:
        for field in first.plan.__struct_fields__:
            if getattr(first.plan, field) != getattr(second.plan, field):
                lines.append(Line(f"plan: {field}", plan_value(first.plan, field), plan_value(second.plan, field), False,
                                  True))
    versions = [", ".join(sorted(set(one.versions.values()))) for one in (first, second)]
    if versions[0] != versions[1]:
        lines.append(Line("version", versions[0], versions[1], False, True))
    return sorted(lines, key=lambda line: not line.apart)


def suites(first: Sequence[Told], second: Sequence[Told]) -> list[Line]:
    """Two suites, place by place (whatever the versions): classes and anomalies by the number of runs that showed them."""
    lines: list[Line] = []
    places = [_places(runs) for runs in (first, second)]
    for place in dict.fromkeys([*places[0], *places[1]]):
        here, there = places[0].get(place, []), places[1].get(place, [])
        database, variant, nodes, workload, under = place
        name = f"{database} {variant} on {nodes}, {workload} under {under}"
        if not here or not there:
            first_told, second_told = (plural(len(those), "run") if those else "not run" for those in (here, there))
            lines.append(Line(name, first_told, second_told, True))
            continue
        for words in (_classes, _anomalies):
            was, became = words(here), words(there)
            lines.append(Line(
                name if words is _classes else f"{name}: anomalies", _told(was, len(here)), _told(became, len(there)),
                any(differ(was[word], len(here), became[word], len(there)) for word in {**was, **became})
                or any(bool(was[word] == len(here)) != bool(became[word] == len(there)) and not (was[word] and became[word])
                       for word in {**was, **became}),
            ))
    return sorted(lines, key=lambda line: not line.apart)


def _places(runs: Sequence[Told]) -> dict[tuple[str, ...], list[Told]]:
    found: dict[tuple[str, ...], list[Told]] = {}
    for run in runs:
        place = run.place
        key = (place.database, place.variant, place.nodes, place.workload, place.under)
        found.setdefault(key, []).append(run)
    return found


def _classes(runs: Sequence[Told]) -> Counter[str]:
    return Counter(run.verdict if run.verdict in ("unknown", "not judged") else run.classification for run in runs)


def _anomalies(runs: Sequence[Told]) -> Counter[str]:
    return Counter(name for run in runs for name in run.anomalies)


def _told(words: Counter[str], of: int) -> str:
    return ", ".join(f"{word} {number} of {of}" for word, number in words.most_common()) or f"none in {of}"


def _line(what: str, first: str, second: str) -> Line:
    return Line(what, first, second, first != second)


def _seconds(of: float | None) -> str:
    return "not reached" if of is None else seconds(of)


def table(lines: Sequence[Line], first: str, second: str) -> Table:
    """The comparison for a terminal: what differs is marked."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "", first, second):
        shown.add_column(Text(printable(column)))
    for line in lines:
        cells = (Text(printable(cell, 200)) for cell in (line.what, line.first, line.second))
        shown.add_row(Text("differs", "bold") if line.apart else Text(""), *cells)
    return shown
