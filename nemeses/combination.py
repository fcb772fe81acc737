"""Combination: several nemeses at once, as one fault with the specs of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from splitbrain.harness.databases.database import Database, Detection, Program
from splitbrain.harness.history.fault import Impair, Kill, Nodes, Other, Pause, Skew, Spec
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.injectors.injector import Injector
from splitbrain.nemeses.injectors.links import TogetherInjector
from splitbrain.nemeses.nemesis import DRAWS, Nemesis, NoTarget, Outlook

AND = " + "
WIPE: Ability = "wipe"
"""What a testbed must be able to do where a node leaves the members."""
ON_SERVERS: frozenset[Ability] = frozenset({"end", "pause", "skew"})
"""What a testbed must be able to do for a nemesis that can get in another's way: both would have the same servers."""


class Part(NamedTuple):
    """One nemesis of a combination, the scenario that it is held to (empty: its own, in turn), and the name by which it is
    looked up (of a person's own file, its path)."""

    nemesis: Nemesis
    scenario: str = ""
    called: str = ""

    def scenarios(self, nodes: int) -> Sequence[str]:
        """The scenarios that it comes with."""
        return (self.scenario,) if self.scenario else self.nemesis.scenarios(nodes)

    def beside(self, nodes: int) -> Sequence[str]:
        """Those of them that it comes with while the others act."""
        return (self.scenario,) if self.scenario else self.nemesis.beside(nodes)


class Combination(Nemesis):
    """Every part at the same time. Its scenarios are one of each part, every part's in turn (`halves + primary`)."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.name = "+".join(part.nemesis.name + (f":{part.scenario}" if part.scenario else "") for part in parts)  # type: ignore[misc]
        self.summary = AND.join(part.nemesis.summary for part in parts)  # type: ignore[misc]
        self.needs = frozenset().union(*(part.nemesis.needs for part in parts))  # type: ignore[misc]
        self._impairing: list[tuple[TogetherInjector, Impair]] = []

    def scenarios(self, nodes: int) -> Sequence[str]:
        """As many as the part with the most has. Where one leaves another no server (a primary that is killed and is to stand
        still), the other takes the next of its own instead; what leaves none to any of them is left out."""
        each = [(part, scenarios) for part in self.parts if (scenarios := part.beside(nodes))]
        found = []
        for at in range(max((len(scenarios) for _, scenarios in each), default=0)):
            chosen: list[tuple[Part, str]] = []
            for part, scenarios in each:
                turns = (scenarios[(at + turn) % len(scenarios)] for turn in range(len(scenarios)))
                fitting = next((one for one in turns if fit([*chosen, (part, one)], nodes)), None)
                if fitting is None:
                    break
                chosen.append((part, fitting))
            else:
                found.append(AND.join(scenario for _, scenario in chosen))
        return tuple(dict.fromkeys(found))

    def lengths(self, scenario: str, fault: float, detection: Detection | None) -> Sequence[tuple[float, float]]:
        """Those of a part that is alone; several are in force together for as long as the plan says."""
        return self.parts[0].nemesis.lengths(scenario, fault, detection) if len(self.parts) == 1 else ()

    def apart(self, scenario: str, nodes: int) -> Sequence[tuple[Nemesis, str]]:
        """Each part that acts, with its own of a scenario of all, in their order."""
        acting = [part.nemesis for part in self.parts if part.scenarios(nodes)]
        return tuple(zip(acting, scenario.split(AND), strict=True))

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """The specs of every part, in their order; drawn anew where one would befall none but servers that another has ended:
        it would do nothing. Raises `NoTarget` where one of them finds none."""
        parts = self.apart(scenario, len(view.names))
        idle: Spec | None = None
        for _ in range(10 * DRAWS):  # `fit` has found some within a tenth of that.
            each = [(part, part.aim(one, view, rng)) for part, one in parts]
            if (idle := without_servers(each, view.names)) is None:
                return tuple(spec for _, specs in each for spec in specs)
        doing = idle.doing(view.names) if idle is not None else scenario
        raise NoTarget(f"no server is left to {doing}: the rest of the fault has it")

    def injector(self, spec: Spec) -> Injector[Any]:
        """That of the part which brings the spec: one from elsewhere has its nemesis' name. Links are impaired all at once."""
        if isinstance(spec, Other):
            return next(part.nemesis for part in self.parts if part.nemesis.name == spec.name).injector(spec)
        return TogetherInjector(spec, self._impairing) if isinstance(spec, Impair) else super().injector(spec)

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """That of the first part that has one."""
        return next(filter(None, (part.nemesis.refusal(database, variant) for part in self.parts)), "")

    def unfit(self, database: type[Database], testbed: str) -> str:
        """That of the first part that has one."""
        return next(filter(None, (part.nemesis.unfit(database, testbed) for part in self.parts)), "")

    def programs(self, database: type[Database]) -> Sequence[Program]:
        """Those of all parts."""
        return [program for part in self.parts for program in part.nemesis.programs(database)]

    def too_few(self, database: type[Database], variant: Variant, nodes: int) -> str:
        """That of the first part that has one."""
        return next(filter(None, (part.nemesis.too_few(database, variant, nodes) for part in self.parts)), "")

    def minimum_nodes(self) -> int:
        """What the most demanding part needs."""
        return max(part.nemesis.minimum_nodes() for part in self.parts)


def fit(chosen: Sequence[tuple[Part, str]], nodes: int) -> bool:
    """Whether each of these parts, in its scenario, finds a server that the others leave it, on so many nodes in good order."""
    acting = [(part.nemesis, scenario) for part, scenario in chosen if part.nemesis.needs & ON_SERVERS]
    return len(acting) < 2 or _some(acting, [0] * len(acting), nodes)


def leaves(one: tuple[Nemesis, str], other: tuple[Nemesis, str], nodes: int) -> bool:
    """Whether a nemesis in its scenario, while it is in force, leaves another one a server, whoever is primary by then."""
    return _some([one, other], [0, 1], nodes, later=True)


def _some(acting: Sequence[tuple[Nemesis, str]], primaries: Sequence[int], nodes: int, *, later: bool = False) -> bool:
    """Whether draws are found with which each does something, `later` the last one; whoever has no target then may have one in
    a run."""
    names = tuple(f"n{number}" for number in range(1, nodes + 1))
    rng = random.Random(0)
    views = [Outlook(names=names, primary=names[at % nodes], last_primary=names[(at + 1) % nodes], holders={0: names[-1:]},
                     owners=names[-1:]) for at in primaries]
    for _ in range(DRAWS):
        try:
            each = [(one, one.aim(scenario, view, rng)) for (one, scenario), view in zip(acting, views, strict=True)]
        except NoTarget:
            return True
        if without_servers(each, names, later=later) is None:
            return True
    return False


def without_servers(each: Sequence[tuple[Nemesis, tuple[Spec, ...]]], names: Nodes, *, later: bool = False) -> Spec | None:
    """The first spec, of those of several nemeses at once, that would befall none but servers that another has already: one
    that is down cannot stand still, nor be ended again, and neither it nor one that stands still can tell its clock. `later`
    asks of the last nemesis alone, which comes when the others are in force."""
    ended = [_ended(nemesis, specs, names) for nemesis, specs in each]
    still = [{node for spec in specs if isinstance(spec, Pause) for node in spec.nodes} for _, specs in each]
    for at, (nemesis, specs) in list(enumerate(each))[len(each) - 1 if later else 0:]:
        others = [other for other in range(len(each)) if other != at]
        before = [other for other in others if other < at or WIPE in each[other][0].needs]
        for spec in specs:
            ends = isinstance(spec, Kill) or (isinstance(spec, Other) and {"end", "pause"} <= nemesis.needs)
            gone = set().union(*(ended[other] for other in (before if ends else others)))
            if isinstance(spec, Pause | Skew):
                gone.update(*(still[other] for other in (before if isinstance(spec, Pause) else others)))
            if (ends or isinstance(spec, Pause | Skew)) and WIPE not in nemesis.needs and spec.touched <= gone:
                return spec
    return None


def _ended(nemesis: Nemesis, specs: Sequence[Spec], names: Nodes) -> set[str]:
    """The nodes that have no server for as long as it lasts; one after the other is not that."""
    found = {
        node for spec in specs for node in spec.touched
        if (isinstance(spec, Kill) and spec.down is None)
        or (isinstance(spec, Other) and "end" in nemesis.needs and "exchange" not in nemesis.needs)
    }
    return set() if WIPE in nemesis.needs and found == set(names) else found
