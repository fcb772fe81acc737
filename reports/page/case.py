"""The page of a case study: what one service gave up on each database, side by side, in figures from recorded operations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from splitbrain.checkers.result import NotJudged, Result
from splitbrain.checkers.verdict import Anomaly, Figure
from splitbrain.harness.files import write_whole
from splitbrain.harness.history.operation import KINDS, Operation
from splitbrain.harness.plan import Plan, short
from splitbrain.reports import wording
from splitbrain.reports.customers import phrase
from splitbrain.reports.page import templates
from splitbrain.reports.plain import plain
from splitbrain.reports.wording import count, plural, share

KINDS_SHOWN = 3
"""Anomalies of a run that are told with their operations, one of each kind."""

STEPS = 8
"""Operations of such an anomaly that are shown, the last ones."""


class Row(msgspec.Struct, frozen=True):
    """One line of the table: what it counts, of what it is the price (`consistency`, `availability` or empty), and the cell of
    each run: a figure, and beside it what it is measured by."""

    name: str
    price: str
    cells: tuple[tuple[str, str], ...]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One run: its database and variant, what it was observed to be, what it cost in one sentence, and what shows it."""

    name: str
    result: Result | None
    reason: str
    observed: str
    cost: str
    plain: str
    anomalies: tuple[Anomaly, ...]
    again: str


def has_figures(result: Result | NotJudged) -> bool:
    """Whether a run is one of a case study."""
    return isinstance(result, Result) and any(verdict.figures for verdict in result.verdicts)


def write(path: Path, name: str, summary: str, runs: Sequence[Result | NotJudged], of: int) -> None:
    """Write the page of a case study of which these runs are done, `of` so many in all. Raises `StorageError`."""
    write_whole(path, page(name, summary, runs, of))


def page(name: str, summary: str, runs: Sequence[Result | NotJudged], of: int) -> str:
    """The page as text; links lead to the runs' folders beside it."""
    environment = templates.environment()
    environment.filters.update(
        when=wording.when, client=wording.client, sentence=wording.sentence, phrase=lambda op, plan: " → ".join(told(op, plan)),
    )
    judged = [run for run in runs if isinstance(run, Result)]
    return environment.get_template("case.html.j2").render(
        name=name, summary=summary, done=len(runs), of=of, steps=STEPS,
        columns=[_column(run, runs) for run in runs], rows=_rows(runs),
        seeds=sorted({run.plan.seed for run in judged if run.plan is not None}),
        style=templates.style(),
    )


def _column(run: Result | NotJudged, runs: Sequence[Result | NotJudged]) -> Column:
    name = _name(run.plan, runs) if run.plan is not None else run.run
    if isinstance(run, NotJudged):
        return Column(name=name, result=None, reason=run.reason, observed="not judged", cost="It was not judged.", plain="",
                      anomalies=(), again="")
    kinds: dict[str, Anomaly] = {}
    for anomaly in run.anomalies:
        kinds.setdefault(anomaly.identifier, anomaly)
    seen = run.sentence or run.classification.replace("-", " ")
    return Column(
        name=name, result=run, reason=run.reason,
        observed=seen if run.validity != "unknown" else f"{seen}; but this run proves nothing: {run.reason.rstrip('.')}",
        cost=cost(run), plain=plain(run), anomalies=tuple(kinds.values())[:KINDS_SHOWN],
        again=wording.again(run.plan, run.run) if run.plan is not None else "",
    )


def _name(plan: Plan, runs: Sequence[Result | NotJudged]) -> str:
    """The database and variant, and the options of the workload in which its runs on this page differ."""
    plans = [run.plan for run in runs if run.plan is not None]
    beside = [one.options.get(short(one.workload), {}) for one in plans
              if (one.database, one.variant) == (plan.database, plan.variant)]
    told = plan.options.get(short(plan.workload), {})
    apart = [f"{option} {value}" for option, value in told.items() if any(one.get(option) != value for one in beside)]
    alike = [one for one in plans if msgspec.structs.replace(one, seed=plan.seed) == plan]
    if any(one.seed != plan.seed for one in alike):
        apart.append(f"seed {plan.seed}")
    return ", ".join([f"{short(plan.database)} {plan.variant}", *apart])


def told(operation: Operation, plan: Plan | None) -> tuple[str, str]:
    """The operation in the words of the study."""
    return phrase(operation, plan.workload if plan is not None else "")


def figures(run: Result | NotJudged) -> tuple[Figure, ...]:
    """All figures of a run."""
    return () if isinstance(run, NotJudged) else tuple(one for verdict in run.verdicts for one in verdict.figures)


def cost(run: Result) -> str:
    """What a run cost in one sentence: each price that was certainly paid; then what may have been; or that there was none."""
    prices = [one for one in figures(run) if one.price is not None]
    paid = [f"{wording.bounds(one)} {one.name}" for one in prices if one.least]
    maybe = [f"{wording.bounds(one)} {one.name}" for one in prices if one.most and not one.least]
    none = [f"{'none' if one.name.startswith('of them') else 'no'} {one.name}" for one in prices if not one.most]
    if not paid and not maybe:
        return "It cost nothing: " + ", ".join(none) + "." if none else ""
    return ". ".join(wording.sentence(", ".join(part)).removesuffix(".") for part in (paid, maybe, none) if part) + "."


def _rows(runs: Sequence[Result | NotJudged]) -> list[Row]:
    """Every figure that a run has, and how each part of the partition was served."""
    named: dict[str, str] = {}
    for run in runs:
        for one in figures(run):
            named.setdefault(one.name, one.price or "")
    rows = [Row(name, price, tuple(_cell(run, name) for run in runs)) for name, price in named.items()]
    for quorum, part in ((False, "parts without a quorum"), (True, "the part with a quorum")):
        rows.append(Row(f"answered in {part}", "availability", tuple(_served(run, quorum) for run in runs)))
    return rows


def _cell(run: Result | NotJudged, name: str) -> tuple[str, str]:
    found = next((one for one in figures(run) if one.name == name), None)
    if found is None:
        return "-", ""
    of = ""
    if found.of is not None:
        low, high = share(found.least, found.of), share(min(found.most, found.of), found.of)
        of = f"{low if low == high else f'{low} to {high}'} of {count(found.of)}" if found.of else "of none"
    return wording.bounds(found), of


def _served(run: Result | NotJudged, quorum: bool) -> tuple[str, str]:
    """How many calls of both kinds were answered on such sides, and in which part of the time at the least."""
    if isinstance(run, NotJudged):
        return "-", ""
    found = [side.of(kind) for row in run.scenarios if row.bit for side in row.asked_sides for kind in KINDS
             if side.quorum == quorum]
    tried = sum(one.attempted for one in found)
    if not tried:
        return "-", "nothing was tried" if found else "there was none"
    times = [one.time_share for one in found if one.time_share is not None]
    least = f", {round(100 * min(times))}% of the time at the least" if times else ""
    return share(sum(one.answered for one in found), tried), f"of {plural(tried, 'call')}{least}"
