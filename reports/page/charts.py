"""Charts over time with the faults as bands behind them: Vega-Lite specifications, drawn to SVG by vl-convert.

vl-convert carries Vega-Lite and draws without a browser and without a network. Its SVG keeps colours as they are given, so
they are the page's own CSS variables: one drawing serves light, dark and print. Operations are counted in bins, so that the
size of a chart does not grow with the history.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from splitbrain.checkers.result import Scenario
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import KINDS
from splitbrain.harness.history.recording import Recording
from splitbrain.reports.sweep import MEASURES, Sweep, certain
from splitbrain.reports.wording import printable, side

Spec: TypeAlias = dict[str, Any]

BINS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
MOST_BINS = 240
WIDTH = 800
LATE_HEIGHT, LINE = 110, 13
"""Pixels of the chart of latencies, and of a line of text in it."""
MAGNIFIED = 1.3
"""How many times as large as it was drawn a chart is shown at most, or its words would outgrow those of the page."""
CROWD = 24
"""Faults in one chart from which on each has no lines and no name of its own: they are bands, joined where they overlap."""

HATCH = "url(#stood-still)"
_HATCHED = (
    '<pattern id="{name}-stood-still" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="var(--soft)" opacity="0.7"/><path d="M0 0V6" stroke="var(--muted)" stroke-width="2"/>'
    "</pattern>"
)

OUTCOMES = (("ok", OK, "var(--ok)"), ("failed", FAIL, "var(--fail)"), ("no answer", INFO, "var(--info)"))

_TENTHS = "round(datum.value * 10)"
_CLOCK = (
    f"floor({_TENTHS} / 600) + ':' + ({_TENTHS} % 600 < 100 ? '0' : '') + floor({_TENTHS} % 600 / 10)"
    f" + ({_TENTHS} % 10 ? '.' + {_TENTHS} % 10 : '')"  # of a window of a few seconds, ticks are parts of one
)

_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "padding": {"left": 4, "right": 4, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "axisX": {"grid": False, "labelExpr": _CLOCK, "tickCount": 10, "labelFlush": False},
    "axisY": {
        "domain": False,
        "ticks": False,
        "tickCount": 3,
        "titleAnchor": "end",
        "titleAngle": 0,
        "titleAlign": "left",
        "titleX": 0,
        "titleY": -6,
        "titleBaseline": "bottom",
    },
    "legend": {"labelColor": "var(--ink)", "labelFontSize": 12, "title": None, "orient": "top", "symbolType": "square"},
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--muted)", "labelFontSize": 12},
    "title": {"color": "var(--ink)", "fontSize": 12, "fontWeight": 600, "anchor": "start", "offset": 8},
}


def draw(spec: Spec, name: str, told: str) -> Markup:
    """The chart as an inline SVG; `name` keeps its identifiers apart from those of the page's other charts, and `told` is what
    it says to those who cannot see it."""
    # Here, because `splitbrain --help` needs no 80 MB of chart library.
    import vl_convert

    text = vl_convert.vegalite_to_svg(
        {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": _CONFIG, **spec}, allowed_base_urls=[]
    )
    text = re.sub(r'\bid="([\w-]+)"', rf'id="{name}-\1"', text)
    if HATCH in text:
        text = re.sub(r"(<svg [^>]*>)", rf'\1<defs>{_HATCHED.format(name=name)}</defs>', text, count=1)
    text = re.sub(r"url\(#([\w-]+)\)", rf"url(#{name}-\1)", text)
    # Vega names every mark in its own words ("symbol mark container"): one name for the whole is what a listener needs.
    text = re.sub(r' (?:role|aria-[\w-]+)="[^"]*"', "", text)
    name_of = f'<svg role="img" aria-label="{escape(printable(told))}" '
    def headed(found: re.Match[str]) -> str:
        return f'{name_of}{found[1]}style="max-width:{MAGNIFIED * float(found[2]):.0f}px" '

    text = re.sub(r'<svg ([^>]*?)width="([\d.]+)" height="[\d.]+" ', headed, text, count=1)
    return Markup(text)


def groups(nodes: Sequence[str], faults: Sequence[Fault]) -> tuple[tuple[str, ...], ...]:
    """Nodes that no fault ever set apart, in the order of the nodes: in every fault, they could speak with the same ones."""
    together: dict[tuple[frozenset[str], ...], list[str]] = {}
    for node in nodes:
        reach = tuple(
            frozenset(peer for peer in nodes if (node, peer) not in cut and (peer, node) not in cut)
            for cut in (frozenset(fault.cut) for fault in faults)
        )
        together.setdefault(reach, []).append(node)
    return tuple(tuple(members) for members in together.values())


def over_time(recording: Recording) -> Spec:
    """Operations a second by outcome, a row for each group of nodes that was cut off together, or one for all where the history
    names no nodes; then the latency of what was answered."""
    history = recording.history
    began, ended = extent(recording)
    width = bin_width(ended - began)
    edges = np.arange(began, ended + width, width)
    done = moments(history)
    rows: list[Spec] = []
    most = 0.0
    parts = [(f"clients beside {side(members)}", of_homes(history, members))
             for members in groups(recording.nodes, recording.faults)]
    parts = parts or [("all clients", np.ones(len(history), dtype=np.bool_))]
    for title, here in parts:
        stack = np.zeros(len(edges) - 1)
        for place, (name, code, _) in enumerate(OUTCOMES):
            counts = np.histogram(done[here & (history.outcome == code)], edges)[0] / width
            stack += counts
            rows += [
                {"t": round(at, 3), "g": title, "o": name, "i": place, "v": round(number, 2)}
                for at, number in zip(edges.tolist(), counts.tolist(), strict=False)
            ]
        most = max(most, float(stack.max(initial=0)))
    x = {"field": "t", "type": "quantitative", "title": None, "scale": {"domain": [began, ended], "nice": False}}
    names = [title for title, _ in parts]
    height = max(34, min(90, 260 // len(names)))
    throughput = [
        {
            "width": WIDTH,
            "height": height,
            "title": name,
            "layer": [
                _bands(recording, began, ended),
                {
                    "data": {"values": [row for row in rows if row["g"] == name]},
                    "mark": {"type": "area", "interpolate": "step-after", "clip": True},
                    "encoding": {
                        "x": {**x, "axis": {"labels": number == len(names) - 1, "title": None}},
                        "y": {
                            "field": "v",
                            "type": "quantitative",
                            "stack": "zero",
                            "title": "operations/s" if number == 0 else None,
                            "scale": {"domain": [0, most * 1.05 or 1], "nice": False},
                        },
                        "color": {
                            "field": "o",
                            "type": "nominal",
                            "scale": {"domain": [o for o, *_ in OUTCOMES], "range": [colour for *_, colour in OUTCOMES]},
                        },
                        "order": {"field": "i", "type": "quantitative"},
                    },
                },
                _edges(recording, began, ended, named=number == 0),
                *_stalls(recording, began, ended, named=number == 0),
            ],
        }
        for number, name in enumerate(names)
    ]
    return {"vconcat": [*throughput, _latency(recording, edges, x)], "spacing": 10}


def _took(history: History, edges: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Of each bin between two edges (seconds) the latencies, in ms, of what was answered in it."""
    answered = history.answered() & (history.completed != NEVER)
    took = history.latencies()[answered] / 1e6
    at = np.digitize(history.completed[answered] / 1e9, edges) - 1
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(edges)))
    return [took[order[start:end]] for start, end in pairwise(starts)]


def _latency(recording: Recording, edges: NDArray[np.float64], x: Spec) -> Spec:
    rows: list[Spec] = []
    for edge, here in zip(edges.tolist(), _took(recording.history, edges), strict=False):
        if len(here):
            median, high, top = np.quantile(here, [0.5, 0.99, 1.0]).tolist()
            rows += [
                {"t": round(edge, 3), "p": name, "v": round(max(figure, 0.01), 3)}
                for name, figure in (("median", median), ("p99", high), ("max", top))
            ]
    y = {
        "field": "v",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "ms",
        "axis": {"values": [0.01, 0.1, 1, 10, 100, 1000, 10000, 100000], "format": "~g"},
    }
    return {
        "width": WIDTH,
        "height": LATE_HEIGHT,
        "title": "latency of answered operations",
        "layer": [
            _bands(recording, *x["scale"]["domain"]),
            *_stalls(recording, *x["scale"]["domain"], named=False),
            *(
                {
                    "data": {"values": [row for row in rows if row["p"] == name]},
                    "mark": {"type": "line", "interpolate": "step-after", "color": colour, "strokeWidth": 1.3, "clip": True},
                    "encoding": {"x": x, "y": y},
                }
                for name, colour in (("max", "var(--rule)"), ("p99", "var(--fail)"), ("median", "var(--ok)"))
            ),
            {
                "data": {"values": _last(rows)},
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 11, "color": "var(--muted)"},
                "encoding": {"x": {"value": WIDTH}, "y": y, "text": {"field": "p"}},
            },
        ],
    }


def bins(recording: Recording) -> Spec:
    """The values of `over_time` for a script that tells them: of each bin ok, failed and unanswered operations a second, and
    the median and p99 latency in ms of what was answered (None where nothing was)."""
    history = recording.history
    began, ended = extent(recording)
    width = bin_width(ended - began)
    edges = np.arange(began, ended + width, width)
    done = moments(history)
    rates = [np.histogram(done[history.outcome == code], edges)[0] / width for _, code, _ in OUTCOMES]
    rows = []
    for counts, here in zip(np.stack(rates, axis=1).round(1).tolist(), _took(history, edges), strict=True):
        quantiles = np.quantile(here, [0.5, 0.99]).round(2).tolist() if len(here) else [None, None]
        rows.append([*counts, *quantiles])
    return {"began": began, "ended": ended, "width": width, "rows": rows}


def _last(rows: Sequence[Spec]) -> list[Spec]:
    """Where the names of the three lines stand: at their level over the last bins, kept apart from each other."""
    shown: list[Spec] = []
    if not rows:
        return shown
    figures = np.log10([row["v"] for row in rows])
    decades = max(1, np.ceil(figures.max()) - np.floor(figures.min()))  # What the axis shows: whole powers of ten.
    apart = 10 ** (decades * LINE / LATE_HEIGHT)
    for name in ("median", "p99", "max"):
        levels = [row["v"] for row in rows if row["p"] == name][-20:]
        if levels:
            level = float(np.median(levels))
            shown.append({"p": name, "v": max(level, shown[-1]["v"] * apart) if shown else level})
    return shown


def around(recording: Recording, scenario: Scenario) -> Spec:
    """The share of reads and of writes that each side answered, from before one fault until after its heal."""
    history = recording.history
    fault = next(fault for fault in recording.faults if fault.id == scenario.fault)
    over = scenario.healed or scenario.heal_began or extent(recording)[1]
    began, ended = max(extent(recording)[0], scenario.started - 3), min(extent(recording)[1], over + 4)
    width = bin_width((ended - began) * 3)
    edges = np.arange(began, ended + width, width)
    invoked = history.invoked / 1e9
    answered = history.answered()
    reads = history.reads()
    rows: list[Spec] = []
    empty: list[Spec] = []
    for kind in KINDS:
        for part in scenario.told:
            here = of_homes(history, part.nodes) & (reads if kind == "read" else ~reads)
            tried = np.histogram(invoked[here], edges)[0]
            got = np.histogram(invoked[here & answered], edges)[0]
            rows += [
                {"t": round(at, 3), "s": side(part.nodes), "k": f"{kind}s", "v": round(100 * g / n, 1) if n else None}
                for at, g, n in zip(edges.tolist(), got.tolist(), tried.tolist(), strict=False)
            ]
            empty.extend(
                {"t": round(at, 3), "e": round(at + width, 3), "s": side(part.nodes), "k": f"{kind}s", "c": colour}
                for at, n in zip(edges.tolist(), tried.tolist(), strict=False)
                if n == 0 and (colour := _of_empty(history, here, answered, int(at * 1e9), int((at + width) * 1e9)))
            )
    names = [side(part.nodes) for part in scenario.told]
    colours = [f"var(--side-{_number(fault, part.nodes)})" for part in scenario.told]
    x = {
        "field": "t",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": [began, ended], "nice": False},
        "axis": {"tickCount": 6},
    }
    y = {
        "field": "v",
        "type": "quantitative",
        "scale": {"domain": [0, 100]},
        "title": None,
        "stack": None,
        "axis": {"values": [0, 100], "labelExpr": "datum.value + '%'"},
    }
    return {
        "data": {"values": rows + empty},
        "facet": {
            "row": {
                "field": "s",
                "title": None,
                "sort": names,
                "header": {"labelAngle": 0, "labelAlign": "left", "labelLimit": 150},
            },
            "column": {"field": "k", "title": None, "sort": ["writes", "reads"], "header": {"labelAnchor": "start"}},
        },
        "spacing": {"row": 16, "column": 40},
        "spec": {
            "width": WIDTH // 2 - 90,
            "height": 44 if len(names) < 4 else 24,
            "layer": [
                _bands(recording, began, ended),
                {
                    "transform": [{"filter": "isValid(datum.c)"}],
                    "mark": {"type": "rect", "clip": True, "opacity": 0.35},
                    "encoding": {
                        "x": x, "x2": {"field": "e"}, "y": {"value": 0}, "y2": {"value": 44 if len(names) < 4 else 24},
                        "color": {"field": "c", "type": "nominal", "scale": None, "legend": None},
                    },
                },
                {
                    "transform": [{"filter": "!isValid(datum.c)"}],
                    "mark": {
                        "type": "area", "interpolate": "step-after", "clip": True, "opacity": 0.35, "color": "var(--bad)",
                    },
                    "encoding": {"x": x, "y": y, "y2": {"datum": 100}},
                },
                {
                    "transform": [{"filter": "!isValid(datum.c)"}],
                    "mark": {"type": "area", "interpolate": "step-after", "clip": True, "opacity": 0.8},
                    "encoding": {
                        "x": x,
                        "y": y,
                        "color": {
                            "field": "s",
                            "type": "nominal",
                            "legend": None,
                            "scale": {"domain": names, "range": colours},
                        },
                    },
                },
                _edges(recording, began, ended, named=False),
                *_stalls(recording, began, ended, named=False),
            ],
        },
    }


def _of_empty(
    history: History, here: NDArray[np.bool_], answered: NDArray[np.bool_], began: int, ended: int
) -> str:
    """The colour of a bin in which no call began: red where somebody waited in vain, grey where nobody asked, none where a
    slow call was under way that was answered."""
    open_then = here & (history.invoked < ended) & (history.completed > began)
    if not open_then.any():
        return "var(--rule)"
    return "" if bool((open_then & answered).any()) else "var(--bad)"


def against_length(sweep: Sweep) -> Spec:
    """What every run of a sweep cost, a panel for each thing that some run knows: a point a run, hollow where it proves nothing
    of its length, an arrow up where it may be more."""
    known = [measured for measured in MEASURES if any(measured.number(point.cost) is not None for point in sweep.points)]
    longest = max((point.cost.length for point in sweep.points), default=1.0)
    panels = []
    for measured in known:
        rows = [
            {
                "x": round(point.cost.length, 3), "y": number, "sure": certain(point),
                "least": measured.at_least(point.cost) and number > 0,
            }
            for point in sweep.points if (number := measured.number(point.cost)) is not None
        ]
        top = max(row["y"] for row in rows)
        panels.append({
            "data": {"values": rows},
            "width": WIDTH // 4 - 35,
            "height": 130,
            "title": {"text": measured.name, "fontSize": 11},
            "mark": {"type": "point", "size": 50, "strokeWidth": 1.5, "opacity": 1},
            "encoding": {
                "x": {
                    "field": "x", "type": "quantitative", "title": "fault, seconds",
                    "scale": {"domain": [0, longest * 1.06], "nice": False},
                    "axis": {"labelExpr": "datum.label", "tickCount": 5, "titleAnchor": "end"},
                },
                "y": {
                    "field": "y", "type": "quantitative", "title": measured.unit,
                    "scale": {"domain": [0, top * 1.1 or 1], "nice": False}, "axis": {"format": ",.3~r"},
                },
                "shape": {
                    "field": "least", "type": "nominal", "legend": None,
                    "scale": {"domain": [False, True], "range": ["circle", "triangle-up"]},
                },
                "stroke": {"value": "var(--ok)"},
                "fill": {"condition": {"test": "datum.sure", "value": "var(--ok)"}, "value": "var(--page)"},
            },
        })
    return {"hconcat": panels, "spacing": 24}


def _number(fault: Fault, nodes: Sequence[str]) -> int:
    """Which of the fault's sides this is: the same number, so the same colour, as in the picture of the cluster."""
    return next((number for number, members in enumerate(fault.sides) if set(members) == set(nodes)), 0) % 6


def _faulted(recording: Recording, began: float, ended: float) -> list[Spec]:
    """The faults inside a chart: from the first change to the last, in seconds, and what there is room to call them. Of a crowd
    the stretches of time in which some fault was in force, without a name."""
    values: list[Spec] = []
    for fault in recording.faults:
        over = fault.healed or fault.heal_began
        left, right = max(began, fault.started / 1e9), min(ended, ended if over is None else over / 1e9)
        if left < right:
            room = (right - left) / (ended - began) * WIDTH
            name = printable(fault.scenario, 60)
            values.append({"a": left, "b": right, "n": name if len(name) * 6.6 < room else str(fault.id)})
    if len(values) <= CROWD:
        return values
    joined: list[Spec] = []
    for one in sorted(values, key=lambda one: float(one["a"])):
        if joined and one["a"] <= joined[-1]["b"]:
            joined[-1]["b"] = max(joined[-1]["b"], one["b"])
        else:
            joined.append({"a": one["a"], "b": one["b"], "n": ""})
    return joined


def _bands(recording: Recording, began: float, ended: float) -> Spec:
    """The faults behind a chart."""
    x = {"field": "a", "type": "quantitative", "title": None, "scale": {"domain": [began, ended], "nice": False}}
    return {
        "data": {"values": _faulted(recording, began, ended)},
        "mark": {"type": "rect", "color": "var(--band)", "clip": True},
        "encoding": {"x": x, "x2": {"field": "b"}},
    }


def _stalls(recording: Recording, began: float, ended: float, *, named: bool) -> list[Spec]:
    """Where the harness itself stood still, hatched in grey over a chart: nothing that is seen there is the database's."""
    values = [
        {"a": max(began, stall.began / 1e9), "b": min(ended, stall.ended / 1e9)}
        for stall in recording.stalls or () if stall.began / 1e9 < ended and stall.ended / 1e9 > began
    ]
    if not values:
        return []
    x = {"field": "a", "type": "quantitative", "title": None, "scale": {"domain": [began, ended], "nice": False}}
    hatch = {"type": "rect", "color": HATCH, "clip": True}
    layers: list[Spec] = [{"data": {"values": values}, "mark": hatch, "encoding": {"x": x, "x2": {"field": "b"}}}]
    if named:
        text = {"type": "text", "align": "left", "baseline": "top", "dx": 4, "fontSize": 11, "color": "var(--muted)"}
        words = {"value": "harness stood still"}
        behind = {"x": {**x, "field": "b"}, "y": {"value": 0}, "text": words}
        layers.append({"data": {"values": values}, "mark": text, "encoding": behind})
    return layers


def _edges(recording: Recording, began: float, ended: float, *, named: bool) -> Spec:
    """Where faults begin and end, in front of a chart; `named` above it. Of a crowd nothing: the bands show it."""
    domain = {"type": "quantitative", "title": None, "scale": {"domain": [began, ended], "nice": False}}
    rule = {"type": "rule", "color": "var(--fault)", "opacity": 0.55, "clip": True}
    text = {"type": "text", "align": "left", "baseline": "bottom", "dy": -5, "fontSize": 11, "color": "var(--fault)"}
    layers: list[Spec] = [{"mark": rule, "encoding": {"x": {"field": end, **domain}}} for end in ("a", "b")]
    if named:
        layers.append({"mark": text, "encoding": {"x": {"field": "a", **domain}, "y": {"value": 0}, "text": {"field": "n"}}})
    values = _faulted(recording, began, ended)
    return {"data": {"values": [one for one in values if one["n"]]}, "layer": layers}


def extent(recording: Recording) -> tuple[float, float]:
    """From the first operation to the last event of any, in seconds."""
    history = recording.history
    if not len(history):
        return 0.0, 1.0
    done = history.completed[history.completed != NEVER]
    last = max(int(history.invoked[-1]), int(done.max(initial=0)))
    first = int(history.invoked[0]) / 1e9
    return first, max(first + 0.1, last / 1e9)


def bin_width(length: float) -> float:
    """The bin, in seconds, for a chart of that length."""
    return next((width for width in BINS if length / width <= MOST_BINS), length / MOST_BINS)


def moments(history: History) -> NDArray[np.float64]:
    """When each operation was over, in seconds; one that never ended counts where it began."""
    return np.where(history.completed == NEVER, history.invoked, history.completed) / 1e9


def of_homes(history: History, nodes: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows were called by workers whose home is one of these nodes."""
    codes = [number for number, name in enumerate(history.nodes) if name in nodes]
    return np.isin(history.node, codes)
