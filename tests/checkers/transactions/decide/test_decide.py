"""Every level against its definition, the published verdicts, and what proofs and limits look like."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import product

import msgspec
import pytest
from pysat.solvers import Glucose4

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.transactions.decide import LEVELS, Decision, decide, facts, kernels, strong
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome
from tests.checkers.transactions.decide import definitions
from tests.conftest import HISTORIES

IMPLIED = (
    ("strict-serializable", "strong-session-serializable"), ("strong-session-serializable", "serializable"),
    ("strong-snapshot-isolation", "strong-session-snapshot-isolation"),
    ("strong-session-snapshot-isolation", "snapshot-isolation"),
    ("strict-serializable", "strong-snapshot-isolation"),
    ("strong-session-serializable", "strong-session-snapshot-isolation"), ("serializable", "snapshot-isolation"),
    ("snapshot-isolation", "parallel-snapshot-isolation"),
    ("strong-session-snapshot-isolation", "strong-session-parallel-snapshot-isolation"),
    ("strong-session-parallel-snapshot-isolation", "parallel-snapshot-isolation"),
    ("parallel-snapshot-isolation", "read-atomic"), ("read-atomic", "read-committed"),
    ("strong-session-snapshot-isolation", "prefix"), ("prefix", "causal"),
    ("strong-session-parallel-snapshot-isolation", "causal"), ("causal", "read-atomic-session"),
    ("read-atomic-session", "read-committed-session"), ("read-committed-session", "read-committed"),
    ("read-atomic-session", "read-atomic"), ("read-committed", "read-uncommitted"),
)


def random_history(rng: random.Random, most: int) -> list[Operation]:
    """A few transactions over a few keys; what they read is drawn, mostly from what was written."""
    keys = rng.randint(1, 3)
    written: dict[int, list[int]] = {key: [] for key in range(keys)}
    operations = []
    clock = 0
    busy: dict[int, int] = {}
    for _ in range(rng.randint(2, most)):
        process = rng.randint(0, 2)
        clock = max(clock + rng.randint(1, 3), busy.get(process, 0) + 1)
        micros: list[tuple[object, ...]] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                written[key].append(len(written[key]) + 1)
                micros.append(("w", key, written[key][-1]))
            else:
                micros.append(("r", key, rng.choice([None, *written[key], *written[key], len(written[key]) + 1])))
        drawn = rng.random()
        outcome: Outcome = "ok" if drawn < 0.85 else "fail" if drawn < 0.9 else "info"
        end = clock + rng.randint(1, 8)
        busy[process] = end
        operations.append(Operation(
            process=process, f="txn", value=tuple(micros), invoked=clock, outcome=outcome,
            completed=None if outcome == "info" else end,
        ))
    return operations


def decided(operations: Sequence[Operation], level: str) -> Decision:
    history = History.of(operations)
    assert history.micros is not None
    return decide(facts(history), level, history.micros.keys, FOREVER)


def agree(seed: int, most: int) -> None:
    operations = random_history(random.Random(seed), most)
    for level in definitions.LEVELS:
        expected = "holds" if definitions.holds(operations, level) else "refuted"
        found = decided(operations, level)
        assert found.state == expected, (seed, level, found)
        if found.cycle:
            follows(found)


def follows(decision: Decision) -> None:
    """Every edge of a proof begins where the one before it ends."""
    edges = decision.cycle
    assert all(a.target == b.source for a, b in zip(edges, [*edges[1:], edges[0]], strict=True)), decision


@pytest.mark.servers  # as long as one
@pytest.mark.parametrize("seed", range(250))
def test_each_level_against_its_definition(seed: int) -> None:
    agree(seed, 5)


@pytest.mark.servers  # as long as one
def test_machine_code_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(kernels, "COMPILED_FROM", 0)
    for seed in range(100):
        agree(seed, 4)


@pytest.mark.parametrize("seed", range(200))
def test_no_level_holds_where_a_weaker_one_does_not(seed: int) -> None:
    operations = random_history(random.Random(seed), 12)
    states = {level: decided(operations, level).state for level in LEVELS}
    assert not [pair for pair in IMPLIED if states[pair[0]] == "holds" and states[pair[1]] == "refuted"]


def small() -> Iterator[tuple[int, list[Operation], list[str], list[str]]]:
    file = HISTORIES / "transactions" / "generated" / "small-registers.jsonl"
    for line in file.read_text().splitlines():
        told = json.loads(line)
        operations = [
            Operation(
                process=one["session"], f="txn", value=tuple(map(tuple, one["ops"])), invoked=one["invoked"],
                completed=one["completed"], outcome=one["status"],
            )
            for one in told["transactions"]
        ]
        yield told["id"], operations, told["holds"], told["fails"]


@pytest.mark.servers  # as long as one
@pytest.mark.skipif(not HISTORIES.exists(), reason="the recorded histories are not here")
def test_histories_that_were_decided_by_brute_force() -> None:
    for number, operations, held, failed in small():
        for level in held:
            assert decided(operations, level).state == "holds", (number, level)
        for level in failed:
            assert decided(operations, level).state == "refuted", (number, level)


def test_write_skew_is_serializable_in_no_order() -> None:
    skew = [
        Operation(process=0, f="txn", value=(("r", "x", None), ("w", "y", 1)), invoked=0, completed=10),
        Operation(process=1, f="txn", value=(("r", "y", None), ("w", "x", 1)), invoked=1, completed=11),
    ]
    assert decided(skew, "strong-snapshot-isolation").state == "holds"
    refuted = decided(skew, "serializable")
    assert refuted.state == "refuted" and {edge.relation for edge in refuted.cycle} == {"rw"}
    follows(refuted)


def test_the_initial_state_comes_first() -> None:
    """Who saw the writer of x and y, and then finds x as it was at first."""
    history = [
        Operation(process=0, f="txn", value=(("w", "x", 1), ("w", "y", 1)), invoked=0, completed=10),
        Operation(process=1, f="txn", value=(("r", "y", 1), ("r", "x", None)), invoked=20, completed=30),
    ]
    refuted = decided(history, "read-atomic")
    assert refuted.state == "refuted" and refuted.cycle[0].source == -1
    assert decided(history, "read-committed").state == "holds"


def test_a_value_written_twice_is_left_open() -> None:
    twice = [
        Operation(process=0, f="txn", value=(("w", "x", 1),), invoked=0, completed=10),
        Operation(process=1, f="txn", value=(("w", "x", 1),), invoked=0, completed=10),
        Operation(process=2, f="txn", value=(("r", "x", 1),), invoked=20, completed=30),
    ]
    assert decided(twice, "causal").state == "undecided"


def test_a_limit_is_named() -> None:
    history = History.of(random_history(random.Random(1), 12))
    assert history.micros is not None
    late = Budget.of(-1)
    found = decide(facts(history), "read-committed", history.micros.keys, late)
    assert found.state != "undecided"  # What takes no time has no need of it.
    hopeless = [
        Operation(process=at, f="txn", value=(("w", "x", at),), invoked=0, completed=10) for at in range(20)
    ]
    open_history = History.of(hopeless)
    assert open_history.micros is not None
    found = decide(facts(open_history), "serializable", open_history.micros.keys, late)
    assert found.state == "undecided" and found.limit == late.limit


def test_what_a_search_learned_is_kept_when_it_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight pigeons do not fit into seven holes, however often it is asked how much time is left."""
    looks: list[Budget] = []
    monkeypatch.setattr(Budget, "check", lambda budget: looks.append(budget))
    monkeypatch.setattr(strong, "_CONFLICTS", 1)
    with Glucose4() as solver:
        for pigeon in range(8):
            solver.add_clause([7 * pigeon + hole for hole in range(1, 8)])
            for other, hole in product(range(pigeon), range(1, 8)):
                solver.add_clause([-(7 * pigeon + hole), -(7 * other + hole)])
        assert not strong._solved(solver, FOREVER)
    assert len(looks) > 3


def test_a_node_that_waits_for_its_own_session_does_not_stop_the_others() -> None:
    story = History.of([
        Operation(process=2, f="txn", value=(("w", "x", 1),), invoked=0, completed=1),
        Operation(process=2, f="txn", value=(("w", "x", 2),), invoked=2, completed=3),
        Operation(process=0, f="txn", value=(("w", "y", 1),), invoked=4, completed=5),
        Operation(process=1, f="txn", value=(("r", "x", 2),), invoked=6, completed=7),
        Operation(process=1, f="txn", value=(("r", "x", 1),), invoked=8, completed=9),
    ])
    assert story.micros is not None
    found = decide(facts(story), "causal", story.micros.keys, FOREVER)
    assert found.state == "refuted" and found.cycle


def crowded(count: int, behind: int) -> list[Operation]:
    """What 20 clients of a store record that keeps no times: each transaction reads a snapshot that is up to so many commits
    old, never older than its client's last, and aborts where somebody has written what it writes since."""
    rng = random.Random(behind)
    versions: dict[int, list[tuple[int, int]]] = {key: [] for key in range(40)}
    last = dict.fromkeys(range(20), 0)
    done: list[Operation] = []
    while len(done) < count:
        client = rng.randrange(20)
        snapshot = max(last[client], len(done) - rng.randint(0, behind))
        micros = []
        keys = rng.sample(range(40), 6)
        for key in keys[:3]:
            seen = [value for commit, value in versions[key] if commit <= snapshot]
            micros.append(("r", key, seen[-1] if seen else None))
        if any(versions[key] and versions[key][-1][0] > snapshot for key in keys[3:]):
            continue
        last[client] = len(done) + 1
        for key in keys[3:]:
            versions[key].append((last[client], len(versions[key]) + 1))
            micros.append(("w", key, len(versions[key])))
        done.append(Operation(process=client, f="txn", value=tuple(micros), invoked=len(done), completed=None))
    # In the order of the clients: nothing tells in which one they took effect.
    return [
        msgspec.structs.replace(one, invoked=at) for at, one in enumerate(sorted(done, key=lambda one: one.process))
    ]


@pytest.mark.parametrize(("behind", "level", "above"), [
    (0, "strong-session-serializable", ""), (15, "strong-session-snapshot-isolation", "serializable"),
])
def test_crowded_keys_without_times_are_decided(behind: int, level: str, above: str) -> None:
    operations = crowded(600, behind)
    for kin in (level, level.removeprefix("strong-session-"), "prefix", "parallel-snapshot-isolation"):
        assert decided(operations, kin).state == "holds", kin
    if above:
        refuted = decided(operations, above)
        assert refuted.state == "refuted"
        follows(refuted)
    # Two that update what both had read of a key: no level of these allows it.
    lost = [
        Operation(process=30 + at, f="txn", value=(("r", 99, None), ("w", 99, at)), invoked=0, completed=None) for at in (1, 2)
    ]
    assert decided([*operations, *lost], level.removeprefix("strong-session-")).state == "refuted"
    assert decided([*operations, *lost], "prefix").state == "holds"
