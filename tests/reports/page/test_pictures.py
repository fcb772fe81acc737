from itertools import pairwise
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.history.fault import Fault, PlainFault
from splitbrain.harness.history.history import OUTCOMES
from splitbrain.harness.history.operation import Operation
from splitbrain.reports.page import cluster, lanes
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
    assert [left <= start and end <= right for start, end in sorted(rectangles(picture, "call"))] == [False, True, True, False]


def test_a_fault_outside_the_evidence_is_not_drawn() -> None:
    op = Operation(process=1, f="read", value=1, invoked=40 * 10**9, completed=41 * 10**9)
    assert rectangles(ET.fromstring(lanes.draw([op], (FAULT,))), "band") == []


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


def test_a_link_whose_probe_disagreed_stands_out() -> None:
    fault = PlainFault(
        id=1, nemesis="halves", scenario="s", started=0, cut=(("n1", "n2"),), wrong=(("n1", "n2"),)
    ).fault()
    assert len(links(fault, "link wrong")) == 1


def test_hostile_names_are_text() -> None:
    picture = cluster.draw((HOSTILE, "n2"))
    ET.fromstring(picture)
    assert "<script" not in picture
