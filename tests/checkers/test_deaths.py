"""A server that died on its own: the run proves less, and nothing of it is the fault's doing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from splitbrain.checkers.expectations import meets
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result
from splitbrain.harness.history.recording import LocalRead
from splitbrain.harness.history.variant import Claim
from tests.checkers.scenes import NODES, SECOND, Says, Serve, anomaly, both, death, during, fault, recording

CUT = during(5, 13, ("n1",), "silent")
LATER = during(21, 29, ("n1",), "silent")
CP = Claim(text="consistent", source="here", promises=("linearizable", "available", "converges"))


def judged(serve: Serve = CUT, says: Says | None = None, faults: Any = None, **more: Any) -> Result:
    return judge(recording(serve, faults if faults is not None else [fault()], **more), (says or Says(),))


def failed(result: Result) -> dict[str, str]:
    return {check.name: check.text for check in result.quality.failed}


def test_the_same_run_is_good_without_a_death() -> None:
    result = judged()
    assert (result.validity, result.classification) == ("valid", "CP")
    assert not failed(result) and result.blast.clients_blocked
    assert [check.text for check in result.quality.checks if check.name == "servers"] == ["no server died on its own"]


@pytest.mark.parametrize("at", [1.0, 4.0, 9.0, 12.9])
def test_a_death_before_the_heal_leaves_run_and_class_unknown(at: float) -> None:
    result = judged(deaths=(death(at),))
    assert result.validity == "unknown" and result.exit_code == 2
    assert failed(result) == {"servers": f"a server died on its own: n3: server was ended by SIGKILL at 0:{at:06.3f}"}
    assert result.heading == "UNKNOWN" and "SIGKILL" in result.reason
    assert result.scenarios[0].dead == ("n3",)
    assert result.classification == "unknown" and "the server on n3 had died on its own" in result.sentence
    assert set(result.sacrifices.values()) == {"unknown"}
    assert result.blast.clients_blocked == () and result.blast.without_primary is None and result.blast.recovery is None
    assert "n3" in result.scenarios[0].recovery_reason


@pytest.mark.parametrize("at", [13.5, 17.0, 19.5])
def test_a_death_after_the_heal_leaves_the_window_as_it_was(at: float) -> None:
    result = judged(deaths=(death(at),))
    assert result.validity == "unknown" and "servers" in failed(result)
    assert result.scenarios[0].dead == () and result.classification == "CP"
    assert (result.scenarios[0].recovery is None) == (at < 18)


def test_of_two_faults_only_those_after_the_death_are_unknown() -> None:
    faults = [fault(1, 5, 13), fault(2, 21, 29)]
    result = judged(both(CUT, LATER), faults=faults, length=34.0, deaths=(death(20),))
    assert [row.classification for row in result.scenarios] == ["CP", "unknown"]
    assert result.classification == "unknown" and "otherwise: CP" in result.sentence
    assert set(result.sacrifices.values()) == {"blocked on a side"}


def test_an_anomaly_stays_one_with_the_death_beside_it() -> None:
    says = Says("invalid", (anomaly("lost-write", 9.0, fault=1),))
    result = judged(says=says, deaths=(death(8.0),))
    assert result.validity == "invalid" and result.exit_code == 1
    assert result.anomalies[0].identifier == "lost-write" and "servers" in failed(result)
    assert result.classification == "unknown" and "1 acknowledged write lost" in result.sentence
    assert set(result.sacrifices.values()) == {"wrong"}


def test_nothing_is_held_against_a_claim_or_for_an_expectation() -> None:
    blocked = judged(claim=CP)
    assert blocked.claim is not None and blocked.claim.standing == "does not hold"
    assert meets("blocked:minority", blocked).met
    result = judged(claim=CP, deaths=(death(6.0),))
    assert result.claim is not None and result.claim.standing == "not tested"
    expected = meets("blocked:minority", result)
    assert not expected.met and "had died on its own" in expected.reason
    assert any("deadline" in line for line in blocked.recommendations)
    assert not any("deadline" in line for line in result.recommendations)


def test_replicas_that_differ_beside_a_dead_server_are_no_divergence() -> None:
    local = [LocalRead(node=node, key=1, value=node == "n2", time=19 * SECOND) for node in NODES]
    assert judged(local=local).convergence.state == "diverged"
    result = judged(local=local, deaths=(death(14.0),))
    assert result.convergence.state == "unknown" and "n3 had died" in result.convergence.reason
    assert result.validity == "unknown" and not result.counts


def test_many_deaths_are_told_in_a_line() -> None:
    result = judged(deaths=tuple(death(6.0 + number, node, 1) for number, node in enumerate(NODES)))
    assert failed(result)["servers"].endswith("n3: server ended with exit code 1 at 0:08.000; 2 more")
    assert result.scenarios[0].deaths == "servers on n1, n2, n3, n4, n5 had died on their own"


def test_where_nobody_looked_nothing_is_claimed() -> None:
    old = msgspec.structs.replace(recording(CUT, [fault()]), deaths=None)
    result = judge(old, (Says(),))
    assert result.validity == "valid"
    assert [(check.passed, check.text) for check in result.quality.checks if check.name == "servers"] == [
        (False, "whether a server died on its own was not looked for")
    ]


def test_how_it_ended() -> None:
    told = [str(msgspec.structs.replace(death(1.0), code=code, detail=detail)) for code, detail in (
        (3, ""), (-11, ""), (-200, ""), (None, "its container was removed"), (137, "out of memory: its limit was 96 MB"),
    )]
    assert told == [
        "server ended with exit code 3", "server was ended by SIGSEGV", "server was ended by signal 200",
        "server was lost sight of (its container was removed)",
        "server ended with exit code 137 (out of memory: its limit was 96 MB)",
    ]
