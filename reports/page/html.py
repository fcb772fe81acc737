"""The report: one page of HTML with everything in it, no network, nothing of a stranger's unescaped. Its one
script, which its policy knows by its sum, adds what a reader may do with it; all that it tells is there without.

The template says in which order things are told; this module gathers what it tells. A picture that cannot be drawn is
replaced by a sentence, and never changes a verdict.
"""

from __future__ import annotations

import base64
import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import ceil, floor
from pathlib import Path
from typing import ParamSpec

import msgspec
from markupsafe import Markup

from splitbrain.checkers.anomalies import ANOMALIES, in_order
from splitbrain.checkers.measures.availability import window
from splitbrain.checkers.result import Episode, Measure, PeriodCount, Result, Scenario
from splitbrain.checkers.verdict import Anomaly
from splitbrain.harness.files import write_whole
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.operation import KINDS, Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.reports import wording
from splitbrain.reports.contract import contract, recovery
from splitbrain.reports.customers import phrase
from splitbrain.reports.page import charts, cluster, cycles, lanes, logs, strip, templates
from splitbrain.reports.plain import plain, tells_losses
from splitbrain.reports.wording import clock, count, moment, plural, printable, seconds, share, side, value

P = ParamSpec("P")

PICTURED = 12
"""Faults with a picture, a chart and tables of their own; of a longer run, those that cost most."""

FOREMOST = 3
"""Of those, how many are unfolded in a run that has more faults than are shown."""

LISTED = 100
"""Lines of a list that the page folds in; of a longer one the rest is in result.json."""

NEAR = 4
"""Operations on the anomaly's key that the timeline shows before and after each one of the evidence."""

KNOWN_FILES = (
    ("plan.toml", "the plan: every setting and the seed"),
    ("journal.jsonl", "every event of the run, a line each"),
    ("result.json", "this judgement, for programs"),
    ("junit.xml", "this judgement, for a nightly job"),
)


SCRIPT = "\n" + (Path(__file__).parent / "report.js").read_text("utf-8")
"""The page's only script; its policy names the sum of exactly this text."""


class Group(msgspec.Struct, frozen=True):
    """One line of the matrix of a run with many faults: those of one name, with the least that any of them answered."""

    name: str
    faults: int
    classes: str
    writes: Measure | None
    reads: Measure | None
    anomalies: str
    lost: int
    recovery: float | None
    """The slowest; None where one of them was not seen to recover."""


class Row(msgspec.Struct, frozen=True):
    """One line of the timeline: when, who, what, and what it is (`op`, `evidence`, `fault`, `view`, `gap`)."""

    time: str
    who: str
    what: str
    answer: str
    took: str
    kind: str


def write(path: Path, result: Result, recording: Recording) -> None:
    """Write the report of a judged run to `path`. Raises `StorageError` where it cannot be written."""
    write_whole(path, page(result, recording, path.parent))


SUMMED = 800
"""Letters of the sentence of a further anomaly that are shown: a circle of two hundred transactions has as many steps."""


def page(result: Result, recording: Recording, folder: Path) -> str:
    """The report as text; `folder` is the run's, whose files it names."""
    environment = templates.environment()
    workload = result.plan.workload if result.plan is not None else ""
    environment.filters.update(
        call=lambda op: phrase(op, workload)[0],
        answer=lambda op: phrase(op, workload)[1],
        when=wording.when,
        clock=clock,
        shortly=lambda text: printable(text, SUMMED),
        failed=wording.failed,
        seconds=seconds,
        value=value,
        bounds=wording.bounds,
        side=side,
        client=wording.client,
        percent=lambda measure: share(measure.answered, measure.attempted),
        at=lambda time: moment(round(time * 1e9)),
        fraction=lambda of: share(round(of * 1_000_000), 1_000_000),
        json=_json,
        sentence=wording.sentence,
        gave_way=wording.gave_way,
        slower=wording.slower,
        replicas=wording.replicas,
        spared=wording.spared,
        during=wording.during,
        untried=wording.untried,
        cited=wording.cited,
        interval=_interval,
        lasted=_lasted,
        tells_losses=tells_losses,
    )
    template = environment.get_template("report.html.j2")
    chosen = {row.fault for row in strip.worst_first(result.scenarios)[:PICTURED]}
    shown = [row for row in result.scenarios if row.fault in chosen]
    pictured = chosen or {fault.id for fault in recording.faults[:PICTURED]}
    first = result.anomalies[0] if result.anomalies else None
    timed = recording.history.timed
    stretches = _longest(result.episodes)
    return template.render(
        result=result,
        recording=recording,
        first=first,
        plain=plain(result),
        timed=timed,
        evidence=_evidence(first, recording.faults, timed, workload) if first else None,
        logged=_drawn(logs.told, recording, first, folder) if first and timed else "",
        more=[(other, _evidence(other, recording.faults, timed, workload)) for other in _kinds(result)],
        whole=_drawn(cluster.draw, recording.nodes),
        pictures=[
            (fault, beside := _beside(recording, fault), _drawn(cluster.draw, recording.nodes, fault, beside))
            for fault in recording.faults if fault.id in pictured
        ],
        unpictured=max(0, len(recording.faults) - PICTURED),
        shown=shown,
        foremost={row.fault for row in strip.worst_first(result.scenarios)[:FOREMOST]},
        strip=_drawn(strip.draw, result.scenarios, charts.extent(recording), chosen) if result.scenarios else "",
        matrix=matrix(result.scenarios) if len(result.scenarios) > len(shown) else (),
        stretches=stretches,
        counts=counted(result.quality.counts),
        listed=LISTED,
        pictured=PICTURED,
        around={
            scenario.fault: _drawn(
                _chart, f"fault{scenario.fault}", f"share of reads and writes answered around {scenario.label}", charts.around,
                recording, scenario,
            )
            for scenario in shown
            if scenario.sides and len(recording.history)
        },
        over_time=_drawn(
            _chart, "time", "operations a second by outcome, and latency, over the run", charts.over_time, recording
        ) if len(recording.history) and timed else None,
        cost=wording.cost(result.blast),
        shut=wording.shut(result.blast, result.scenarios),
        declined=_declined(recording.history),
        bin=charts.bin_width(charts.extent(recording)[1] - charts.extent(recording)[0]),
        timeline=timeline(recording, first, workload) if first and timed else (),
        contract=contract([result]),
        defined={"CP", "AP", "neither", "not-exercised", "discarded", *(name for name in result.counts if name in ANOMALIES)},
        meanings=[(name, ANOMALIES[name].meaning) for name in result.counts if name in ANOMALIES],
        recovery=recovery(result.scenarios),
        plan_lines=wording.plan_lines(result.plan) if result.plan else (),
        again=wording.again(result.plan, str(folder)) if result.plan else "",
        check=f"splitbrain check {wording.quoted(str(folder))}",
        bins=_embedded(charts.bins(recording)) if len(recording.history) and timed else "",
        script=Markup(SCRIPT),
        policy=Markup(f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"),
        style=templates.style(),
        files=list(_files(folder)),
        machine=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        versions=_versions(result.versions),
    )


def _beside(recording: Recording, fault: Fault) -> tuple[Fault, ...]:
    """The other faults that were in force for a part of the time in which this one was."""
    span = window(recording, fault)
    return () if span is None else tuple(
        other for other in recording.faults
        if other.id != fault.id and (there := window(recording, other)) is not None
        and span[0] < there[1] and there[0] < span[1]
    )


def _declined(history: History) -> int:
    """How many calls the database decided against for a reason of their own: answers, though nothing was done."""
    return int((history.answered() & (history.outcome != OK)).sum())


def _lasted(fault: Fault) -> str:
    """From when to when: `0:04–0:09`, `0:04–end`, and of one of less than a second `0:04.210–0:04.960`."""
    if fault.heal_began is None:
        return f"{moment(fault.started)}–end"
    told = clock if fault.heal_began - fault.started < 1_000_000_000 else moment
    return f"{told(fault.started)}–{told(fault.heal_began)}"


def _interval(measure: Measure) -> str:
    """Rounded outwards, so that it never claims more than was measured."""
    return f"{floor(1000 * measure.low) / 10:.1f}–{ceil(1000 * measure.high) / 10:.1f}%"


def _json(of: object) -> Markup:
    lines = msgspec.json.format(msgspec.json.encode(of, enc_hook=repr), indent=1).decode().splitlines()
    return Markup("\n").join(printable(line, 4000) for line in lines[:2000])


def _embedded(of: object) -> Markup:
    """Data in a page: JSON in which nothing can end the element that it stands in."""
    return Markup(msgspec.json.encode(of).decode().replace("<", "\\u003c"))


def _chart(name: str, told: str, specify: Callable[P, charts.Spec], *arguments: P.args, **named: P.kwargs) -> Markup:
    return charts.draw(specify(*arguments, **named), name, told)


def _drawn(draw: Callable[P, Markup], *arguments: P.args, **named: P.kwargs) -> Markup:
    """The picture, or the sentence that says why there is none."""
    try:
        return draw(*arguments, **named)
    except Exception as error:
        return Markup('<p class="problem">This picture could not be drawn: {}. The verdict does not depend on it.</p>').format(
            printable(f"{type(error).__name__}: {error}")
        )


def _evidence(anomaly: Anomaly, faults: Sequence[Fault], timed: bool, workload: str) -> Markup:
    """The cycle that an anomaly is, where it is one, and its operations in time."""
    cycle = _drawn(cycles.draw, anomaly) if anomaly.cycle else Markup()
    return cycle + _drawn(lanes.draw, anomaly.operations, faults, timed, workload, anomaly.accused)


def _kinds(result: Result) -> list[Anomaly]:
    """One anomaly for each further identifier."""
    found: dict[str, Anomaly] = {}
    for anomaly in result.anomalies:
        found.setdefault(anomaly.identifier, anomaly)
    return list(found.values())[1:6]


def timeline(recording: Recording, anomaly: Anomaly, workload: str = "") -> list[Row]:
    """The operations on the anomaly's key near its evidence, with the faults and the changes of primary in between."""
    history = recording.history
    wanted = {op.index for op in anomaly.operations}
    on_key = [i for i, key in enumerate(history.key.tolist()) if key >= 0 and history.keys[key] == anomaly.key]
    if anomaly.key is None:
        on_key = list(range(len(history)))
    places = [place for place, i in enumerate(on_key) if int(history.index[i]) in wanted]
    near = sorted({at for place in places for at in range(place - NEAR, place + NEAR + 1) if 0 <= at < len(on_key)})
    events: list[tuple[int, int, Row]] = []
    for before, at in zip([None, *near], near, strict=False):
        op = history[on_key[at]]
        if before is not None and at > before + 1:
            skipped = plural(at - before - 1, "more operation")
            events.append((op.invoked, 0, Row("", "", f"{skipped} on this key", "", "", "gap")))
        events.append((op.invoked, 1, _row(op, op.index in wanted, workload)))
    if not events:
        events = [(op.invoked, 1, _row(op, True, workload)) for op in anomaly.operations]
    if not events:
        return []
    first, last = events[0][0], max(time for time, *_ in events)
    told, untold = _concerned(recording.faults, anomaly, first, last)
    for fault in told:
        undoing = fault.undoing()
        healed = f"{undoing}: {fault.heal_proof(recording.nodes)}"
        story = (
            (fault.started, f"{fault.nemesis}: {fault.scenario} begins"),
            (fault.proven, f"proven: {fault.doing(recording.nodes)}"),
            (fault.heal_began, f"{undoing} begins"),
            (fault.healed, healed),
        )
        name = f"fault {fault.id}"
        events += [(time, 2, Row(clock(time), name, text, "", "", "fault")) for time, text in story if time is not None]
    if untold:
        events.append((last + 1, 4, Row("", "", f"{plural(untold, 'more fault')} came and went in this time", "", "", "gap")))
    for view in recording.views:
        if first <= view.time <= last:
            text = f"takes {view.primary} for primary" if view.primary else "knows of no primary"
            events.append((view.time, 3, Row(clock(view.time), view.node, text, "", "", "view")))
    for death in recording.deaths or ():
        if first <= death.time <= last:
            events.append((death.time, 2, Row(clock(death.time), death.node, f"{death}, on its own", "", "", "fault")))
    return _joined([row for _, _, row in sorted(events, key=lambda event: event[:2])])


def _concerned(faults: Sequence[Fault], anomaly: Anomaly, first: int, last: int) -> tuple[list[Fault], int]:
    """The faults between two moments that the timeline tells of, and how many more there are: all, or of many those that were
    in force while an operation of the evidence was under way, and the anomaly's own."""
    within = [fault for fault in faults if fault.started <= last and (fault.healed is None or fault.healed >= first)]
    if len(within) <= PICTURED // 2:
        return within, 0
    told = [
        fault for fault in within
        if fault.id == anomaly.fault or any(
            fault.started <= op.ended
            and (fault.healed is None or op.invoked <= fault.healed)
            for op in anomaly.operations
        )
    ][:PICTURED]
    return told, len(within) - len(told)


def _joined(rows: list[Row]) -> list[Row]:
    """Nodes that one after another came to the same view of the primary share a line."""
    joined: list[Row] = []
    for row in rows:
        last = joined[-1] if joined else None
        if last is not None and row.kind == last.kind == "view" and row.what == last.what:
            joined[-1] = msgspec.structs.replace(last, who=f"{last.who} {row.who}")
        else:
            joined.append(row)
    return joined


def _row(op: Operation, evidence: bool, workload: str) -> Row:
    call, answer = phrase(op, workload)
    took = wording.span(op.completed - op.invoked) if op.completed is not None else "never"
    return Row(clock(op.invoked), wording.client(op), call, answer, took, "evidence" if evidence else "op")


def matrix(rows: Sequence[Scenario]) -> list[Group]:
    """The faults of a run by their names, in the order in which these were first seen."""
    named: dict[str, list[Scenario]] = {}
    for row in rows:
        named.setdefault(row.name, []).append(row)
    return [_group(name, together) for name, together in named.items()]


def _group(name: str, rows: list[Scenario]) -> Group:
    classes = Counter(row.classification for row in rows)
    found: Counter[str] = sum((Counter(row.anomalies) for row in rows), Counter())
    least = {
        kind: min((part.of(kind) for row in rows for part in row.asked_sides if part.of(kind).attempted), default=None,
                  key=lambda measure: measure.share or 0.0)
        for kind in KINDS
    }
    times = [row.recovery for row in rows]
    return Group(
        name=name, faults=len(rows), classes=", ".join(f"{kind} {number}" for kind, number in classes.most_common()),
        writes=least["write"], reads=least["read"], lost=sum(row.lost for row in rows),
        anomalies=", ".join(f"{kind} {count(number)}" for kind, number in in_order(found).items()) or "none",
        recovery=None if None in times else max(time for time in times if time is not None),
    )


def _longest(episodes: Sequence[Episode]) -> list[Episode]:
    """The episodes that have tables of their own, in the order of time: of many the longest."""
    longest = sorted(episodes, key=lambda one: one.began - one.ended)[:PICTURED]
    return sorted(longest, key=lambda one: one.began)


STAGES = (("fault ", " begins", "while faults began"), ("fault ", " heals", "while faults healed"),
          ("fault ", "", "during faults"), ("after fault ", "", "after faults"),
          ("faults ", "", "during faults"), ("after faults ", "", "after faults"))
"""How the periods of one fault, or of a few, are called around its number, and how those of all together are."""


def counted(rows: Sequence[PeriodCount]) -> Sequence[PeriodCount]:
    """The operations by phase, side and kind; of many faults those of all together, so that the sums stay what they are."""
    if len(rows) <= LISTED:
        return rows
    together: dict[tuple[str, str], PeriodCount] = {}
    for row in rows:
        name = next((told for head, tail, told in STAGES
                     if row.period.startswith(head) and row.period.endswith(tail)), row.period)
        before = together.get((name, row.kind), PeriodCount(
            period=name, side="", kind=row.kind, invoked=0, attempted=0, answered=0,
        ))
        together[name, row.kind] = msgspec.structs.replace(
            before, invoked=before.invoked + row.invoked, attempted=before.attempted + row.attempted,
            answered=before.answered + row.answered,
        )
    return tuple(together.values())


def _files(folder: Path) -> Iterable[tuple[str, str]]:
    for name, what in KNOWN_FILES:
        # The report is written before junit.xml is; both are always written together.
        if name == "junit.xml" or (folder / name).is_file():
            yield name, what
    for log in sorted(folder.glob("nodes/*/*.log"))[:60]:
        yield str(log.relative_to(folder)), "a server's log"


def _versions(versions: dict[str, str]) -> list[tuple[str, str]]:
    """Version → the nodes that reported it."""
    by_version: dict[str, list[str]] = {}
    for node, version in versions.items():
        by_version.setdefault(version, []).append(node)
    return [(version, " ".join(nodes)) for version, nodes in by_version.items()]
