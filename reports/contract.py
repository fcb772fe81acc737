"""The consistency contract: what an owner of a service may rely on, as far as runs have shown it, one page a database and
variant. Its figures are sums over the runs that it was made of, and it says how many these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from splitbrain.checkers.anomalies import in_order
from splitbrain.checkers.result import Measure, Result, Scenario
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.plan import short
from splitbrain.reports import wording
from splitbrain.reports.wording import count, in_markdown, plural, seconds, share, side

SUMMED = 24
"""Lines about faults in a contract, which is one page."""


def contract(results: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """The parts of a contract with their lines. The results are of one database and variant; there is at least one."""
    rows = [row for result in results for row in result.scenarios]
    return [
        ("During a fault", _during(rows) or ["Nothing was measured."]),
        ("To the data", _data(results)),
        ("After the heal", _after(results, rows) or ["Nothing was measured."]),
        ("What to do", list(dict.fromkeys(line for result in results for line in result.recommendations))
         or ["Nothing that these runs suggest." if len(results) > 1 else "Nothing that this run suggests."]),
    ]


def _during(rows: Sequence[Scenario]) -> list[str]:
    lines: list[str] = []
    alike: dict[tuple[str, tuple[tuple[str, ...], ...]], list[Scenario]] = {}
    for row in rows:
        if row.bit and row.dead:
            lines.append(f"{row.label}: not known, for {row.deaths}.")
        elif row.bit:
            alike.setdefault((row.label, tuple(part.nodes for part in row.sides)), []).append(row)
    for (label, _), same in alike.items():
        times = f" ({count(len(same))} times)" if len(same) > 1 else ""
        for place, part in enumerate(same[0].sides):
            served = ", ".join(_served([row.sides[place].of(kind) for row in same], kind) for kind in KINDS[::-1])
            lines.append(f"{label}{times}: on {side(part.nodes)}, {served}")
    if len(lines) > SUMMED:
        return [*lines[:SUMMED], f"and {plural(len(lines) - SUMMED, 'more line')} of this kind in the runs' reports."]
    return lines


def _served(measures: Sequence[Measure], kind: Kind) -> str:
    """How often that kind was answered in all of these, and the longest of their outages."""
    attempted = sum(measure.attempted for measure in measures)
    if not attempted:
        return f"no {kind}s were tried"
    told = f"{kind}s {share(sum(measure.answered for measure in measures), attempted)} answered"
    worst = max(measures, key=lambda measure: measure.outage)
    if worst.outage > worst.outage_limit:
        told += f", none for {seconds(worst.outage)}" + ("" if worst.outage_ended else " until the heal")
    return told


def _data(results: Sequence[Result]) -> list[str]:
    found = in_order(sum((Counter(result.counts) for result in results), Counter()))
    of = f" in {sum(bool(result.counts) for result in results)} of {len(results)} runs" if len(results) > 1 else ""
    lines = [f"{name}: {plural(number, 'time')}" for name, number in found.items()]
    if of and lines:
        lines.insert(0, f"Anomalies{of}.")
    if lost := sum(result.blast.lost for result in results):
        lines.insert(0, f"{count(lost)} of {count(sum(result.blast.acknowledged for result in results))} acknowledged writes "
                        "were lost.")
    if gone := sum(result.blast.discarded or 0 for result in results):
        last = f"{count(sum(result.blast.discarded_last or 0 for result in results))} of them the last on their key"
        least = "At least " if any(result.blast.discarded_untold for result in results) else ""
        lines.append(f"{least}{count(gone)} acknowledged writes gave way to another side's, {last}.")
    stale = [result.blast.staleness for result in results if result.blast.staleness is not None]
    if any(one.stale for one in stale):
        told = share(sum(one.stale for one in stale), sum(one.reads for one in stale))
        least, most = ("At least ", "at least ") if any(one.lossy for one in stale) else ("", "")
        worst = wording.span(max(one.max_ms for one in stale) * 1e6)
        lines.append(f"{least}{told} of reads were stale, the stalest by {most}{worst}.")
    if lines:
        return lines
    unknown = [result for result in results if result.validity == "unknown"]
    if len(unknown) == len(results):
        return [wording.sentence(unknown[0].reason)]
    prove = "proves" if len(unknown) == 1 else "prove"
    return ["No anomaly was found." + (f" {len(unknown)} of {len(results)} runs {prove} nothing." if unknown else "")]


def _after(results: Sequence[Result], rows: Sequence[Scenario]) -> list[str]:
    lines = []
    slowest = recovery(rows)
    if slowest is not None:
        lines.append(f"Every client was served again {seconds(slowest)} after the heal, at the latest.")
    else:
        lines += sorted({f"{row.label}: {row.recovery_reason}." for row in rows if row.recovery_reason})[:6]
    states = Counter(result.convergence.state for result in results if result.convergence.state != "unknown")
    took = [result.convergence.seconds for result in results if result.convergence.seconds is not None]
    if states["diverged"]:
        of = f" in {states['diverged']} of {len(results)} runs" if len(results) > 1 else ""
        lines.append(f"Replicas did not agree{of}.")
    elif states["agreed"]:
        lines.append(f"Replicas agreed{f' within {seconds(max(took))}' if took else ''}.")
    return lines


def recovery(rows: Sequence[Scenario]) -> float | None:
    """The slowest recovery after a heal, in seconds; None unless every heal was followed by one."""
    times = [row.recovery for row in rows]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


class Contract(NamedTuple):
    """What runs of one database and variant have shown: its name, version, the loads that it was under, what it was observed to
    be, the variant in a sentence (empty where nobody knows), the parts of `contract`, and the names of the runs."""

    name: str
    version: str
    loads: tuple[str, ...]
    observed: str
    summary: str
    parts: tuple[tuple[str, list[str]], ...]
    runs: tuple[str, ...]


def contracts(results: Sequence[Result]) -> tuple[Contract, ...]:
    """The contracts of all databases and variants among these results; results without a plan are left out."""
    owners: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.plan is not None:
            owners.setdefault((short(result.plan.database), result.plan.variant), []).append(result)
    return tuple(_contract(f"{database} {variant}", found) for (database, variant), found in owners.items())


def _contract(name: str, results: Sequence[Result]) -> Contract:
    loads = sorted({f"{short(one.workload)} under {'scripted faults' if one.schedule else short(one.nemesis)}"
                    for result in results if (one := result.plan) is not None})
    seen = Counter(result.classification for result in results)
    variant = next((result.variant for result in results if result.variant is not None), None)
    return Contract(
        name, ", ".join(sorted({version for result in results for version in result.versions.values()})) or "version not known",
        tuple(loads), ", ".join(f"{word.replace('-', ' ')} in {number}" for word, number in seen.most_common()),
        wording.sentence(variant.summary) if variant is not None else "", tuple(contract(results)),
        tuple(result.run for result in results),
    )


def markdown(results: Sequence[Result]) -> str:
    """The contracts of all databases and variants among these results, a page each."""
    return "\n".join(map(_page, contracts(results)))


def _page(of: Contract) -> str:
    lines = [f"# Consistency contract: {in_markdown(of.name)}", ""]
    shown = f"{plural(len(of.runs), 'run')} {'has' if len(of.runs) == 1 else 'have'} shown it"
    lines += [f"What an owner of a service on {in_markdown(of.name)} ({in_markdown(of.version)}) may count on, as far as "
              f"{shown}: {in_markdown(', '.join(of.loads))}."]
    lines += ["", f"Observed: {of.observed}."]
    if of.summary:
        lines += ["", in_markdown(of.summary)]
    for title, told in of.parts:
        lines += ["", f"## {title}", "", *(f"* {in_markdown(line)}" for line in told)]
    lines += ["", "Made of: " + ", ".join(f"`{run}`" for run in of.runs) + ".", ""]
    return "\n".join(lines)
