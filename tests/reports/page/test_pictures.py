import re
from itertools import pairwise
from math import dist
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.history.fault import Cut, Fault, Kill, Other, PlainFault, Proof, Sever
from splitbrain.harness.history.history import OUTCOMES
from splitbrain.harness.history.operation import Operation
from splitbrain.reports.page import cluster, lanes, templates
from tests.reports.story import FAULT, HOSTILE, NODES


@st.composite
def evidence(draw: st.DrawFn) -> list[Operation]:
    ops = []
    for process in range(draw(st.integers(1, 6))):
        invoked = draw(st.integers(0, 60 * 10**9))
        outcome = draw(st.sampled_from(OUTCOMES))
        length = draw(st.one_of(st.integers(0, 10**7), st.integers(0, 30 * 10**9)))
        ops.append(
            Operation(
                process=process % 3,
                f=draw(st.sampled_from(["read", "write"])),
                value=draw(st.one_of(st.integers(0, 99), st.just(HOSTILE))),
                outcome=outcome,
                invoked=invoked,
                completed=None if outcome == "info" and draw(st.booleans()) else invoked + length,
                node=draw(st.sampled_from([None, "n1", HOSTILE])),
            )
        )
    return ops


def rectangles(picture: ET.Element, kind: str) -> list[tuple[float, float]]:
    """Left and right ends."""
    found = [child for child in picture.iter("rect") if child.get("class", "").split()[0] == kind]
    return [(float(child.get("x", "")), float(child.get("x", "")) + float(child.get("width", ""))) for child in found]


@settings(max_examples=150)
@given(evidence())
def test_the_order_of_events_is_exact(ops: list[Operation]) -> None:
    picture = ET.fromstring(lanes.draw(ops, (FAULT,)))
    bars = rectangles(picture, "call")
    assert len(bars) == len(ops)
    starts = sorted(left for left, _ in bars)
    by_time = sorted(ops, key=lambda op: op.invoked)
    for (one, after), (left, right) in zip(pairwise(by_time), pairwise(starts), strict=True):
        assert (one.invoked == after.invoked) == (left == right)
    for left, right in bars:
        assert lanes.GUTTER < left < right < lanes.WIDTH


@settings(max_examples=100)
@given(evidence())
def test_labels_of_one_row_never_overlap(ops: list[Operation]) -> None:
    axis = lanes._Axis(ops, [], min(op.invoked for op in ops), max(op.completed or op.invoked for op in ops))
    rows = lanes._lanes(ops, axis)
    assert sorted(op.invoked for _, row in rows for op in row) == sorted(op.invoked for op in ops)
    for _, row in rows:
        ends = [lanes._extent(op, axis) for op in row]
        assert all(one[1] < after[0] for one, after in pairwise(ends))


def test_a_band_covers_exactly_what_happened_in_its_window() -> None:
    def read(at: float) -> Operation:
        return Operation(process=round(at * 10), f="read", value=1, invoked=round(at * 1e9), completed=round(at * 1e9) + 10**6)

    picture = ET.fromstring(lanes.draw([read(at) for at in (11.0, 12.2, 26.9, 27.1)], (FAULT,)))
    ((left, right),) = rectangles(picture, "band")
    ((armed, proven),) = rectangles(picture, "arming")
    assert armed <= left < proven <= right, "from its first rule to the proof"
    assert [left <= start and end <= right for start, end in sorted(rectangles(picture, "call"))] == [False, True, True, False]


def test_a_fault_outside_the_evidence_is_not_drawn() -> None:
    op = Operation(process=1, f="read", value=1, invoked=40 * 10**9, completed=41 * 10**9)
    assert rectangles(ET.fromstring(lanes.draw([op], (FAULT,))), "band") == []


def test_a_band_tells_what_the_fault_did_and_how_it_ended() -> None:
    ops = [Operation(process=1, f="read", value=1, invoked=at * 10**9, completed=at * 10**9 + 10**6) for at in (11, 20, 30)]

    def told(fault: Fault) -> list[str | None]:
        picture = ET.fromstring(lanes.draw(ops, (fault,)))
        return [text.text for text in picture.iter("text") if text.get("class") == "band-label"]

    assert told(FAULT) == ["0:12 {n1} | {n2 n3 n4 n5}", "heal 0:27"]
    # Beside a partition its nodes are on sides too, which it did not make.
    switch = msgspec.structs.replace(FAULT, specs=(Other(nodes=("n1",), name="s", does="let alone", undoing="take back"),))
    assert told(switch) == ["0:12 let alone n1", "take back 0:27"]


def test_labels_of_many_faults_stand_apart() -> None:
    ops = [Operation(process=1, f="read", value=1, invoked=at * 10**9, completed=at * 10**9 + 10**6) for at in (1, 60)]
    faults = [
        msgspec.structs.replace(FAULT, id=at, in_force=at * 10**9, heal_began=at * 10**9 + 5 * 10**8) for at in range(2, 60)
    ]
    picture = ET.fromstring(lanes.draw(ops, faults[::-1]))
    assert len(rectangles(picture, "band")) == len(faults)
    labels = [text for text in picture.iter("text") if text.get("class") == "band-label"]
    places = [(float(text.get("x") or 0), len(text.text or "") * 6.6) for text in labels]
    assert len(labels) > 2 and places == sorted(places)
    assert all(left + width < right for (left, width), (right, _) in pairwise(places))


def test_lanes_are_by_server_and_the_client_second() -> None:
    def call(process: int, node: str, server: str | None, at: int) -> Operation:
        return Operation(process=process, f="read", value=1, invoked=at, completed=at + 1, node=node, server=server)

    ops = [call(1, "n1", "n3", 10), call(2, "n2", "n2", 20), call(3, "n3", None, 30), call(1, "n1", "n2", 40)]
    axis = lanes._Axis(ops, [], 10, 41)
    found = list(dict.fromkeys(who for who, _ in lanes._lanes(ops, axis)))
    assert found == [("n3", 1), ("n3", 3), ("n2", 2), ("n2", 1)]
    picture = ET.fromstring(lanes.draw(ops))
    told = [(text.get("class"), text.text) for text in picture.iter("text") if (text.get("class") or "").startswith("lane-")]
    assert told == [
        ("lane-node", "n3"), ("lane-client", "client 1"), ("lane-client", "client 3"),
        ("lane-node", "n2"), ("lane-client", "client 2"), ("lane-client", "client 1"),
    ]
    labels = [text.text for text in picture.iter("text") if text.get("class") == "label"]
    assert [label for label in labels if label and "beside n1" in label] == ["read → 1 (beside n1)"] * 2


def test_no_evidence_no_picture() -> None:
    assert lanes.draw([]) == ""


def test_a_history_without_times_shows_none() -> None:
    op = Operation(process=1, f="read", value=1, invoked=4, completed=5)
    assert "0:00" not in lanes.draw([op], (), timed=False)
    assert "0:00" in lanes.draw([op], ())


def links(fault: Fault | None, kind: str) -> list[str]:
    picture = ET.fromstring(cluster.draw(NODES, fault))
    return [line.findtext("title", "") for line in picture.iter("line") if line.get("class") == kind]


def test_cut_links_are_those_that_probes_found_down() -> None:
    assert sorted(links(FAULT, "link cut")) == [f"n1 and {node}: cut" for node in NODES[1:]]
    assert len(links(FAULT, "link")) == 6
    assert len(links(None, "link")) == 10


def test_a_link_cut_one_way_is_an_arrow_the_other_way() -> None:
    fault = PlainFault(
        id=1, nemesis="one-way", scenario="s", started=0, proven=1, cut=(("n1", "n2"),), observed_cut=(("n1", "n2"),)
    ).fault()
    assert "n1 and n2: only n2 to n1" in links(fault, "link")
    assert len(list(ET.fromstring(cluster.draw(NODES, fault)).iter("polygon"))) == 1


def test_clients_that_lost_their_node_are_drawn_beside_it_and_no_link_between_nodes_is_cut() -> None:
    def drawn(**proof: Any) -> ET.Element:
        fault = Fault(id=1, nemesis="client-cut", scenario="primary", started=0, in_force=1, specs=(Sever(("n1", "n3")),),
                      proofs=(Proof(acted=1, at=1, **proof),), sides=(NODES,))
        assert (fault.cut, fault.struck) == ((), ())
        return ET.fromstring(cluster.draw(NODES, fault))

    picture = drawn(holds=True)
    told = {line.findtext("title", ""): line.get("class") for line in picture.iter("line")}
    assert {hint for hint, kind in told.items() if kind == "link cut"} == {"clients and n1: cut", "clients and n3: cut"}
    assert {hint for hint, kind in told.items() if kind == "link" and hint.startswith("clients")} == {
        "clients and n2: up", "clients and n4: up", "clients and n5: up"}
    assert sum(kind == "link" for kind in told.values()) == 10 + 3, "nodes see each other"
    assert [square.findtext("title") for square in picture.iter("rect") if square.get("class") == "clients lost"] == [
        "clients at n1", "clients at n3"]
    _, _, width, height = map(float, picture.get("viewBox", "").split())
    for square in picture.iter("rect"):
        x, y, edge = (float(square.get(name, "")) for name in ("x", "y", "width"))
        assert 0 < x < x + edge < width and 0 < y < y + edge < height
    wrong = drawn(holds=False, wrong=("n3",))
    assert [line.findtext("title") for line in wrong.iter("line") if line.get("class") == "link wrong"] == [
        "clients and n3: not proven to be cut"]
    assert not list(ET.fromstring(cluster.draw(NODES, FAULT)).iter("rect")), "clients are drawn where theirs is the cut"


def test_what_another_fault_did_for_a_part_of_the_time_is_drawn_and_told_apart() -> None:
    other = Fault(id=2, nemesis="halves", scenario="s", started=2, in_force=2, specs=(
        Cut((("n2", "n3"), ("n3", "n2"), ("n1", "n2"))), Kill(("n5",)),
    ))
    picture = ET.fromstring(cluster.draw(NODES, FAULT, (other,)))
    told = {line.findtext("title", ""): line.get("class") for line in picture.iter("line")}
    assert [hint for hint, kind in told.items() if kind == "link meanwhile"] == [
        "n2 and n3: up, and cut by another fault for a part of the time"]
    assert sum(kind == "link cut" for kind in told.values()) == 4, "its own are as they were"
    assert [node.findtext("title") for node in picture.iter("circle") if "meanwhile" in node.get("class", "")] == [
        "n5: struck by another fault for a part of the time"]


def test_a_link_whose_probe_disagreed_stands_out() -> None:
    fault = PlainFault(
        id=1, nemesis="halves", scenario="s", started=0, cut=(("n1", "n2"),), wrong=(("n1", "n2"),)
    ).fault()
    assert len(links(fault, "link wrong")) == 1


def test_a_colour_means_one_thing() -> None:
    """The sides of a partition, and what an outcome, a fault or a verdict is: on a screen by day and by night, and on paper."""
    blocks = re.findall(r":root \{(.*?)\}", templates.style(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        colours = {name: _lab(colour) for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)}
        sides = [name for name in colours if name.startswith("side-")]
        assert len(sides) == 6
        for side in sides:
            for other in {*sides, "ok", "fail", "info", "fault", "good", "bad", "doubt"} - {side}:
                assert dist(colours[side], colours[other]) > 25, (side, other)


def _lab(colour: str) -> tuple[float, float, float]:
    """CIE L*a*b* of sRGB under D65: where distances are what an eye sees."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    xyz = ((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047, 0.2126 * r + 0.7152 * g + 0.0722 * b,
           (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883)
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_hostile_names_are_text() -> None:
    picture = cluster.draw((HOSTILE, "n2"))
    ET.fromstring(picture)
    assert "<script" not in picture


def test_the_operation_that_is_wrong_is_marked_and_both_its_ends_are_told() -> None:
    ops = [Operation(process=at, f="read", value=1, invoked=at * 10**9, completed=at * 10**9 + 9 * 10**6) for at in (13, 20)]
    picture = ET.fromstring(lanes.draw(ops, (FAULT,), accused=1))
    marked = [(tag.tag.rpartition("}")[2], tag.text) for tag in picture.iter() if "accused" in tag.get("class", "")]
    assert marked == [("rect", None), ("text", "✗ read → 1")]
    assert [tag.text for tag in picture.iter("tspan")] == ["  0:13.000–0:13.009", "  0:20.000–0:20.009"]
    assert "accused" not in lanes.draw(ops[:1], (FAULT,), accused=0), "one alone needs no mark"
