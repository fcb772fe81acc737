"""What the servers logged while the evidence came to be and when its fault began: a few lines of each node."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from markupsafe import Markup

from splitbrain.checkers.verdict import Anomaly
from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import SplitbrainError
from splitbrain.harness.history.fault import Skew
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording
from splitbrain.reports.wording import plural, printable

NEAR = 1.0
"""Seconds before and after a moment whose lines belong to it."""

LINES = 8
"""Lines of one node that are shown: those nearest to a moment."""

LONGEST = 300
"""Characters of a line that are shown."""

MOST = 1 << 16
"""Characters of a line that are read: servers log whole commands."""

Stamp = Callable[[str], float | None]


class Line(msgspec.Struct, frozen=True):
    """One line of a log, and when in the run it was written by its own word, in nanoseconds."""

    time: int
    log: str
    text: str


class Lines(msgspec.Struct, frozen=True):
    """The lines of one node near the moments, in time, and how many more there were."""

    node: str
    lines: tuple[Line, ...]
    more: int


def moments(recording: Recording, anomaly: Anomaly) -> list[int]:
    """When each operation of the evidence was called and answered, and when the anomaly's fault began, in nanoseconds."""
    times = {time for op in anomaly.operations for time in (op.invoked, op.completed) if time is not None}
    times |= {fault.started for fault in recording.faults if fault.id == anomaly.fault}
    return sorted(times)


def near(recording: Recording, times: Sequence[int], folder: Path, stamp: Stamp) -> list[Lines]:
    """What each node's servers logged near these times. A node whose clock a fault put wrong is left out, since its lines do
    not tell when they were written."""
    found = []
    skewed = _skewed(recording)
    for node in recording.nodes:
        kept: list[tuple[int, int, Line]] = []
        seen = 0
        for log in sorted(folder.glob(f"nodes/{node}/*.log")) if node not in skewed else ():
            for line in _stamped(log, stamp, recording.epoch or 0):
                far = min((abs(line.time - time) for time in times), default=round(NEAR * 1e9) + 1)
                if far <= NEAR * 1e9:
                    seen += 1
                    push = heapq.heappush if seen <= LINES else heapq.heappushpop
                    push(kept, (-far, -seen, line))  # The furthest one goes, of equally far ones the later.
        if kept:
            lines = (line for _, _, line in sorted(kept, key=lambda entry: (entry[2].time, -entry[1])))
            found.append(Lines(node, tuple(lines), seen - len(kept)))
    return found


def told(recording: Recording, anomaly: Anomaly, folder: Path) -> Markup:
    """The lines near the anomaly, folded; nothing where the journal tells no wall clock, or no line tells its time."""
    if recording.epoch is None or recording.plan is None:
        return Markup()
    try:
        database: type[Database] = registry.look_up("databases", recording.plan.database)
    except SplitbrainError:
        return Markup()  # A database of somebody's own, and the run is read elsewhere.
    shown = near(recording, moments(recording, anomaly), folder, database.stamp)
    if not shown:
        return Markup()
    blocks = Markup().join(_block(of) for of in shown)
    skewed = ", ".join(sorted(_skewed(recording)))
    but = f" Not those of {skewed}, whose clock was put wrong." if skewed else ""
    return Markup(
        '<details class="logs"><summary>What the servers logged then</summary>{}<p class="muted">Lines within {:g} s of the '
        "operations shown, and of the beginning of their fault, at the time that the servers’ own clocks say; a line that "
        "tells whole seconds stands at the beginning of its second.{}</p></details>"
    ).format(blocks, NEAR, but)


def _block(of: Lines) -> Markup:
    text = "\n".join(f"{clock(line.time)} {line.log}: {printable(line.text, LONGEST)}" for line in of.lines)
    more = Markup('<p class="muted">and {} in this time</p>').format(plural(of.more, "more line")) if of.more else Markup()
    return Markup('<p><b>{}</b></p><pre tabindex="0">{}</pre>{}').format(of.node, text, more)


def _skewed(recording: Recording) -> set[str]:
    return {node for fault in recording.faults for spec in fault.specs if isinstance(spec, Skew) for node in spec.nodes}


def _stamped(log: Path, stamp: Stamp, epoch: int) -> Iterator[Line]:
    """The lines of a log that tell when they were written."""
    with log.open(encoding="utf-8", errors="replace", newline="\n") as file:
        while line := file.readline(MOST):
            at = stamp(line)
            if at is not None:
                yield Line(round(at * 1e9) - epoch, log.name, line.rstrip("\r\n"))
