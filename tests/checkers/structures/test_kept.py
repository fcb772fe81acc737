"""What accounts hold in the end: transfers that are gone are found, counted and dated, and nothing else is called gone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.judge import judge
from splitbrain.checkers.structures import kept
from splitbrain.checkers.structures.bank import BankChecker
from splitbrain.checkers.structures.kept import MODEL
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, Phase, Recording
from tests.checkers.scenes import SECOND, fault

FINAL = 20 * SECOND
DEPOSIT = 2000


def transfer(at: float, source: int, target: int, amount: int, server: str = "n1", outcome: Outcome = "ok") -> Operation:
    return Operation(
        process=int(at * 1000), f="transfer", value=(source, target, amount), outcome=outcome, invoked=int(at * SECOND),
        completed=None if outcome == "info" else int((at + 0.001) * SECOND), node="n2", server=server,
    )


def end(balances: Sequence[int], at: float = 21) -> Operation:
    return Operation(process=int(at * 1000), f="read", value=list(balances), invoked=int(at * SECOND),
                     completed=int((at + 0.1) * SECOND), node="n1", server="n2")


def recorded(
    operations: Sequence[Operation], *, final: bool = True, local: Sequence[tuple[str, Sequence[int]]] = ()
) -> Recording:
    phases = (Phase("load", 0, 18 * SECOND), *([Phase("final-reads", FINAL, 30 * SECOND)] if final else []))
    copies = tuple(LocalRead(node=node, key=None, value=list(value), time=22 * SECOND) for node, value in local)
    return Recording(history=History.of(operations), nodes=("n1", "n2", "n3", "n4", "n5"), faults=(fault(),), phases=phases,
                     local_reads=copies)


def judged(operations: Sequence[Operation], accounts: int, **changes: Any) -> Verdict:
    return BankChecker(accounts * DEPOSIT, DEPOSIT).check(recorded(operations, **changes))


def states(verdict: Verdict) -> dict[str, str]:
    return {one.model: one.state for one in verdict.standings}


def moved(transfers: Sequence[Operation], accounts: int) -> tuple[int, ...]:
    """What accounts hold once these happened."""
    balances = [DEPOSIT] * accounts
    for one in transfers:
        source, target, amount = one.value
        balances[source] -= amount
        balances[target] += amount
    return tuple(balances)


def shop(seed: int, many: int = 400, accounts: int = 8) -> list[Operation]:
    """Transfers at two servers, one in a hundred of unknown outcome and some refused. Balances go where they like."""
    rng = random.Random(seed)
    outcomes: tuple[Outcome, ...] = (*["ok"] * 90, *["fail"] * 9, "info")  # type: ignore[arg-type]
    made = []
    for at in range(many):
        source, target = rng.sample(range(accounts), 2)
        made.append(transfer(1 + at / 40, source, target, rng.randint(1, 20), rng.choice(("n1", "n2")), rng.choice(outcomes)))
    return made


def known(transfers: Sequence[Operation], seed: int) -> list[Operation]:
    """Those that happened: the acknowledged ones, and half of those of unknown outcome."""
    rng = random.Random(seed)
    return [one for one in transfers if one.outcome == "ok" or (one.outcome == "info" and rng.random() < 0.5)]


@pytest.mark.parametrize("seed", range(8))
def test_what_one_server_acknowledged_and_gave_up_is_counted(seed: int) -> None:
    made = shop(seed)
    of_one = [one for one in made if one.outcome == "ok" and one.server == "n1"]
    gone = of_one[len(of_one) // 2 :][: 1 + 20 * seed] if seed else of_one[-60:]
    rest = [one for one in known(made, seed) if one not in gone]
    verdict = judged([*made, end(moved(rest, 8))], 8)
    assert verdict.counts == {"lost-transfer": len(gone)} or (len(gone) == 1 and verdict.counts == {"wrong-balance": 1})
    if "lost-transfer" in verdict.counts:
        began = sorted(one.began for one in verdict.moments["lost-transfer"])
        assert began == sorted(one.completed for one in gone if one.completed)
    assert states(verdict)[MODEL] == "refuted" and states(verdict)["totals conserved"] == "holds"


@pytest.mark.parametrize("seed", range(4))
def test_what_is_all_there_is_kept(seed: int) -> None:
    made = shop(seed)
    verdict = judged([*made, end(moved(known(made, seed), 8))], 8)
    assert (verdict.validity, states(verdict)[MODEL]) == ("valid", "holds")


def test_what_happened_twice_or_was_refused_is_not_called_gone() -> None:
    made = shop(5)
    done = [one for one in made if one.outcome == "ok" and one.server == "n2"]
    refused = next(one for one in made if one.outcome == "fail")
    for more in ([refused], done[10:40], done[-1:]):
        verdict = judged([*made, end(moved([*known(made, 5), *more], 8))], 8)
        assert verdict.counts == {"wrong-balance": 1}
        assert "some are gone, or happened twice, or one that was refused happened" in verdict.anomalies[0].sentence


def test_a_loss_is_told_with_its_fault_and_is_an_acknowledged_write() -> None:
    made = [transfer(4, 0, 1, 7), transfer(6, 1, 2, 5), transfer(7, 2, 0, 3), transfer(8, 0, 2, 1, "n2"),
            transfer(14, 0, 1, 9, "n2")]
    result = judge(recorded([*made, end(moved([made[0], made[3], made[4]], 3))]), (BankChecker(3 * DEPOSIT, DEPOSIT),))
    assert (result.counts, result.lost.total, result.lost.by_fault) == ({"lost-transfer": 2}, 2, {1: 2})
    assert result.heading == "TRANSFERS NOT KEPT"
    assert result.anomalies[0].sentence.startswith(
        "client 6000's transfer of 5 from 1 to 2, acknowledged by n1 at 0:06.001, is gone: in the end accounts hold 0: 1983, "
        "1: 2016, 2: 2001, which is what all acknowledged transfers leave but the 2 that n1 acknowledged from 0:06.001 to "
        "0:07.001."
    )


def test_what_may_be_on_its_way_still_or_was_not_read_in_the_end_is_not_judged() -> None:
    made = [transfer(4, 0, 1, 7), transfer(6, 1, 2, 5)]
    whole, half = moved(made, 3), moved(made[:1], 3)
    for verdict in (
        judged([*made, end(half), end(whole, 22)], 3),
        judged([*made, end(half)], 3, local=[("n1", half), ("n2", whole)]),
        judged([*made, end(half)], 3, final=False),
        judged([*made], 3),
        BankChecker(3 * DEPOSIT).check(recorded([*made, end(half)])),
    ):
        assert MODEL not in states(verdict) and not verdict.counts
    assert judged([*made, end(half)], 3, local=[("n1", half), ("n2", half)]).counts == {"lost-transfer": 1}


def test_a_wrong_total_is_told_once() -> None:
    assert judged([transfer(4, 0, 1, 7), end((2000, 2000, 1990))], 3).counts == {"wrong-total": 1}


def test_too_many_of_unknown_outcome_leave_it_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_STEPS", 10)
    made = [transfer(1 + at, 0, 1, 2, outcome="info") for at in range(12)]
    assert MODEL not in states(judged([*made, end((1993, 2007))], 2))


# The definition, word for word, of few transfers over few accounts.

def causes(operations: Sequence[Operation], final: Sequence[int]) -> Iterator[str]:
    """Everything that explains what accounts hold: `kept`; those that are gone, by their positions; `other`."""
    accounts = len(final)
    done = [one for one in operations if one.outcome == "ok"]
    unknown = [one for one in operations if one.outcome == "info"]
    runs = {
        tuple(part[begin:stop])
        for part in (done, *([one for one in done if one.server == server] for server in ("n1", "n2")))
        for begin in range(len(part)) for stop in range(begin + 1, len(part) + 1)
    }
    for many in range(len(unknown) + 1):
        for some in combinations(unknown, many):
            if moved([*done, *some], accounts) == tuple(final):
                yield "kept"
            for run in runs:
                if moved([*(one for one in done if one not in run), *some], accounts) == tuple(final):
                    yield repr([one.process for one in run])
                if moved([*done, *some, *run], accounts) == tuple(final):
                    yield "other"
            if any(moved([*done, *some, one], accounts) == tuple(final) for one in operations if one.outcome == "fail"):
                yield "other"


AMOUNTS = st.tuples(st.sampled_from([(0, 1), (1, 0), (1, 2), (2, 0)]), st.integers(1, 3), st.sampled_from(["n1", "n2"]),
                    st.sampled_from(["ok", "ok", "ok", "info", "fail"]))


@given(st.lists(AMOUNTS, max_size=7), st.data())
def test_as_by_the_definition(drawn: list[tuple[tuple[int, int], int, str, Outcome]], data: st.DataObject) -> None:
    made = [transfer(1 + at, source, target, amount, server, outcome)
            for at, ((source, target), amount, server, outcome) in enumerate(drawn)]
    happened = data.draw(st.lists(st.sampled_from(made), max_size=8)) if made else []
    final = moved(happened, 3)
    found = set(causes(made, final))
    verdict = judged([*made, end(final)], 3)
    if "kept" in found:
        assert states(verdict)[MODEL] == "holds"
    elif len(found) == 1 and "other" not in found:
        accused = sorted(one.began for one in verdict.moments["lost-transfer"])
        assert repr([round(began / SECOND - 0.001) * 1000 for began in accused]) in found
    else:
        assert verdict.counts.get("wrong-balance") == 1 and "lost-transfer" not in verdict.counts


def test_a_run_that_is_lost_twice_is_no_single_loss() -> None:
    """Two servers gave way one after the other: that something is wrong is told, and not what."""
    made = shop(6)
    gone = [*[one for one in made if one.server == "n1" and one.outcome == "ok"][20:50],
            *[one for one in made if one.server == "n2" and one.outcome == "ok"][90:120]]
    verdict = judged([*made, end(moved([one for one in known(made, 6) if one not in gone], 8))], 8)
    assert verdict.counts == {"wrong-balance": 1}
    assert msgspec.structs.asdict(verdict.moments["wrong-balance"][0])["lost"] is False
