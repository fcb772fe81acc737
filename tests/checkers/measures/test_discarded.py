"""Discarded writes: which sides gave way on which keys, told by hand and against the definition itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from splitbrain.checkers.measures.discarded import discarded as measured
from splitbrain.checkers.result import Discarded, GaveWay
from splitbrain.harness.history.fault import Proof, Skew
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Placement, Recording
from splitbrain.harness.history.variant import Claim, Variant
from tests.checkers.scenes import SECOND, apart, fault, overlapping, recording

SIDES = (("n2", "n3"), ("n1",))
CUT = fault(1, 5, 10, sides=SIDES)
ALONE = apart(("n1",), ("n2", "n3"))
UNPROVEN = fault(1, 5, 10, sides=SIDES, proven=None)
WRONG = fault(1, 5, 10, sides=SIDES, wrong=(("n1", "n2"),))
NEXT = fault(2, 15, 17, sides=SIDES)


def op(home: str | None, f: str, value: Any, at: float, key: int = 0, outcome: Any = "ok") -> Operation:
    return Operation(
        process=0, f=f, key=key, value=value, invoked=int(at * SECOND), completed=int(at * SECOND) + 1000, node=home,
        outcome=outcome,
    )


def recorded(operations: list[Operation]) -> Recording:
    scene = recording(faults=(CUT, NEXT), nodes=("n1", "n2", "n3"))
    return msgspec.structs.replace(scene, history=History.of([op("n1", "read", None, 1), *operations]))


BOTH = [op("n1", "write", 1, 6), op("n2", "write", 2, 7)]


def every(recording: Recording, cut: Any) -> tuple[Discarded | None, ...]:
    """What is told of each fault, where the first was this one."""
    return measured(msgspec.structs.replace(recording, faults=(cut, *recording.faults[1:])))


def discarded(recording: Recording, cut: Any) -> Discarded | None:
    """Without the number of keys that were written, which has a test of its own."""
    found = every(recording, cut)[0]
    return None if found is None else msgspec.structs.replace(found, written=0)


def gone(*rows: tuple[int, str, int], contested: int = 1, untold: int = 0) -> Discarded:
    """(key, node of the side, writes) of each that gave way."""
    sides = {node: nodes for nodes in SIDES for node in nodes}
    return Discarded(
        contested=contested, writes=sum(writes for *_, writes in rows), keys=len({key for key, *_ in rows}), last=len(rows),
        untold=untold, rows=tuple(GaveWay(key=key, nodes=sides[node], writes=writes) for key, node, writes in rows),
    )


def test_keys_are_written_by_whoever_was_acknowledged() -> None:
    refused = op("n3", "write", 5, 8, key=3, outcome="fail")
    found = every(recorded([*BOTH, op("n1", "write", 4, 8, key=2), refused]), CUT)[0]
    assert found is not None and (found.written, found.contested) == (2, 1)


def test_a_side_whose_clients_then_read_the_others_write_gave_way() -> None:
    assert discarded(recorded([*BOTH, op("n1", "read", 2, 11)]), CUT) == gone((0, "n1", 1))
    cas = [op("n1", "write", 1, 6), op("n2", "cas", (0, 2), 7), op("n1", "read", 2, 11)]
    assert discarded(recorded(cas), CUT) == gone((0, "n1", 1))
    more = [op("n1", "write", 7, 6.5), op("n1", "write", 8, 9.9995), *BOTH, op("n1", "read", 2, 11)]
    assert discarded(recorded(more), CUT) == gone((0, "n1", 3)), "what was overwritten there is gone as well, up to the heal"


def test_a_fault_beside_it_hides_nothing_of_what_is_read_after_the_heal() -> None:
    scene, cut = recorded([*BOTH, op("n1", "read", 1, 10.5), op("n1", "read", 2, 12)]), overlapping(1, 5, 10, ALONE)
    for beside in (overlapping(3, 8, 11, ALONE), overlapping(3, 8, 14, Skew(("n2",), offset=60.0))):
        assert discarded(msgspec.structs.replace(scene, faults=(cut, beside, NEXT)), cut) == gone((0, "n1", 1))


def test_a_side_gives_way_where_nobody_read_if_it_did_wherever_somebody_read() -> None:
    unread = [op("n1", "write", 9, 6, key=1), op("n1", "write", 10, 7, key=1)]
    assert discarded(recorded([*BOTH, *unread, op("n1", "read", 2, 11)]), CUT) == gone((0, "n1", 1), (1, "n1", 2))
    # The last write wins: each side gave way on one key, so that nothing is known of the third.
    other = [op("n1", "write", 3, 7, key=2), op("n2", "write", 4, 6, key=2), op("n2", "read", 3, 11, key=2)]
    found = discarded(recorded([*BOTH, *unread, *other, op("n1", "read", 2, 11)]), CUT)
    assert found == gone((0, "n1", 1), (2, "n2", 1), contested=2, untold=1)


def test_nothing_gave_way_where_it_was_not_seen_to() -> None:
    for untold, after in (
        (1, []),
        (1, [op("n3", "read", 2, 11)]),  # by its own side
        (0, [op("n1", "read", 1, 11), op("n2", "read", 2, 11)]),  # each still sees its own
        (0, [op("n1", "read", 2, 11), op("n1", "read", 1, 12)]),  # it is still there
        (1, [op("n1", "read", 2, 9)]),  # before the heal
        (1, [op("n1", "read", 2, 16)]),  # the next fault's
        (1, [op("n1", "read", 2, 11, outcome="fail")]),
        (1, [op(None, "read", 2, 11)]),
    ):
        assert discarded(recorded([*BOTH, *after]), CUT) == gone(untold=untold), after


def test_one_sides_writes_are_no_contest() -> None:
    assert discarded(recorded([op("n2", "write", 2, 7), op("n3", "write", 3, 8), op("n1", "read", 3, 11)]), CUT) == gone(
        contested=0)
    late = [op("n1", "write", 1, 11), op("n2", "write", 2, 7), op("n1", "read", 2, 12)]
    assert discarded(recorded(late), CUT) == gone(contested=0)
    unread = [op("n1", "write", 1, 6), op("n2", "read", None, 11)]
    assert discarded(recorded(unread), CUT) == gone(contested=0, untold=1), "nobody knows: was it there, and overwritten since?"


PRIMARIES = Variant(name="v", summary="", reads="primary", writes="primary", claim=Claim(text="", source=""))
SHARDS: dict[int, tuple[str, ...]] = {key: ("n1", "n2") if key < 5 else ("n3", "n1") for key in range(10)}


def through_primaries(operations: list[Operation], shards: dict[int, tuple[str, ...]] = SHARDS) -> Discarded | None:
    """What is told where writes go to the primary of a shard: keys 0 to 4 are one, 5 to 9 another, both on n1 and elsewhere."""
    placed = tuple(Placement(key, nodes) for key, nodes in shards.items())
    return discarded(msgspec.structs.replace(recorded(operations), placements=placed, variant=PRIMARIES), CUT)


LOST = [*BOTH, op("n1", "write", 3, 6, key=1), op("n1", "read", 2, 11)]  # n1's shard of the keys 0 to 4 has a new primary
LEFT = [op("n1", "write", 9, 6, key=5), op("n2", "read", 9, 11, key=5)]  # that of the others stayed with it


def test_of_each_shard_it_is_asked_by_itself_whether_a_side_gave_way() -> None:
    assert through_primaries([*LOST, *LEFT]) == gone((0, "n1", 1), (1, "n1", 1))
    assert discarded(recorded([*LOST, *LEFT]), CUT) == gone((0, "n1", 1), untold=1), "without primaries a side goes no one way"
    assert through_primaries([*LOST, *LEFT], {}) == gone((0, "n1", 1), untold=1), "nor where all keys are one shard"
    other = op("n1", "write", 8, 6, key=6)
    assert through_primaries([*LOST, *LEFT, other]) == gone((0, "n1", 1), (1, "n1", 1)), "a shard that stayed lost nothing"
    assert through_primaries([*LOST, other]) == gone((0, "n1", 1), (1, "n1", 1), untold=1), "of one, nothing is known"


def test_what_a_primary_served_before_it_stepped_down_is_gone_as_well() -> None:
    early, late, elsewhere = (op(home, "read", 3, at, key=1) for home, at in (("n1", 10.5), ("n1", 11.5), ("n2", 10.5)))
    assert through_primaries([*LOST, early]) == gone((0, "n1", 1), (1, "n1", 1))
    assert through_primaries([*LOST, late]) == gone((0, "n1", 1)), "it is still there"
    assert through_primaries([*LOST, elsewhere]) == gone((0, "n1", 1)), "it came to others"
    assert discarded(recorded([*LOST, early]), CUT) == gone((0, "n1", 1)), "without primaries each key goes its own way"


def at(server: str, f: str, value: Any, when: float, key: int = 0, home: str | None = None) -> Operation:
    """A call that this server answered, of a client whose home it is, or another node."""
    return msgspec.structs.replace(op(home or server, f, value, when, key=key), server=server)


TWO = [at("n1", "write", 1, 6), at("n1", "write", 3, 6, key=1), at("n2", "write", 2, 7)]
TWO_GO_ON = [at("n2", "write", 20, 10.2), at("n1", "write", 10, 10.5), at("n1", "write", 30, 10.6, key=1)]
BOTH_GONE = gone((0, "n1", 1), (1, "n1", 1))


def test_two_primaries_that_go_on_after_the_heal_overwrite_what_tells_which_of_them_gave_way() -> None:
    went_over = at("n2", "read", 20, 11, home="n1")
    assert through_primaries([*TWO, *TWO_GO_ON, went_over]) == BOTH_GONE
    before = at("n1", "read", 10, 10.7)
    assert through_primaries([*TWO, *TWO_GO_ON, before, went_over]) == BOTH_GONE
    cas = [at("n2", "cas", (2, 20), 10.2), at("n1", "cas", (1, 10), 10.5), TWO_GO_ON[2], went_over]
    assert through_primaries([*TWO, *cas]) == BOTH_GONE
    assert discarded(recorded([*TWO, *TWO_GO_ON, went_over]), CUT) == gone(untold=2), "each key by itself"


def test_a_lineage_that_did_not_hold_the_other_when_that_had_ended_is_what_the_others_clients_then_read() -> None:
    later = [at("n2", "write", 21, 10.9), at("n2", "read", 21, 11, home="n1")]
    assert through_primaries([*TWO, *TWO_GO_ON, at("n2", "read", 20, 10.8), *later]) == BOTH_GONE
    assert through_primaries([*TWO, *TWO_GO_ON, at("n2", "read", 20, 10.55), *later]) == gone(untold=2), "it had not ended"
    assert through_primaries([*TWO, *TWO_GO_ON, *later]) == gone(untold=2), "it may have held it"


@pytest.mark.parametrize(("after", "why"), [
    ([*TWO_GO_ON, at("n2", "read", 20, 11)], "its own clients may still have been behind"),
    ([*TWO_GO_ON[1:], at("n2", "write", 20, 10.7), at("n2", "read", 20, 11, home="n1")], "it may have come later"),
    ([*TWO_GO_ON, at("n2", "read", 20, 10.4, home="n1"), at("n2", "read", 20, 11, home="n1")],
     "it had stepped down, and may have come back with what the other had"),
    ([*TWO_GO_ON, at("n1", "read", None, 10.1, home="n2"), at("n2", "read", 20, 11, home="n1")],
     "so may the other"),
    ([at("n3", "write", 20, 10.2), *TWO_GO_ON[1:], at("n3", "read", 20, 11, home="n1")], "a new one may have copied it"),
    ([*TWO_GO_ON, at("n2", "read", 20, 16, home="n1")], "the next fault's"),
])
def test_of_two_primaries_that_went_on_none_is_said_to_give_way_without_proof(after: list[Operation], why: str) -> None:
    assert through_primaries([*TWO, *after]) == gone(untold=2), why


def test_a_lineage_that_went_on_after_the_heal_and_is_found_again_is_not_gone() -> None:
    found = [at("n2", "read", 20, 11, home="n1"), at("n1", "read", 10, 12)]
    assert through_primaries([*TWO, *TWO_GO_ON, *found]) == gone(untold=1), "of the other key nobody knows"


def test_what_was_acknowledged_while_links_were_being_cut_or_mended_may_have_spread() -> None:
    slow = fault(1, 5, 10, sides=SIDES, in_force=int(5.5 * SECOND), proven=int(5.6 * SECOND), healed=int(10.5 * SECOND))
    other, seen = op("n2", "write", 2, 7), op("n1", "read", 2, 11)
    for at in (5.2, 10.2):
        assert discarded(recorded([op("n1", "write", 1, at), other, seen]), slow) == gone(contested=0)
    assert discarded(recorded([op("n1", "write", 1, 5.6), other, seen]), slow) == gone((0, "n1", 1))
    still = [op("n1", "write", 3, 5.2), op("n1", "write", 1, 6), other, seen, op("n1", "read", 3, 12)]
    assert discarded(recorded(still), slow) == gone(), "and that it is there tells that its side did not give way"
    found = every(recorded([op("n1", "write", 1, 5.2), op("n2", "write", 2, 7, key=1)]), slow)[0]
    assert found is not None and found.written == 1


def test_it_is_not_measured_without_a_proven_fault_that_parts_and_heals() -> None:
    scene = recorded([*BOTH, op("n1", "read", 2, 11)])
    unhealed, whole = ({"healed": None}, {"sides": (("n1", "n2", "n3"),)})
    for one in (UNPROVEN, WRONG, msgspec.structs.replace(CUT, **unhealed), msgspec.structs.replace(CUT, **whole)):
        assert discarded(scene, one) is None
    sets = msgspec.structs.replace(scene, history=History.of([op("n1", "add", 1, 6), op("n1", "read", [1], 7)]))
    assert discarded(sets, CUT) is None


def by_definition(operations: list[Operation], sides: tuple[tuple[str, ...], ...]) -> tuple[int, int, int, int]:
    """Contested keys, writes that gave way, the last ones among them, and keys of which no read tells."""
    wrote = [x for x in operations if x.f == "write" and 5 <= x.invoked / SECOND < 10]
    reads = [x for x in operations if x.f == "read" and 10.1 < x.invoked / SECOND < 15]
    pairs = [(key, at) for key in (0, 1) for at in range(len(sides))]
    own = {(key, at): {x.value for x in wrote if x.key == key and x.node in sides[at]} for key, at in pairs}
    foreign = {
        (key, at): set().union(*(own[key, other] for other in range(len(sides)) if other != at)) for key, at in own
    }
    lost_at = {(key, at): [x.invoked for x in reads if x.key == key and x.node in sides[at] and x.value in foreign[key, at]]
               for key, at in own}
    kept_at = {(key, at): [x.invoked for x in reads if x.key == key and x.value in own[key, at]] for key, at in own}
    gave = {where for where in own if own[where] and lost_at[where] and max(lost_at[where]) > max(kept_at[where], default=-1)}
    spread = {at for key, at in set(own) - gave
              if any(x.key == key and x.node not in sides[at] and x.value in own[key, at] for x in reads)}
    stayed = spread - {at for _, at in gave}
    gave |= {(key, at) for key, at in own if own[key, at] and not kept_at[key, at] and at not in spread
             and any(other == at for _, other in gave)}
    contested = sum(sum(bool(own[key, at]) for at in range(len(sides))) > 1 for key in (0, 1))
    untold = {key for key, at in own if own[key, at] and (key, at) not in gave and not kept_at[key, at] and at not in stayed}
    return contested, sum(len(own[where]) for where in gave), len(gave), len(untold)


STEP = st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.booleans(), st.integers(0, 1), st.integers(0, 30))


@pytest.mark.servers  # as long as one
@settings(max_examples=400, deadline=None)
@given(st.lists(STEP, max_size=30), st.sampled_from([SIDES, (("n1",), ("n2",), ("n3",))]))
@example([("n1", True, 0, 0), ("n2", True, 0, 0), ("n1", False, 0, 1)], SIDES)
def test_it_is_what_it_says_to_be(steps: list[tuple[str, bool, int, int]], sides: tuple[tuple[str, ...], ...]) -> None:
    made, written = [], 0
    for turn, (home, writes, key, pick) in enumerate(steps):
        if writes:
            written += 1
            made.append(op(home, "write", written, 5.5 + turn / 10, key))
        else:
            made.append(op(home, "read", pick % (written + 1) or None, 10.5 + turn / 10, key))
    found = discarded(recorded(made), msgspec.structs.replace(CUT, sides=sides))
    assert found is not None and (found.contested, found.writes, found.last, found.untold) == by_definition(made, sides)


SECOND_ALONE = apart(("n2",), ("n1", "n3"))
FIRST, LATER = overlapping(1, 5, 13, ALONE), overlapping(2, 11, 15, SECOND_ALONE, beside=(ALONE,))


def overlapped(operations: list[Operation]) -> list[tuple[int, list[tuple[tuple[str, ...], int]]]]:
    """Of a history with n1 cut off from 5 to 13 s and n2 from 11 to 15 s: for each of the two, the contested keys, and what was
    discarded on which side."""
    scene = recording(faults=(FIRST, LATER), nodes=("n1", "n2", "n3"))
    told = measured(msgspec.structs.replace(scene, history=History.of([op("n1", "read", None, 1), *operations])))
    return [(one.contested, [(row.nodes, row.writes) for row in one.rows]) for one in told if one is not None]


def test_what_is_cut_off_later_is_a_side_from_then_on() -> None:
    read = op("n2", "read", 2, 16)
    assert overlapped([op("n2", "write", 1, 12), op("n3", "write", 2, 12.5), read]) == [(1, [(("n2",), 1)]), (1, [])]
    for earlier, later in ((6, 7), (6, 12), (12, 6)):
        together = [op("n2", "write", 1, earlier), op("n3", "write", 2, later), read]
        assert overlapped(together) == [(0, []), (0, [])], "one of the two could know of the other"
    both = [op("n2", "write", 3, 6), op("n2", "write", 1, 12), op("n3", "write", 2, 12.5), read]
    assert overlapped(both) == [(1, [(("n2",), 1)]), (1, [])], "what n2 wrote with the others was overwritten there"


def test_a_side_that_is_joined_by_the_other_cut_gives_way_once() -> None:
    read = op("n1", "read", 2, 16)
    assert overlapped([op("n1", "write", 1, 6), op("n3", "write", 2, 12), read]) == [(1, [(("n1",), 1)]), (0, [])]
    assert overlapped([op("n1", "write", 1, 12), op("n3", "write", 2, 12.5), read]) == [(1, [(("n1",), 1)]), (1, [])]
    late = [op("n2", "write", 1, 14), op("n3", "write", 2, 12), op("n2", "read", 2, 16)]
    assert overlapped(late) == [(0, []), (1, [(("n2",), 1)])], "after the first heal"


def test_while_another_cut_stands_no_read_tells_who_gave_way() -> None:
    assert overlapped([op("n1", "write", 1, 6), op("n3", "write", 2, 7), op("n1", "read", 2, 14)]) == [(1, []), (0, [])]


def test_what_another_cut_was_not_proven_to_do_parts_nobody() -> None:
    doubtful = msgspec.structs.replace(LATER, proofs=(Proof(holds=False, acted=LATER.started, at=LATER.started),))
    scene = recording(faults=(FIRST, doubtful), nodes=("n1", "n2", "n3"))
    made = [op("n2", "write", 1, 12), op("n3", "write", 2, 12.5), op("n2", "read", 2, 16)]
    told, other = measured(msgspec.structs.replace(scene, history=History.of(made)))
    assert told is not None and told.contested == 0 and other is None


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.integers(50, 149)), max_size=4))
def test_two_writes_are_contested_where_news_of_one_cannot_come_to_the_other(steps: list[tuple[str, int]]) -> None:
    """Against news that spreads, moment by moment, over every link that is up."""
    made = [op(node, "write", number, at / 10 + 0.05) for number, (node, at) in enumerate(steps)]

    def hears(one: Operation, other: Operation) -> bool:
        heard, edges = {one.node}, (one.invoked, 11 * SECOND, 13 * SECOND, other.completed or 0)
        for moment in sorted(edge for edge in edges if one.invoked <= edge < (other.completed or 0)):
            lost = {link for one in (FIRST, LATER) if (one.in_force or 0) <= moment < (one.heal_began or 0) for link in one.cut}
            for _ in range(2):
                heard |= {b for a in heard for b in ("n1", "n2", "n3") if (a, b) not in lost}
        return other.node in heard

    for cut, found in zip((FIRST, LATER), overlapped(made), strict=True):
        within = [one for one in made if cut.started <= one.invoked and (one.completed or 0) <= (cut.healed or 0)]
        assert found[0] == any(not hears(a, b) and not hears(b, a) for a in within for b in within)
