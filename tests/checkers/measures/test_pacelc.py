"""PACELC: the fit against latencies that are made of a known number of round trips, and against what only looks like some."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splitbrain
from splitbrain.checkers.assessment import label
from splitbrain.checkers.measures.pacelc import Answers, Fit, Trip, fit, pacelc, quartiles, ranks
from splitbrain.checkers.result import Pacelc
from splitbrain.harness.history.fault import Fault, Figure, Impair, Proof
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording, View
from splitbrain.harness.history.variant import Claim, Label, Variant
from tests.checkers.scenes import MS, SECOND

TRIPS = (Trip(100, 105), Trip(200, 210))
NODES = ("n1", "n2", "n3")
ALL = tuple((a, b) for a in NODES for b in NODES if a != b)


def answers(at: Callable[[random.Random], float], made: int = 0, count: int = 200) -> Answers:
    rng = random.Random(1)
    return Answers([at(rng) for _ in range(count)], made or count)


def of(growth: Callable[[float, random.Random], float], usual: float = 5.0) -> Fit:
    """The fit of answers that take `usual` ms, a noise of a few, and what `growth` makes of the round trip."""
    def part(trip: float) -> Answers:
        return answers(lambda rng: usual + rng.expovariate(1 / 2) + growth(trip, rng))

    return fit(part(0), [part(trip.intended) for trip in TRIPS], part(0), TRIPS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 4.0]), st.floats(0.2, 60), st.integers(0, 1000))
def test_as_many_round_trips_as_it_was_made_of(k: float, usual: float, seed: int) -> None:
    noise = random.Random(seed)
    found = of(lambda trip, rng: k * trip * noise.uniform(0.97, 1.06), usual)
    assert found.half == ("EC" if k else "EL"), found
    assert found.trips == pytest.approx(k, abs=0.1 + 0.1 * k)
    assert found.trips is not None and found.low is not None and found.high is not None
    assert found.low - 0.05 <= found.trips <= found.high + 0.05


@pytest.mark.parametrize(("growth", "why"), [
    (lambda trip, rng: 100.0 if trip else 0.0, "no line"),  # a time-out, or Nagle's algorithm
    (lambda trip, rng: trip * trip / 100, "no line"),  # a queue
    (lambda trip, rng: 200.0 if trip > 150 else 0.0, "no line"),
    (lambda trip, rng: trip if rng.random() < 0.35 else 0.0, "unclear: "),  # the median sees nothing of it
    (lambda trip, rng: trip if rng.random() < 0.65 else 0.0, "unclear: "),  # nor of this
    (lambda trip, rng: 0.4 * trip, "unclear: "),
    (lambda trip, rng: -0.02 * trip, ""),  # faster by less than noise
])
def test_what_waits_for_something_else(growth: Callable[[float, random.Random], float], why: str) -> None:
    found = of(growth)
    assert (found.half, why in found.reason) == ("unknown" if why else "EL", True), found


def test_too_little_to_tell() -> None:
    def at(trip: float, **changes: Any) -> Answers:
        return answers(lambda rng: 5.0 + trip, **changes)

    good = (at(0), [at(100), at(200)], at(0))
    assert fit(*good, TRIPS).half == "EC"
    few = fit(at(0), [at(100), at(200, count=29)], at(0), TRIPS)
    assert few.half == "unknown"
    assert few.reason == "too few answers: 29 under the second delay, 30 are needed: more load, or a longer --fault"
    at_first = fit(at(0, count=3), [at(100), at(200, count=29)], at(0), TRIPS)
    assert "too few answers: 3 before the delays, " in at_first.reason and at_first.reason.endswith("--baseline")
    hidden = fit(at(0), [at(100), at(0, made=300)], at(0), TRIPS)
    assert hidden.half == "unknown" and hidden.reason.endswith("not answered under the second delay")
    slower = fit(at(0), [at(100), at(200)], at(200), TRIPS)
    held_back = fit(at(0), [at(140), at(240)], at(40), TRIPS)
    assert held_back.half == "EC" and held_back.trips == pytest.approx(1, abs=0.01), held_back
    busy = fit(at(0), [at(5), at(5)], at(90), TRIPS)
    assert busy.half == "EL", "answers of 10 ms have waited for no 100 ms, however slow they were afterwards"
    assert fit(at(0), [at(40), at(40)], at(40), TRIPS).half == "unknown", "0.4 round trips, or none"
    assert slower.half == "unknown" and "5.0 ms before the delays and 205.0 ms after" in slower.reason


@settings(max_examples=200, deadline=None)
@given(st.integers(30, 400), st.sampled_from([0.25, 0.5, 0.75]))
def test_a_quartile_lies_between_its_ranks_as_often_as_it_is_said_to(count: int, share: float) -> None:
    """Of `count` values so many lie below the quantile as a coin of that share shows heads; all ways are added up."""
    low, high = ranks(count, share)
    ways = [comb(count, heads) * share**heads * (1 - share) ** (count - heads) for heads in range(count + 1)]

    def held(first: int, last: int) -> float:
        """More than `first` lie below, and at most `last` do."""
        return sum(ways[first + 1:last + 1])

    assert held(low, high) >= 0.95
    # None that begins later or ends earlier leaves 2.5% on either side.
    assert sum(ways[:low + 2]) > 0.025 or sum(ways[high:]) > 0.025


def test_a_median_may_be_what_it_was_in_any_stretch() -> None:
    found = quartiles([5.0] * 150 + [42.0] * 30)
    assert (found.at[1], found.low[1], found.high[1]) == (5.0, 5.0, 42.0)
    assert quartiles([5.0, 42.0] * 90).high[1] == 42.0 and quartiles([5.0] * 180).high[1] == 5.0


@pytest.mark.parametrize("k", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("dwell", [0.2, 1.0, 4.0])
@pytest.mark.parametrize(("ms", "seed"), [(ms, seed) for ms in (50, 100) for seed in range(5)])
def test_no_label_is_wrong_and_no_number_too_sure_of_answers_that_drift(k: float, dwell: float, ms: int, seed: int) -> None:
    """The cluster answers within 5 ms, and for a while within 42 ms, as it likes; each part lasts 5 s."""
    rng = random.Random(seed)
    trips = (Trip(2 * ms, 2 * ms), Trip(4 * ms, 4 * ms))

    def part(trip: float) -> Answers:
        took, slow, left = [], rng.random() < 0.5, rng.expovariate(1 / dwell)
        for _ in range(150):
            left -= 5 / 150
            if left < 0:
                slow, left = not slow, rng.expovariate(1 / dwell)
            took.append(5 + 37 * slow + rng.expovariate(1) + k * trip)
        return Answers(took, len(took))

    found = fit(part(0), [part(trip.intended) for trip in trips], part(0), trips)
    assert found.half in ("EC" if k else "EL", "unknown"), found
    if found.half != "unknown":
        assert found.low is not None and found.high is not None and found.low - 0.01 <= k <= found.high + 0.01


def test_what_lies_on_both_sides_within_its_interval_is_unclear_with_its_figures() -> None:
    """Of thirty answers each nobody knows the median to 0.1 round trips where half of them take twice as long as the rest."""
    def part(trip: float, count: int) -> Answers:
        rng = random.Random(3)
        return Answers([5 + (0.58 + 0.15 * rng.random()) * trip + 60 * rng.random() for _ in range(count)], count)

    found = fit(part(0, 30), [part(100, 30), part(200, 30)], part(0, 30), TRIPS)
    assert found.half == "unknown" and "unclear: 0." in found.reason and " to " in found.reason, found


def delay(number: int, began: float, ms: float, seen: float | None = None, **changes: Any) -> Fault:
    at, end = int(began * SECOND), int((began + 4) * SECOND)
    middle = ms if seen is None else seen
    proof = Proof(holds=True, acted=at, at=at + MS, figures=(Figure("one way", "ms", ms, middle, middle, middle),))
    fields: dict[str, Any] = dict(
        id=number, nemesis="pacelc", scenario="once", started=at, specs=(Impair(ALL, delay=ms),), in_force=at, heal_began=end,
        healed=end + MS, proofs=(proof,), undone=(Proof(holds=True, acted=end, at=end + MS),), sides=(NODES,), primary="n1",
    )
    return Fault(**fields | changes)


def made(
    trips: Callable[[str, str], float], faults: tuple[Fault, ...] = (delay(1, 4, 50), delay(2, 12, 100)),
    views: tuple[View, ...] = (), route: Any = "primary",
) -> Recording:
    """20 s in which every home calls fifty times a second, and waits for so many round trips, by home and kind."""
    operations = []
    for process, home in enumerate(NODES):
        for turn in range(1000):
            at, kind = turn * 20 * MS, ("read", "write")[turn % 2]
            late = next((fault.specs[0].delay for fault in faults if fault.started <= at < (fault.heal_began or 0)
                         and isinstance(fault.specs[0], Impair)), 0.0)
            took = 3 + 2 * late * trips(home, kind)
            operations.append(Operation(process=process, f=kind, key=1, value=turn, invoked=at, completed=at + int(took * MS),
                                        node=home, outcome="ok"))
    variant = Variant(name="v", summary="", reads=route, writes=route, claim=Claim(text="", source=""))
    return Recording(history=History.of(operations), nodes=NODES, faults=faults, views=views, variant=variant)


def told(recording: Recording) -> Pacelc:
    found = pacelc(recording)
    assert found is not None
    return found


def test_the_primary_is_told_apart_and_the_label_flips_with_what_waits() -> None:
    fast = told(made(lambda home, kind: float(home != "n1")))
    assert fast.half == "EL" and fast.halves == {"read": "EL", "write": "EL"}
    assert fast.sentence == ("EL at the primary: writes wait for no round trip, reads wait for no round trip; from the other "
                             "homes, the way to the primary included, writes wait for 1.0 round trips (1.0 to 1.0), reads "
                             "wait for 1.0 round trips (1.0 to 1.0)")
    assert told(made(lambda home, kind: 1.0)).half == "EC"
    mixed = told(made(lambda home, kind: float(kind == "write")))
    assert mixed.half == "mixed" and mixed.sentence.startswith("writes EC, reads EL at the primary: writes wait for 1.0 round")
    faults = (delay(1, 4, 50, primary=None), delay(2, 12, 100, primary=None))
    alike = told(made(lambda home, kind: 2.0, faults, route="home"))
    assert alike.half == "EC" and [row.homes for row in alike.waits] == [NODES, NODES]


@pytest.mark.parametrize(("faults", "why"), [
    ((delay(1, 4, 50), delay(2, 12, 100, seen=170)), "not delayed as intended"),
    ((delay(1, 4, 50, seen=30), delay(2, 12, 100)), "not delayed as intended"),
    ((delay(1, 4, 50), delay(2, 12, 100, proofs=())), "was not proven"),
    ((delay(1, 4, 50, healed=None), delay(2, 12, 100)), "was not proven"),
    ((delay(1, 4, 50), delay(2, 12, 100, primary="n2")), "the primary changed"),
    ((delay(1, 4, 50, primary=None), delay(2, 12, 100, primary=None)), "nobody named the primary"),
    ((delay(1, 4, 50), delay(2, 12, 100), delay(3, 9, 100)), "another fault came between"),
])
def test_nothing_is_told_of_delays_that_were_not_as_meant(faults: tuple[Fault, ...], why: str) -> None:
    found = told(made(lambda home, kind: 1.0, faults))
    assert found.half == "unknown" and why in found.sentence, found
    assert {row.half for row in found.waits} == {"unknown"}


def test_in_an_open_loop_the_wait_for_a_free_worker_is_no_round_trip() -> None:
    recording = made(lambda home, kind: 1.0)
    recording.history.scheduled = recording.history.invoked // 2
    assert told(recording).half == "EC" and told(recording).waits[0].trips == pytest.approx(1)


def test_a_primary_that_changed_is_seen_in_what_nodes_named() -> None:
    def named(primary: str) -> Pacelc:
        return told(made(lambda home, kind: 1.0, views=(View(node="n2", primary=primary, time=9 * SECOND),)))

    assert "the primary changed" in named("n3").sentence and named("n1").half == "EC"


def test_without_two_delays_of_all_links_there_is_no_answer() -> None:
    twice = (delay(1, 4, 50), delay(2, 12, 50))
    some = (delay(1, 4, 50), delay(2, 12, 100, specs=(Impair(ALL[:2], delay=100),)))
    shaky = (delay(1, 4, 50), delay(2, 12, 100, specs=(Impair(ALL, delay=100, jitter=10),)))
    for faults in ((), twice, some, shaky):
        assert pacelc(made(lambda home, kind: 1.0, faults)) is None


@pytest.mark.parametrize(("text", "trips", "seen", "standing"), [
    ("PA/EL", 0.0, "unknown", "holds"), ("PA/EL", 1.0, "unknown", "does not hold"), ("PA/EC", 1.0, "CP", "does not hold"),
    ("PC/EC", 1.0, "CP", "holds"), ("PC/EC", 0.0, "CP", "does not hold"), ("CP", 1.0, "unknown", "not tested"),
])
def test_labels_are_held_against_it(text: str, trips: float, seen: Any, standing: str) -> None:
    found = label(Label(text, "a book"), seen, "held", told(made(lambda home, kind: trips)))
    assert found.standing == standing, found


@pytest.mark.parametrize(("text", "classes", "seen", "standing", "said"), [
    ("PA/EC", {"read": "AP", "write": "AP"}, "AP", "holds in part", "it says EC of both kinds, and that is so of writes alone"),
    ("PC/EC", {"read": "AP", "write": "AP"}, "AP", "does not hold", "so of writes alone"),
    ("PA/EL", {"read": "AP", "write": "AP"}, "AP", "holds in part", "so of reads alone"),
    ("CP", {"read": "AP", "write": "CP"}, "hybrid", "holds in part", "what was seen is two: writes CP, reads AP"),
    ("CP", {"read": "hybrid", "write": "hybrid"}, "hybrid", "does not hold", "a hybrid"),
    ("CP", {"read": "AP", "write": "neither"}, "hybrid", "does not hold", "a hybrid"),
])
def test_a_label_that_says_one_thing_of_two_holds_in_part(
    text: str, classes: Any, seen: Any, standing: str, said: str
) -> None:
    """Writes wait for a round trip and reads for none."""
    mixed = told(made(lambda home, kind: 1.0 if kind == "write" else 0.0))
    assert mixed.half == "mixed"
    found = label(Label(text, "a book"), seen, "refuted", mixed, classes)
    assert found.standing == standing and said in found.reason, found


@pytest.mark.servers
@pytest.mark.parametrize(("variant", "half"), [("majority", "EC"), ("lww", "EL")])
def test_the_reference_tells_it_of_itself(tmp_path: Path, variant: str, half: str) -> None:
    outcome = splitbrain.run(
        "reference", runs=tmp_path, variant=variant, nemesis="pacelc", nodes=3, rate=200, baseline=3, fault=5, between=3,
        timeout=3, settle=5,
    )
    assert outcome.result is not None and outcome.result.pacelc is not None, outcome.told
    found = outcome.result.pacelc
    busy = ("not delayed as intended", "overlapped", "not proven", "unclear: ", "the median without a delay was", "is no line",
            "of the calls were not answered")
    if found.half == "unknown" and any(why in found.sentence for why in busy):
        pytest.skip(f"this machine is too busy to delay packets as it is told: {found.sentence}")
    assert found.half == half, outcome.told
    assert f"PACELC     {half}: writes wait for" in outcome.told
    assert 'id="pacelc"' in (outcome.folder / "report.html").read_text()
