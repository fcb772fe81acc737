"""Operations as lanes over time, with the faults as bands behind them: the smallest evidence as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
from markupsafe import Markup

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.operation import Operation
from splitbrain.reports.customers import phrase
from splitbrain.reports.page.drawing import canvas, markup, put
from splitbrain.reports.wording import client, moment, printable, sides, span, when

WIDTH, GUTTER, TOP, ROW, BOTTOM = 960.0, 118.0, 40.0, 50.0, 26.0
LETTER = 8.0
"""Width in units of a letter of the labels, generously, so that labels never touch."""


ARMED = 3
"""Of so many faults at most, it is drawn how long each took to be put in force and proven."""


def draw(
    operations: Sequence[Operation], faults: Sequence[Fault] = (), timed: bool = True, workload: str = "",
    accused: int | None = None,
) -> Markup:
    """The operations, lanes by the server that answered and the client second, and the faults that overlap them.

    Left to right is the order of events, exactly; lengths are logarithmic, because 2 ms and 20 s must fit one picture.
    `timed` is False for histories that tell no times: then no times are written. `workload` is the one in whose words
    operations are told; the one at the place `accused`, of several, is marked. No operations: an empty string.
    """
    if not operations:
        return Markup("")
    first = min(op.invoked for op in operations)
    last = max(op.ended for op in operations)
    bands = sorted((fault for fault in faults if _began(fault) <= last and _over(fault, last) >= first), key=_began)
    axis = _Axis(operations, bands, first, last, workload)
    lanes = _lanes(operations, axis)
    height = TOP + ROW * len(lanes) + BOTTOM
    root = canvas(WIDTH, height, "; ".join(" ".join(phrase(op, workload)) for op in operations), "lanes")
    free = 0.0
    for fault in bands:
        free = _band(root, fault, axis, height - BOTTOM, free)
    named: set[tuple[str, int]] = set()
    wrong = operations[accused] if accused is not None and len(operations) > 1 else None
    for row, ((server, process), lane) in enumerate(lanes):
        y = TOP + ROW * row
        if (server, process) not in named:
            fresh = all(server != other for other, _ in named)
            named.add((server, process))
            put(root, "line", "rule", x1=0.0 if fresh else GUTTER, x2=WIDTH, y1=y, y2=y)
            if fresh:
                put(root, "text", "lane-node", printable(server, 14), x=0.0, y=y + 20)
            put(root, "text", "lane-client", f"client {process}", x=0.0, y=y + (36 if server else 28))
        for op in lane:
            _operation(root, op, axis, y, timed, marked=op is wrong)
    y = height - BOTTOM
    put(root, "line", "rule", x1=0.0, x2=WIDTH, y1=y, y2=y)
    put(root, "text", "note", "time runs left to right; the order is exact, lengths are not to scale", x=GUTTER, y=y + 18)
    return markup(root)


def _began(fault: Fault) -> int:
    return fault.started if fault.in_force is None else fault.in_force


def _over(fault: Fault, last: int) -> int:
    return last if fault.heal_began is None else fault.heal_began


class _Axis:
    """Nanoseconds to units: every distinct event apart from its neighbours, longer gaps wider by their logarithm."""

    def __init__(
        self, operations: Sequence[Operation], bands: Sequence[Fault], first: int, last: int, workload: str = "",
    ) -> None:
        self.workload = workload
        times = {time for op in operations for time in (op.invoked, op.ended)}
        for fault in bands:
            times |= {_began(fault), _over(fault, last)}
            if fault.proven is not None and len(bands) <= ARMED:
                times |= {fault.started, fault.proven}
        self.times = sorted(times)
        self.start, self.stop = GUTTER + 14.0, WIDTH - 14.0
        weights = [1.0 + 0.35 * float(np.log2(1 + (after - before) / 1e6)) for before, after in pairwise(self.times)]
        weights = [0.6, *weights, 1.6]
        places = self.start + np.cumsum(weights)[:-1] * (self.stop - self.start) / sum(weights)
        self.places: dict[int, float] = dict(zip(self.times, places.tolist(), strict=True))

    def __getitem__(self, time: int) -> float:
        return self.places[time]


def _server(op: Operation) -> str:
    return op.server or op.node or ""


def _lanes(operations: Sequence[Operation], axis: _Axis) -> list[tuple[tuple[str, int], list[Operation]]]:
    """Rows of operations: the servers in the order in which they were called, at each a lane a client, and a further row of it
    where labels would overlap."""
    by_server: dict[str, dict[int, list[Operation]]] = {}
    for op in sorted(operations, key=lambda op: op.invoked):
        by_server.setdefault(_server(op), {}).setdefault(op.process, []).append(op)
    rows: list[tuple[tuple[str, int], list[Operation]]] = []
    for who, ops in (((server, process), ops) for server, lanes in by_server.items() for process, ops in lanes.items()):
        own: list[tuple[float, list[Operation]]] = []
        for op in ops:
            left, right = _extent(op, axis)
            for i, (taken, lane) in enumerate(own):
                if taken < left:
                    lane.append(op)
                    own[i] = (right, lane)
                    break
            else:
                own.append((right, [op]))
        rows += [(who, lane) for _, lane in own]
    return rows


def _label(op: Operation, axis: _Axis) -> str:
    call, answer = phrase(op, axis.workload)
    home = f" (beside {printable(op.node)})" if op.node and op.node != _server(op) else ""
    return f"{call} → {answer}{home}"


def _width(op: Operation, axis: _Axis) -> float:
    """The label's, with the mark before and the time behind it."""
    return (len(_label(op, axis)) + len(when(op)) + 4) * LETTER


def _text_from(op: Operation, axis: _Axis) -> float:
    """Where the label begins: at the bar, or further left where it would leave the picture."""
    return max(GUTTER, min(axis[op.invoked], WIDTH - _width(op, axis)))


def _extent(op: Operation, axis: _Axis) -> tuple[float, float]:
    start = _text_from(op, axis)
    return min(start, axis[op.invoked]), max(start + _width(op, axis), _right(op, axis)) + 10


def _right(op: Operation, axis: _Axis) -> float:
    return axis.stop if op.outcome == "info" else axis[op.ended]


def _operation(root: ET.Element, op: Operation, axis: _Axis, y: float, timed: bool, *, marked: bool) -> None:
    left, right = axis[op.invoked], _right(op, axis)
    took = f", took {span(op.completed - op.invoked)}" if op.completed is not None else ""
    hint = f"{client(op)}: {' → '.join(phrase(op, axis.workload))}" + (f" at {when(op)}{took}" if timed else "")
    mark, sign = (" accused", "✗ ") if marked else ("", "")
    put(root, "rect", f"call {op.outcome}{mark}", hint=hint, x=left, y=y + 30, height=9.0, width=max(4.0, right - left), rx=3.0)
    label = put(root, "text", f"label{mark}", f"{sign}{_label(op, axis)}", x=_text_from(op, axis), y=y + 22)
    if timed:
        time = put(label, "tspan", "note", f"  {when(op)}")
        time.set("dx", "6")


def _band(root: ET.Element, fault: Fault, axis: _Axis, bottom: float, free: float) -> float:
    """One fault. Its label stands above it from where labels leave the room `free`, or nowhere: who points at the band reads
    it. Where the room is free behind it."""
    began, over = _began(fault), _over(fault, axis.times[-1])
    left, right = axis[began], axis[over] if fault.heal_began is not None else axis.stop
    proof = "" if fault.bit else ", not proven"
    cut = fault.sides and fault.cut and not fault.struck
    what = f"{moment(began)} {sides(fault.sides) if cut else printable(fault.doing(()))}{proof}"
    put(root, "rect", "band", hint=what, x=left, y=TOP - 18, width=right - left, height=bottom - TOP + 18)
    if fault.proven is not None and fault.started in axis.places and fault.proven in axis.places:
        start = axis[fault.started]
        put(root, "rect", "arming", hint="being put in force, until the proof", x=start, y=TOP - 18,
            width=axis[fault.proven] - start, height=6.0)
    room = axis.stop - left
    shown = what if len(what) * 6.6 < room else f"{moment(began)} {printable(fault.scenario, 30)}"
    at = min(left, WIDTH - len(shown) * 6.6)
    if at < free:
        return free
    put(root, "text", "band-label", shown, x=at, y=TOP - 24)
    end = f"{printable(fault.undoing(), 30)} {moment(over)}"
    if fault.heal_began is not None and right - left > (len(shown) + len(end)) * 6.6 + 12:
        put(root, "text", "band-label", end, x=right, y=TOP - 24, text_anchor="end")
        return right + 6.6
    return at + (len(shown) + 1) * 6.6
