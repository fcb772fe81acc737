"""The terminal: how a run goes on while it does, and its verdict when it is over.

On a terminal a live line tells the load; in a pipe there is one plain line a phase or a fault, and no escape sequence.
Nothing that a database or a person wrote reaches the terminal unescaped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.text import Text

from splitbrain.checkers.result import Measure, Result, Scenario, Side, Source
from splitbrain.checkers.verdict import Anomaly
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.operation import KINDS, Operation
from splitbrain.harness.plan import Plan, short
from splitbrain.reports.output import Output
from splitbrain.reports.wording import (
    again,
    bounds,
    cited,
    clock,
    count,
    failed,
    gave_way,
    moment,
    phrase,
    place,
    plural,
    printable,
    quoted,
    replicas,
    seconds,
    share,
    side,
    slower,
    source_name,
    spared,
    untried,
    value,
)

GUTTER = 11
"""Columns before the text of a line: the name of what it tells."""

SHOWN = 8
"""Scenarios that are printed; the report has them all."""

_FAILURES = 5
"""Reasons of failures that are printed; the report has them all."""

STYLE = {"valid": "bold green", "invalid": "bold red", "unknown": "bold yellow"}


def console(file: TextIO | None = None, width: int | None = None) -> Console:
    """The console of a command: it prints what it is given and colours nothing by itself. NO_COLOR is honoured."""
    out = file or sys.stdout
    kept = Output(out) if out.isatty() else _Trimmed(out)
    return Console(file=cast("TextIO", kept), width=width, highlight=False, markup=False, emoji=False)


class _Trimmed(Output):
    """A file or a pipe: the blanks that fill up a table's last column on a terminal are nothing to who reads it."""

    def write(self, text: str) -> int:
        """Write what can be written, each line without the blanks at its end."""
        return super().write(re.sub(r" +(?=\n)", "", text))


class Progress:
    """Tells how a run goes on, while it does. Leave it with `close`, or as a context manager."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._told = False
        self._moving = console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def plan(self, plan: Plan, run: str = "", versions: Mapping[str, str] | None = None) -> None:
        """The resolved plan and the seed, and the run's name. The servers tell their versions only when they are up."""
        self._told = True
        _wrap(self.console, "", Text(headline(plan, versions or {}), "bold"), start=0, hang=2)
        if run:
            _line(self.console, "run", Text(printable(run, 4096)))

    def phase(self, name: str, text: str, seconds: float) -> None:
        """A phase is over."""
        self.close()
        line = Text(printable(text))
        took = f"{seconds:.1f}s"
        line.append(took.rjust(max(len(took) + 2, min(self.console.width, 80) - GUTTER - line.cell_len - 1)), "dim")
        _line(self.console, name.replace("-", " ") if name == "final-reads" else name, line)

    def fault(self, time_ns: int, text: str, detail: str) -> None:
        """A fault began or was healed, and what the probes found."""
        shown = f"{printable(text):<30}  "
        line = Text(shown).append(printable(detail), "dim")
        if GUTTER + line.cell_len > self.console.width:
            _line(self.console, f"{moment(time_ns):>6}", Text(shown.rstrip()))
            _line(self.console, "", Text("  " + printable(detail), "dim"))
        else:
            _line(self.console, f"{moment(time_ns):>6}", line)

    def death(self, death: Death) -> None:
        """A server ended though nobody stopped it; with what it logged of that."""
        self.fault(death.time, f"{death.node}: {death}", "on its own")
        for line in death.log:
            _wrap(self.console, "", Text("  " + printable(line, 200), "dim"))

    def tick(self, elapsed: float, totals: Mapping[str, int], phase: str = "load", length: float = 0.0) -> None:
        """A phase goes on: `elapsed` seconds of `length` (0: nobody knows how many), operations by outcome if it has any. Only
        a terminal shows it, with a bar and what is left where the length is known."""
        if not self._moving:
            return
        name = "final reads" if phase == "final-reads" else phase
        line = Text(f"{name:<{GUTTER}}", "bold").append(moment(int(elapsed * 1e9)), "")
        if length:
            cells = max(5, min(30, self.console.width // 6))
            done = min(cells, int(cells * elapsed / length))
            line.append("  ").append("━" * done, "cyan").append("━" * (cells - done), "dim")
            line.append(f"  {moment(int(max(0.0, length - elapsed) * 1e9))} left", "")
        if totals:
            line.append(f"  {count(sum(totals.get(outcome, 0) for outcome in ('ok', 'fail', 'info')))} operations", "")
            for outcome in ("ok", "fail", "info"):
                line.append(f"  {count(totals.get(outcome, 0))} {outcome}", "dim")
        self._show(line)

    def judging(self) -> None:
        """What was recorded is judged. Only a terminal shows it, until the verdict comes."""
        if self._moving:
            told = "what was recorded (after Ctrl-C `splitbrain check` goes on)"
            self._show(Text(f"{'judge':<{GUTTER}}", "bold").append(told, ""))

    def _show(self, line: Text) -> None:
        line.truncate(self.console.width)
        if self._live is None:
            self._live = Live(line, console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(line, refresh=True)

    def verdict(self, result: Result) -> None:
        """The verdict; under the plan's line where that has not been told yet."""
        self.close()
        if result.plan is not None and not self._told:
            self.plan(result.plan, result.run, result.versions)
        verdict(self.console, result)

    def kept(self, result: Result, folder: Path) -> None:
        """Where to read on, once it is there."""
        kept(self.console, result, folder)

    def note(self, text: str) -> None:
        """Something that a person should know, in lines of their own."""
        for line in text.splitlines():
            _wrap(self.console, "", Text(printable(line, 2000)), start=0, hang=2)


def headline(plan: Plan, versions: Mapping[str, str]) -> str:
    """`redis 7.0.15 sentinel · 5 nodes (namespaces) · register · partition-primary · seed 8161`."""
    told = "/".join(sorted({printable(version, 40) for version in versions.values()}))
    what = " ".join(filter(None, (printable(short(plan.database)), told, plan.variant)))
    nodes = f"{plural(plan.nodes, 'node')} ({plan.testbed})"
    nemesis = "scripted faults" if plan.schedule else short(plan.nemesis)
    return " · ".join(map(printable, (what, nodes, short(plan.workload), nemesis, f"seed {plan.seed}")))


def schedule_table(
    console: Console, plan: Plan, faults: Sequence[tuple[float, float, str]], length: float, lacks: str = ""
) -> None:
    """What a plan would do: its faults (when each begins, how long it lasts, what it is), how long the load takes, and what
    this machine lacks for it."""
    _wrap(console, "", Text(headline(plan, {}), "bold"), start=0, hang=2)
    for at, duration, what in faults:
        line = Text(f"{printable(short(what)):<30}  ").append(f"for {seconds(duration)}", "dim")
        _line(console, f"{moment(round(at * 1e9)):>6}", line)
    told = f"{moment(round(length * 1e9))} with {plural(len(faults), 'fault')}"
    _wrap(console, "load", Text(f"{told}; after it replicas have {seconds(plan.settle)} to become equal"))
    if lacks:
        _wrap(console, "machine", Text(lacks))


def kept(console: Console, result: Result, folder: Path) -> None:
    """Where to read on: the report in the run's folder, if it is there, what judges the run again and what repeats it."""
    console.print()
    shown = _shown(folder)
    if (folder / "report.html").is_file():
        _command(console, "report", f"{shown}/report.html")
    _command(console, "check", f"splitbrain check {quoted(shown)}")
    if result.plan is not None:
        _command(console, "again", again(result.plan, shown))


def verdict(console: Console, result: Result) -> None:
    """The verdict with its reason first; then what proves it, what was observed, and the claim."""
    head = Text(result.heading, STYLE[result.validity]).append(f"   {printable(result.reason, 1000)}", "default not bold")
    if result.source is not None and not console.is_terminal:
        console.print(head, soft_wrap=True)  # Programs read the first line.
    else:
        console.print()
        _wrap(console, "", head, start=0, hang=2)
    if result.source is not None:
        _read(console, result.source, result.exercised)
    elif result.validity != "invalid" and result.exercised and result.exercised not in result.reason:
        _wrap(console, "", Text(printable(result.exercised, 1000), "dim"), start=2, hang=2)
    if result.anomalies:
        _evidence(console, result, result.anomalies[0])
        others = {name: number for name, number in result.counts.items() if name != result.anomalies[0].identifier}
        if others:
            _wrap(console, "ALSO", Text(", ".join(f"{name} ({count(number)})" for name, number in others.items())))
    if result.outside and result.scenarios:
        outside = ", ".join(f"{name} ({count(number)})" for name, number in result.outside.items())
        _wrap(console, "BEFORE", Text(f"the first fault: {outside}"))
    if result.interrupted or result.torn:
        cut = "the run was interrupted" if result.interrupted else "the journal ends in the middle of the run"
        _wrap(console, "NOTE", Text(f"{cut}: judged by what was recorded"))
    if result.source is None and (result.scenarios or result.sentence):
        _observed(console, result)
    if result.pacelc is not None:
        _wrap(console, "PACELC", Text(result.pacelc.sentence))
    figures = [one for verdict in result.verdicts for one in verdict.figures]
    for number, one in enumerate(figures):
        of = f" of {count(one.of)}" if one.of is not None else ""
        _wrap(console, "COUNTED" if number == 0 else "", Text(f"{bounds(one)}{of} {printable(one.name)}"))
    if any(failure.detail for failure in result.failures):
        for number, failure in enumerate(result.failures[:_FAILURES]):
            said = f": {printable(failure.detail, 100)}" if failure.detail else ""
            _wrap(console, "FAILED" if number == 0 else "", Text(f"{count(failure.times)} × {failed(failure)}{said}"))
    for check in result.quality.failed[:SHOWN]:
        _wrap(console, "TEST", Text(f"{check.name}: {printable(check.text)}"))
    if len(result.quality.failed) > SHOWN:
        _line(console, "", Text(f"{count(len(result.quality.failed) - SHOWN)} more in the report", "dim"))
    for limit in result.limits:
        _wrap(console, "LIMIT", Text(printable(limit)))
    if result.claim is not None:
        claim = result.claim
        reason = f" - {printable(claim.reason, 1000)}" if claim.reason else ""
        text = f"vendor: {cited(printable(claim.text, 500))} ({printable(source_name(claim.source))}): {claim.standing}{reason}"
        _wrap(console, "CLAIM", Text(text))
    for number, label in enumerate(result.labels):
        text = f"{cited(printable(label.text))} ({printable(source_name(label.source))}): {label.standing}"
        text += f" - {printable(label.reason, 1000)}" if label.reason else ""
        _wrap(console, "LABEL" if number == 0 else "", Text(text))
    for number, expected in enumerate(result.expectations):
        text = f"{printable(expected.what)}: {'met' if expected.met else 'NOT MET'}"
        text += f" - {printable(expected.reason, 1000)}" if expected.reason else ""
        _wrap(console, "EXPECT" if number == 0 else "", Text(text, "" if expected.met else "bold red"))
    if result.stopped:
        _wrap(console, "EXIT", Text(f"{result.exit_code}: {printable(result.stopped)}", "bold red"))


def _read(console: Console, read: Source, exercised: str) -> None:
    """How the history of another program was read."""
    _wrap(console, "FILE", Text(f"{printable(read.path, 300)}: {read.format}, {exercised}"))
    _wrap(console, "MODEL", Text(f"{printable(read.model, 100)}   {printable(read.why, 300)}"))
    if read.nil:
        tells = "tells nothing (wildcard)" if read.nil == "wildcard" else "found no value (absent)"
        _wrap(console, "NIL", Text(f"a read of nil {tells}"))
    for note in read.notes:
        _wrap(console, "NOTE", Text(printable(note, 500)))


def _evidence(console: Console, result: Result, anomaly: Anomaly) -> None:
    """The operations that prove it, one a line in columns, and the sentence."""
    timed = result.plan is not None or (result.source is not None and result.source.timed)
    rows = [_cells(result, op, timed) for op in anomaly.operations]
    widths = [max((cell_len(row[i]) for row in rows), default=0) for i in range(3)]
    key = f"  key {value(anomaly.key, 20)}" if anomaly.key is not None else ""
    for number, (who, call, answer, note) in enumerate(rows):
        name = key if number == 0 else ""
        if number == 0 and cell_len(name) >= GUTTER:
            _line(console, name.strip(), Text(), indent=2)
            name = ""
        line = Text(f"{_padded(who, widths[0])}  {_padded(call, widths[1])} → {answer}")
        if note and GUTTER + widths[0] + widths[1] + widths[2] + 7 + len(note) <= console.width:
            line = Text(f"{_padded(who, widths[0])}  {_padded(call, widths[1])} → {_padded(answer, widths[2])}  ")
            _line(console, name, line.append(note, "dim"))
        else:
            _wrap(console, name, line, hang=GUTTER + 2)
            if note:
                _line(console, "", Text(" " * (widths[0] + 2)).append(note, "dim"))
    if anomaly.cut:
        _wrap(console, "", Text("of what was read, only the elements that this is about are shown", "dim"))
    if anomaly.sentence and anomaly.sentence not in result.reason:
        _wrap(console, "", Text(printable(anomaly.sentence, 1000), "dim"))


def _cells(result: Result, op: Operation, timed: bool) -> tuple[str, str, str, str]:
    who = place(op)
    call, answer = phrase(op)
    return f"{who} {clock(op.invoked)}" if timed else who, call, answer, _cut_off(result, op)


def _cut_off(result: Result, op: Operation) -> str:
    """`(n1 cut off since 0:12)` where the operation's home was on a side without a quorum when it was called, `(kill n1 since
    0:12)` where something was done to the home itself."""
    for scenario in result.scenarios:
        if op.node is None or scenario.in_force is None or not scenario.bit or not scenario.in_force <= op.invoked / 1e9:
            continue
        if scenario.heal_began is not None and op.invoked / 1e9 > scenario.heal_began:
            continue
        since = moment(round(scenario.in_force * 1e9))
        if op.node in scenario.struck or op.node in scenario.severed:
            return f"({printable(scenario.label)} since {since})"
        homes = [part for part in scenario.sides if op.node in part.nodes]
        if homes and not any(part.quorum for part in homes):
            return f"({printable(op.node)} cut off since {since})"
    return ""


def _observed(console: Console, result: Result) -> None:
    during = result.sentence or result.classification
    _wrap(console, "OBSERVED", Text(printable(during, 1000), "bold"))
    for scenario in result.scenarios[:SHOWN]:
        single = len(result.scenarios) == 1
        indent = 0 if single else 6
        if not single:
            head = Text(f"{moment(int(scenario.started * 1e9))}  {printable(scenario.label)}")
            if scenario.links_cut or not scenario.struck:
                head.append(f"  {scenario.classification}", "bold")
            _wrap(console, "", head, hang=GUTTER + 6)
        if not scenario.bit:
            _wrap(console, "", Text("not proven by probes: proves nothing", "yellow"), start=GUTTER + indent)
        if scenario.dead and not single:
            _wrap(console, "", Text(scenario.deaths, "yellow"), start=GUTTER + 6, hang=GUTTER + 6)
        if scenario.beside:
            others = " and ".join(moment(int(row.started * 1e9)) for row in result.scenarios if row.fault in scenario.beside)
            _wrap(console, "", Text(f"overlaps with the fault of {others}", "yellow"), start=GUTTER + 6, hang=GUTTER + 6)
        _sides(console, scenario.told, indent=indent)
        for slow in slower(result.baseline, scenario):
            _wrap(console, "", Text(slow, "dim"), start=GUTTER + indent, hang=GUTTER + indent + 2)
        if scenario.discarded and scenario.discarded.contested:
            _wrap(console, "", Text(gave_way(scenario.discarded)), start=GUTTER + indent, hang=GUTTER + indent + 2)
        if not single and scenario.recovery is not None:
            _line(console, "", Text(f"      recovered {seconds(scenario.recovery)} after heal", "dim"))
    if len(result.scenarios) > SHOWN:
        _line(console, "", Text(f"{count(len(result.scenarios) - SHOWN)} more in the report", "dim"))
    if given := [f"{kind}s {result.sacrifices[kind]}" for kind in KINDS[::-1] if kind in result.sacrifices]:
        _wrap(console, "", Text(f"given up: {', '.join(given)}", "dim"), hang=GUTTER + 2)
    _episodes(console, result)
    if len(result.scenarios) > 1:
        _wrap(console, "", Text(f"faults proven: {printable(_covered(result), 1000)}"), hang=GUTTER + 2)
    if after := _after_heal(result):
        _wrap(console, "", Text(after), hang=GUTTER + 2)


def _covered(result: Result) -> str:
    """Where there were several faults: which of them took effect, at whom, and how much was tried meanwhile."""
    found: dict[str, dict[str, list[Scenario]]] = {}
    for row in result.scenarios:
        found.setdefault(short(row.nemesis), {}).setdefault(row.name, []).append(row)
    told = []
    for nemesis, scenarios in found.items():
        each = [f"{'' if name == nemesis else f'{name} '}{sum(row.bit for row in rows)}/{len(rows)}"
                for name, rows in scenarios.items()]
        tried = sum(found.attempted for rows in scenarios.values() for row in rows for home in row.homes
                    for found in (home.write, home.read))
        told.append(f"{nemesis} {', '.join(each)} ({count(tried)} operations)")
    return "; ".join(told)


def _episodes(console: Console, result: Result) -> None:
    """Where faults overlap, what was answered while exactly these were in force."""
    for episode in result.episodes[:SHOWN]:
        span = f"{moment(int(episode.began * 1e9))}-{moment(int(episode.ended * 1e9))}"
        _wrap(console, "", Text(f"{span}  {printable(episode.label)}"), hang=GUTTER + 6)
        _sides(console, episode.sides, indent=6)
    if len(result.episodes) > SHOWN:
        _line(console, "", Text(f"{count(len(result.episodes) - SHOWN)} more in the report", "dim"))


def _sides(console: Console, sides: tuple[Side, ...], indent: int) -> None:
    rows = list(_merged(sides))
    width = max((cell_len(name) for name, *_ in rows), default=0)
    for name, writes, reads, note in rows:
        measures = "  ".join(
            f"{kind} {_share(measures):>6}" for kind, measures in (("writes", writes), ("reads", reads)) if _attempted(measures)
        )
        line = Text(f"{' ' * indent}{_padded(name, width)}  {measures or note or 'no operations'}")
        note = note if measures else ""
        if note and GUTTER + line.cell_len + len(note) + 4 > console.width:
            _line(console, "", line)
            _wrap(console, "", Text(f"{' ' * (indent + 2)}({note})", "dim"), hang=GUTTER + indent + 3)
        else:
            _line(console, "", line.append(f"  ({note})" if note else "", "dim"))


def _merged(sides: tuple[Side, ...]) -> Iterator[tuple[str, list[Measure], list[Measure], str]]:
    """A row a side, and where not every node holds every key one for each number of replicas there; more than three sides
    without a quorum, as when everyone is alone, share a row."""
    small = [part for part in sides if not part.quorum]
    together = small if len(small) > 3 else []
    for part in sides:
        if part in together:
            continue
        yield side(part.nodes), [part.write], [part.read], _side_note(part)
        for held in part.held:
            yield f"  {replicas(held)}", [held.write], [held.read], ""
    if together:
        name = f"{len(together)} sides alone" if all(len(part.nodes) == 1 for part in together) else f"{len(together)} sides"
        yield name, [part.write for part in together], [part.read for part in together], ""


def _side_note(part: Side) -> str:
    if not part.write.attempted and not part.read.attempted:
        return untried(max((part.write, part.read), key=lambda measure: measure.outage))
    few = [f"{found.kind}s: {printable(found.reason)}" for found in (part.write, part.read)
           if found.state == "unknown" and found.answered < found.attempted]
    if few or not (part.write.answered or part.read.answered):
        return "; ".join(few)
    worst = max((part.write, part.read), key=lambda measure: measure.outage)
    served = min((part.write, part.read), key=lambda measure: 1.0 if measure.time_share is None else measure.time_share)
    told = []
    if part.without_primary:
        told.append(f"no primary in reach for {seconds(part.without_primary)}")
    elif worst.outage > worst.outage_limit:
        told.append(f"no {worst.kind} answered for {seconds(worst.outage)}")
    if served.time_share is not None and served.time_share < 0.99:
        told.append(f"{served.kind}s served {share(round(served.time_share * 1000), 1000)} of the time")
    if others := spared(part):
        told.append(others)
    return ", ".join(told)


def _share(measures: list[Measure]) -> str:
    return share(sum(measure.answered for measure in measures), _attempted(measures))


def _attempted(measures: list[Measure]) -> int:
    return sum(measure.attempted for measure in measures)


def _after_heal(result: Result) -> str:
    parts = []
    healed = [scenario for scenario in result.scenarios if scenario.heal_began is not None]
    if healed and all(scenario.recovery is not None for scenario in healed):
        slowest = max(scenario.recovery or 0.0 for scenario in healed)
        parts.append(f"recovered in {seconds(slowest)}" + (" at the slowest" if len(healed) > 1 else ""))
    elif reasons := {scenario.recovery_reason for scenario in healed if scenario.recovery is None}:
        parts.append("recovery: " + ", ".join(sorted(map(printable, reasons - {""})) or ["not measured"]))
    match result.convergence.state:
        case "agreed":
            after = f" within {seconds(result.convergence.seconds)}" if result.convergence.seconds is not None else ""
            parts.append(f"replicas equal{after}")
        case "diverged":
            parts.append(f"replicas differ ({printable(result.convergence.reason)})")
        case _ if result.convergence.reason:
            parts.append(f"replicas: {printable(result.convergence.reason)}")
    when = "after heal" if healed else "at the end"
    return f"{when}: {', '.join(parts)}" if parts else ""


def _shown(folder: Path) -> str:
    """The folder as a person standing here would name it."""
    try:
        return str(folder.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - cell_len(text))


def _line(console: Console, name: str, text: Text, indent: int = 0) -> None:
    """One line: the name in the gutter, the text after it; never broken by us."""
    console.print(_named(name, indent, GUTTER).append_text(text), soft_wrap=True)


def _wrap(console: Console, name: str, text: Text, start: int = GUTTER, hang: int = GUTTER) -> None:
    """Text broken to the console's width: its first line begins at column `start`, after the name, the others at `hang`."""
    width = max(20, console.width - max(start, hang))
    for number, line in enumerate(text.wrap(console, width)):
        line.rstrip()
        head = _named(name, 0, start) if number == 0 else Text(" " * hang)
        console.print(head.append_text(line), soft_wrap=True)


def _named(name: str, indent: int, width: int) -> Text:
    return Text(" " * indent + f"{name:<{width - indent}}", "bold" if name.isupper() else "")


def _command(console: Console, name: str, command: str) -> None:
    """A path or command in one piece, so that it can be copied."""
    _line(console, name, Text(printable(command, 8192)))
