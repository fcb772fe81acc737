"""Replicas compared by node-local reads, in the last round in which each key was read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from splitbrain.checkers.measures.convergence import convergence, verdict
from splitbrain.checkers.result import Convergence
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import LocalRead, Phase
from tests.checkers.scenes import SECOND, fault, recording

NODES = ("n1", "n2", "n3")


def local(round: int, second: float, *values: Any, key: int = 0) -> list[LocalRead]:
    """One value for each node; an Exception stands for an error."""
    return [
        LocalRead(
            node=node, key=key, value=None if isinstance(value, Exception) else value, round=round, time=int(second * SECOND),
            error=str(value) if isinstance(value, Exception) else None,
        )
        for node, value in zip(NODES, values, strict=True)
    ]


def compared(*rounds: list[LocalRead], **more: Any) -> Convergence:
    reads = [read for found in rounds for read in found]
    return convergence(recording(nodes=NODES, length=10, local=reads, **more))


def test_agreed_at_once() -> None:
    found = compared(local(0, 10.5, 7, 7, 7), local(0, 10.6, None, None, None, key=1))
    assert (found.state, found.keys, found.rounds) == ("agreed", 2, 1)
    assert found.seconds == pytest.approx(0.6), "from the end of the load"


def test_agreed_in_a_later_round_that_reads_only_what_differed() -> None:
    found = compared(local(0, 11, 7, 7, 8), local(0, 11, 1, 1, 1, key=1), local(1, 12.5, 7, 7, 7))
    assert (found.state, found.rounds) == ("agreed", 2)
    assert found.seconds == pytest.approx(2.5)


def test_diverged_after_the_settle_phase() -> None:
    found = compared(local(0, 11, 7, 7, 8), local(1, 12, 7, 7, 8), local(0, 11, 1, 1, 1, key=1))
    assert found.state == "diverged"
    assert found.differing == ("key 0: n1 holds 7, n2 holds 7, n3 holds 8",)
    judged = verdict(found)
    assert (judged.validity, judged.counts) == ("invalid", {"diverged": 1})


def test_who_did_not_wait_long_calls_nothing_diverged() -> None:
    made = recording(nodes=NODES, length=10, local=[*local(0, 11, 7, 7, 8), *local(1, 12, 7, 7, 8)])
    assert made.plan is not None and convergence(made).state == "diverged", "the control"
    hasty = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, settle=5.0))
    found = convergence(hasty)
    assert (found.state, found.differing) == ("unknown", ("key 0: n1 holds 7, n2 holds 7, n3 holds 8",))
    assert found.reason.endswith("which is too soon to tell slow replicas from those that stay apart: --settle 28")
    agreed = [*local(0, 11, 7, 7, 7)]
    assert convergence(msgspec.structs.replace(hasty, local_reads=tuple(agreed))).state == "agreed"


def test_equal_keys_of_a_comparison_that_was_cut_short_are_not_all_keys() -> None:
    load = Phase("load", 0, 10 * SECOND)
    cut_short = (load, Phase("settle", 10 * SECOND))
    found = compared(local(0, 11, 7, 7, 7), phases=cut_short)
    assert found.state == "unknown" and "ended before that was done" in found.reason
    late = (load, Phase("settle", 10 * SECOND, 12 * SECOND, "took too long"))
    assert compared(local(0, 11, 7, 7, 7), phases=late).state == "unknown"
    again = (*late, Phase("final-reads", 12 * SECOND, 13 * SECOND))
    assert compared(local(0, 11, 7, 7, 7), local(1000, 12.5, 7, 7, 7), phases=again).state == "agreed"


def test_copies_that_were_equal_before_the_heal_say_nothing() -> None:
    healed = [fault(sides=(("n2", "n3"), ("n1",)), began=5, ended=8)]
    found = compared(local(0, 4, 7, 7, 7), faults=healed)
    assert found.state == "unknown" and "after the last heal" in found.reason
    assert compared(local(0, 4, 7, 7, 7), local(1, 9, 7, 7, 7), faults=healed).state == "agreed"


def test_a_difference_in_a_recording_that_ends_early_is_unknown() -> None:
    cut_short = (Phase("load", 0, 10 * SECOND), Phase("settle", 10 * SECOND))
    assert compared(local(0, 11, 7, 7, 8), phases=cut_short).state == "unknown"
    broken = (Phase("load", 0, 10 * SECOND), Phase("settle", 10 * SECOND, 12 * SECOND, "cancelled"))
    assert compared(local(0, 11, 7, 7, 8), phases=broken).state == "unknown"


def test_a_node_that_does_not_answer_is_unknown_but_not_where_two_others_differ() -> None:
    down = ConnectionError("refused")
    found = compared(local(0, 11, 7, 7, down))
    assert (found.state, verdict(found).validity) == ("unknown", "unknown")
    assert "n3 did not answer (refused)" in found.reason
    assert compared(local(0, 11, 7, 8, down)).state == "diverged"
    assert compared(local(0, 11, 7, 7, 7)[:2]).state == "unknown", "n3 was never asked"


def test_sets_are_compared_without_order_and_with_duplicates() -> None:
    assert compared(local(0, 11, [1, 2], [2, 1], [1, 2])).state == "agreed"
    found = compared(local(0, 11, [1, 2], [2, 1], [1]))
    assert found.differing == ("key 0: n1 misses 0 of 2, n2 misses 0 of 2, n3 misses 1 of 2",)


def test_queues_are_compared_in_their_order() -> None:
    reads = local(0, 11, [1, 2], [2, 1], [1, 2])
    queue = History.of([Operation(process=1, f="dequeue", value=3, invoked=0, completed=1)])
    found = convergence(msgspec.structs.replace(recording(nodes=NODES, length=10, local=reads), history=queue))
    assert found.differing == ("key 0: all nodes hold the same 2, not in one order or not as often",)


@pytest.mark.parametrize(("copies", "told"), [
    (([1, 2, 3], [1, 2, 3], [1, 2]), "n1 misses 0 of 3, n2 misses 0 of 3, n3 misses 1 of 3"),
    (([1, 2], [2, 1], [1, 2]), "all nodes hold the same 2, not in one order or not as often"),
    ((5, 5, None), "n1 holds 5, n2 holds 5, n3 holds nothing"),
])
def test_copies_that_transactions_told_are_told_as_what_they_read(copies: tuple[Any, ...], told: str) -> None:
    found = compared(local(0, 11, *([["r", 0, value]] for value in copies)))
    assert found.state == "diverged" and found.differing == (f"key 0: {told}",)
    assert compared(local(0, 11, [1, 2], [2, 1], [1, 2, 2])).state == "diverged"


def test_a_number_is_not_the_text_of_it() -> None:
    assert compared(local(0, 11, 1, 1, "1")).state == "diverged"


def test_no_reads_or_no_proven_heal_is_unknown() -> None:
    assert compared().state == "unknown"
    assert compared(local(0, 11, 7, 7, 7), faults=[fault(healed=None)]).state == "unknown"


def beside(*rounds: list[LocalRead], after: int = 1) -> list[LocalRead]:
    """The same reads, made beside the load after the heal of a fault."""
    return [msgspec.structs.replace(read, fault=after) for found in rounds for read in found]


def test_time_counts_from_the_last_heal_as_seen_beside_the_load() -> None:
    looked = beside(local(0, 6.1, 1, 1, 2), local(0, 6.1, 5, 5, 5, key=1), local(1, 6.9, 3, 3, 3))
    found = compared(looked, local(0, 10.2, 9, 9, 9), local(0, 10.3, 8, 8, 8, key=1), faults=[fault(ended=6)])
    assert found.seconds == pytest.approx(0.9, abs=0.01)
    assert "equal on 3 nodes 0.9 s after the heal" in found.reason
    looked = [*beside(local(0, 3, 1, 1, 1), after=1), *beside(local(0, 7.4, 1, 1, 1), after=2)]
    of_another = compared(looked, local(0, 10.2, 9, 9, 9), faults=[fault(1, 1, 2), fault(2, 5, 7)])
    assert of_another.seconds == pytest.approx(0.4, abs=0.01)


def test_what_never_agreed_beside_the_load_agreed_after_it_at_the_latest() -> None:
    after = local(0, 10.2, 9, 9, 9), local(1000, 11.9, 9, 9, 9)
    found = compared(beside(local(0, 6.1, 1, 1, 2)), *after, faults=[fault(ended=6)])
    assert found.seconds == pytest.approx(4.2, abs=0.01), "and the reads that only see whether it stays so do not count"


def test_what_differs_in_the_end_has_diverged_whatever_was_seen_beside_the_load() -> None:
    found = compared(beside(local(0, 6.1, 1, 1, 1)), local(0, 10.2, 9, 9, 8), faults=[fault(ended=6)])
    assert (found.state, found.seconds) == ("diverged", None)


def test_a_time_that_nobody_looked_at_is_not_told() -> None:
    found = compared(local(0, 10.2, 9, 9, 9), faults=[fault(ended=6)])
    assert (found.state, found.seconds) == ("agreed", None)
    assert "0.2 s after the end of the load" in found.reason


def test_one_key_is_told_as_one() -> None:
    assert compared(local(0, 11, 7, 7, 7)).reason.startswith("the key was equal on 3 nodes ")
