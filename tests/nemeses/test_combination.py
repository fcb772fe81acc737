"""What a combination aims at: each part at servers that the others leave it."""

from __future__ import annotations

import itertools
import random

import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Kill, Other, Pause, Skew, Spec
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import nemesis, schedule, shuffled
from splitbrain.nemeses.nemesis import NoTarget, Outlook

ENDING = ("kill", "terminate", "power-loss", "slow-start")
OTHERS = ("restart", "crash-loop", "pause", "clock-jump", "clock-drift")


def view(nodes: int, primary: str = "n1") -> Outlook:
    return Outlook(names=tuple(f"n{number}" for number in range(1, nodes + 1)), primary=primary, last_primary="n2")


def idle(specs: tuple[Spec, ...]) -> list[Spec]:
    """Those of a fault's effects that none of its servers would feel."""
    down = [spec for spec in specs if (isinstance(spec, Kill) and spec.down is None) or isinstance(spec, Other)]
    found: list[Spec] = []
    for at, spec in enumerate(specs):
        gone = {node for other in down if other is not spec for node in other.nodes}
        still = {node for other in specs if isinstance(other, Pause) and other is not spec for node in other.nodes}
        if isinstance(spec, Pause | Skew) and set(spec.nodes) <= gone | (still if isinstance(spec, Skew) else set()):
            found.append(spec)
        earlier = {node for other in specs[:at] if other in down for node in other.touched}
        slowly = isinstance(spec, Other) and spec.name == "slow-start"
        if (slowly or isinstance(spec, Kill)) and spec.touched <= earlier:
            found.append(spec)
    return found


@pytest.mark.parametrize("nodes", [3, 5])
@pytest.mark.parametrize(("one", "other"), list(itertools.product(ENDING, (*ENDING[:2], ENDING[3], *OTHERS))))
def test_what_one_part_ends_another_does_not_claim(one: str, other: str, nodes: int) -> None:
    """`kill+pause` at a primary that was killed would do nothing, and a probe could not tell."""
    both = nemesis(f"{one}+{other}")
    assert both.scenarios(nodes), "there is something that both can do"
    for scenario in both.scenarios(nodes):
        for seed in range(30):
            specs = both.aim(scenario, view(nodes), random.Random(seed))
            assert not idle(specs), (scenario, specs)
    alone = nemesis(one).scenarios(nodes)
    assert {scenario.split(" + ")[0] for scenario in both.scenarios(nodes)} >= set(alone) - {"all"}, "each has its turn"


def test_all_four_at_once_are_each_something() -> None:
    """The plan of which etcd is to show nothing."""
    four = nemesis("kill+pause+halves+clock-jump")
    assert four.scenarios(5)[0] == "primary + follower + halves + follower"
    for scenario in four.scenarios(5):
        for seed in range(50):
            assert not idle(four.aim(scenario, view(5), random.Random(seed)))


def test_links_and_members_are_nobodys_servers() -> None:
    assert nemesis("halves+kill").scenarios(5)[-1] == "halves + all"
    assert nemesis("membership+kill").scenarios(5)[-1] == "follower + all", "a member that is killed can be replaced"
    assert nemesis("kill+spike").scenarios(5)[-1] == "all + all"


@pytest.mark.parametrize("name", ["kill:all+pause:primary", "kill:n1+pause:n1", "pause:n2+clock-jump:n2", "kill:n1+kill:n1",
                                  "kill:n1+slow-start:n1"])
def test_what_can_do_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="leaves another no server to do anything to"):
        resolve({"database": "reference", "nemesis": name})
    assert schedule(resolve({"database": "reference", "nemesis": name, "pace": "staggered"})), "who comes later may stay longer"
    assert schedule(resolve({"database": "reference", "nemesis": name, "pace": "random", "time": 300.0}))
    with pytest.raises(NoTarget, match="the rest of the fault has it"):
        nemesis(name).aim(" + ".join(one.partition(":")[2] for one in name.split("+")), view(5), random.Random(0))


def test_at_random_none_comes_into_another_that_leaves_it_no_server() -> None:
    plan: Plan = resolve({"database": "etcd", "nemesis": "kill+pause", "pace": "random", "time": 4000.0, "seed": 3})
    steps = shuffled(plan)
    inside = [(one, other) for one, other in itertools.pairwise(steps) if other.at < one.at + one.duration]
    assert len(inside) > 50 and steps == schedule(plan)
    for one, other in inside:
        assert (one.nemesis, one.scenario) != ("kill", "all"), "nothing is left to anybody"
        assert (one.nemesis, one.scenario, other.nemesis) != ("pause", "all", "pause")
    kinds = {(one.nemesis, one.scenario, other.nemesis, other.scenario) for one, other in inside}
    assert ("kill", "primary", "pause", "primary") in kinds, "another is primary by then"
    assert any(one == "pause" and other == "kill" for one, _, other, _ in kinds), "one that stands still can be killed"


def test_a_pause_or_a_wrong_clock_is_aimed_at_servers_that_another_fault_has_left() -> None:
    out = Outlook(names=("n1", "n2", "n3"), primary="n1", out=("n1", "n2"))
    for name in ("pause", "clock-jump"):
        for seed in range(10):
            (spec,) = nemesis(name).aim("any", out, random.Random(seed))
            assert spec.touched == {"n3"}
    with pytest.raises(NoTarget, match=r"another fault has every server that was meant \(n1\)"):
        nemesis("clock-jump").aim("primary", out, random.Random(0))
    (spec,) = nemesis("pause").aim("primary", out, random.Random(0))
    assert spec.touched == {"n1"}, "it may be started before the pause is over, and stands still then"
    (spec,) = nemesis("kill").aim("primary", out, random.Random(0))
    assert spec.touched == {"n1"}, "one that stands still can be killed"
