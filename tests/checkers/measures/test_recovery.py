"""When every home was served again, steadily."""

from __future__ import annotations

import pytest

from splitbrain.checkers.measures.availability import scenarios
from splitbrain.checkers.measures.recovery import recovery, served_after, verdict
from tests.checkers.scenes import MS, NODES, Serve, both, during, fault, recording, served


def after(serve: Serve, length: float = 18.0) -> tuple[float | None, str]:
    one = fault()
    return recovery(recording(serve, [one], length=length), one)


def test_at_once_where_nobody_waits() -> None:
    seconds, reason = after(served)
    assert seconds == pytest.approx(0.02, abs=0.02)
    assert reason == ""


def test_the_slowest_home_counts() -> None:
    serve = both(during(13, 14, ("n1",), "refused"), during(13, 14.5, ("n2",), "refused", ("write",)))
    assert after(serve)[0] == pytest.approx(1.5, abs=0.05)


def test_being_served_once_between_outages_is_not_yet_steady() -> None:
    serve = both(during(13, 14, NODES, "refused"), during(14.2, 15.5, NODES, "refused"))
    assert after(serve)[0] == pytest.approx(2.5, abs=0.05)


def test_an_odd_refusal_later_does_not_undo_it() -> None:
    assert after(during(16, 16.02, ("n1",), "refused"))[0] == pytest.approx(0.02, abs=0.02)


def test_a_home_that_is_served_half_the_time_has_not_recovered() -> None:
    def flicker(home: str, kind: str, second: float) -> str:
        return "refused" if home == "n1" and second > 13 and int(second * 10) % 2 else "served"

    seconds, reason = after(flicker)  # type: ignore[arg-type]
    assert seconds is None
    assert "n1" in reason


def test_one_refusal_among_few_operations_does_not_undo_it() -> None:
    one = fault()
    made = recording(during(16, 16.2, ("n1",), "refused"), [one], every=200 * MS)
    assert recovery(made, one)[0] == pytest.approx(0.2, abs=0.2)


def test_serving_again_asks_less_than_recovery() -> None:
    one = fault()
    assert served_after(recording(served, [one]), one)
    assert served_after(recording(during(16, 17, ("n1",), "refused"), [one]), one)
    assert not served_after(recording(during(14, 99, ("n1",), "silent", ("write",)), [one], readers=True), one)
    assert not served_after(recording(served, [fault(healed=None)]), fault(healed=None))


def test_never() -> None:
    seconds, reason = after(during(5, 99, ("n3",), "silent", ("write",)))
    assert seconds is None
    assert reason == "writes at n3 were not served steadily again within 5.0 s"


def test_unknown_without_a_proven_heal_or_time_to_watch() -> None:
    unhealed = fault(healed=None)
    assert recovery(recording(served, [unhealed]), unhealed) == (None, "the heal was not proven")
    wrong = fault(heal_wrong=(("n1", "n2"),))
    assert recovery(recording(served, [wrong]), wrong) == (None, "the heal was not proven")
    seconds, reason = after(served, length=13.5)
    assert (seconds, reason) == (None, "less than a second was left after the heal")
    late = fault()
    assert recovery(recording(served, [late], length=12.5), late) == (None, "no load was left after the heal")
    other = fault(2, began=6, ended=9, healed=None)
    seconds, reason = recovery(recording(served, [late, other]), late)
    assert seconds is None and reason.startswith("the heal of another fault")


def test_it_is_watched_until_the_next_fault_only() -> None:
    faults = [fault(), fault(2, 18, 26)]
    made = recording(during(18, 40, NODES, "refused"), faults, length=32)
    assert recovery(made, faults[0])[0] == pytest.approx(0.02, abs=0.02)
    assert recovery(made, faults[1])[0] is None


def test_the_verdict_is_unknown_where_one_is_missing() -> None:
    rows = scenarios(recording(served, [fault()]))
    assert verdict(rows).validity == "unknown"
    assert verdict(()).validity == "valid"
