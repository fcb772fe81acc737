import re

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.fault import PlainFault
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Stall
from splitbrain.reports.page import charts
from tests.reports import story


def test_every_operation_is_counted_once() -> None:
    recording = story.recording()
    began, ended = charts.extent(recording)
    width = charts.bin_width(ended - began)
    panels = charts.over_time(recording)["vconcat"][:-1]
    counted = sum(row["v"] for panel in panels for row in panel["layer"][1]["data"]["values"]) * width
    assert round(counted) == len(recording.history)
    assert [panel["title"] for panel in panels] == ["clients beside {n1}", "clients beside {n2 n3 n4 n5}"]


def test_a_history_that_names_no_nodes_has_one_row_for_all() -> None:
    recording = msgspec.structs.replace(story.recording(), nodes=(), faults=())
    throughput, _ = charts.over_time(recording)["vconcat"]
    began, ended = charts.extent(recording)
    counted = sum(row["v"] for row in throughput["layer"][1]["data"]["values"]) * charts.bin_width(ended - began)
    assert (round(counted), throughput["title"]) == (len(recording.history), "all clients")


def test_shares_around_a_fault_are_those_of_a_plain_count() -> None:
    recording = story.recording()
    scenario = story.result(recording).scenarios[0]
    rows = charts.around(recording, scenario)["data"]["values"]
    at = sorted({row["t"] for row in rows})
    width = at[1] - at[0]
    for row in rows[:: len(rows) // 40]:
        ops = [
            op
            for op in recording.history
            if f"{{{op.node}" in row["s"].replace(" ", "{") and (op.f == "read") == (row["k"] == "reads")
            and row["t"] <= op.invoked / 1e9 - 1e-9 < row["t"] + width - 0.002
        ]  # fmt: skip
        if len(ops) > 5 and row["v"] is not None:
            assert abs(row["v"] - 100 * np.mean([op.answered for op in ops])) < 12


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), max_size=3))
def test_nodes_share_a_row_if_no_fault_ever_set_them_apart(parts: list[list[int]]) -> None:
    nodes = story.NODES
    faults = [
        PlainFault(
            id=i,
            nemesis="x",
            scenario="x",
            started=0,
            cut=tuple((a, b) for a in nodes for b in nodes if part[nodes.index(a)] != part[nodes.index(b)]),
        ).fault()
        for i, part in enumerate(parts)
    ]
    found = charts.groups(nodes, faults)
    assert sorted(node for members in found for node in members) == sorted(nodes)
    row = {node: number for number, members in enumerate(found) for node in members}
    for a in nodes:
        for b in nodes:
            together = all(part[nodes.index(a)] == part[nodes.index(b)] for part in parts)
            assert (row[a] == row[b]) == together


@given(st.floats(0.1, 10**6))
def test_a_chart_never_has_more_bins_than_fit(length: float) -> None:
    assert length / charts.bin_width(length) <= charts.MOST_BINS * 1.001


def test_the_engine_draws_and_keeps_the_pages_colours() -> None:
    recording = story.recording()
    text = charts.draw(charts.over_time(recording), "time", "over time")
    assert text.startswith("<svg ")
    assert "var(--ok)" in text and "var(--band)" in text
    assert len(text) < 300_000


def test_where_the_harness_stood_still_is_hatched_and_named_once() -> None:
    recording = story.recording()
    scenario = story.result(recording).scenarios[0]
    began, ended = charts.extent(recording)
    calm = charts.draw(charts.over_time(recording), "time", "over time")
    assert "stood" not in calm
    middle = int((began + ended) / 2 * 1e9)
    within = msgspec.structs.replace(recording, stalls=(Stall(began=middle, ended=middle + 10**9),))
    text = charts.draw(charts.over_time(within), "time", "over time")
    assert text.count("harness stood still") == 1
    assert text.count("url(#time-stood-still)") == len(charts.over_time(within)["vconcat"])
    assert text.count('id="time-stood-still"') == 1
    outside = msgspec.structs.replace(recording, stalls=(Stall(began=int(ended * 1e9) + 1, ended=int(ended * 1e9) + 9),))
    assert charts.over_time(outside) == charts.over_time(recording)
    start, end = scenario.started, scenario.healed or ended
    near = msgspec.structs.replace(recording, stalls=(Stall(began=int(start * 1e9), ended=int(end * 1e9)),))
    assert "url(#side-stood-still)" in charts.draw(charts.around(near, scenario), "side", "around")


def test_a_bin_without_calls_is_red_where_somebody_waited_in_vain_and_grey_where_nobody_asked() -> None:
    def colour(*calls: tuple[int, int | None]) -> str:
        history = History.of([
            Operation(
                process=i, f="read", value=1, outcome="info" if completed is None else "ok", invoked=invoked,
                completed=completed,
            )
            for i, (invoked, completed) in enumerate(calls)
        ])
        return charts._of_empty(history, np.ones(len(history), np.bool_), history.answered(), 100, 200)

    assert colour((10, 90)) == colour((10, 90), (210, 220)) == "var(--rule)"
    assert colour((10, None)) == "var(--bad)"
    assert colour((10, 150)) == colour((10, None), (10, 150)) == ""


def test_what_was_not_answered_in_a_bin_with_calls_is_red() -> None:
    recording = story.recording()
    layers = charts.around(recording, story.result(recording).scenarios[0])["spec"]["layer"]
    (red,) = [layer for layer in layers if layer.get("encoding", {}).get("y2") == {"datum": 100}]
    assert red["mark"]["color"] == "var(--bad)" and red["encoding"]["y"]["field"] == "v"
    assert layers.index(red) < len(layers) - 1


def test_a_small_chart_is_not_blown_up_to_the_width_of_the_page() -> None:
    small = {"width": 100, "height": 50, "data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    text = charts.draw(small, "small", "a small one")
    drawn, most = re.search(r'viewBox="0 0 ([\d.]+)', text), re.search(r'style="max-width:(\d+)px"', text)
    assert drawn and most and float(drawn[1]) < int(most[1]) < 1.4 * float(drawn[1])


def test_no_two_ticks_of_a_window_of_a_few_seconds_tell_the_same_time() -> None:
    recording = story.recording()
    for began, over in ((0.4, 0.6), (1.2, 1.35), (12.0, 27.0)):
        scenario = msgspec.structs.replace(
            story.result(recording).scenarios[0], started=began, in_force=began, heal_began=over, healed=over
        )
        text = charts.draw(charts.around(recording, scenario), "side", "around")
        ticks = re.findall(r">(\d+):(\d\d(?:\.\d)?)</text>", text)
        reads, writes = ticks[: len(ticks) // 2], ticks[len(ticks) // 2:]
        for told in (reads, writes):
            at = [60 * int(minutes) + float(seconds) for minutes, seconds in told]
            assert len(at) > 2 and sorted(set(at)) == at
            assert all(float(seconds) < 60 for _, seconds in told)
