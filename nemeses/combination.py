"""Combination: several nemeses at once, as one fault with the specs of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from splitbrain.harness.databases.database import Database, Detection, Program
from splitbrain.harness.history.fault import Impair, OnServers, Other, Spec
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.injectors import Injector, TogetherInjector
from splitbrain.nemeses.nemesis import DRAWS, Nemesis, NoTarget, Outlook

AND = " + "
WIPE: Ability = "wipe"
"""What a testbed must be able to do where a node leaves the members."""


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
        """As many as the part with the most has."""
        each = [scenarios for part in self.parts if (scenarios := part.beside(nodes))]
        longest = max(map(len, each), default=0)
        return tuple(AND.join(scenarios[at % len(scenarios)] for scenarios in each) for at in range(longest))

    def lengths(self, scenario: str, fault: float, detection: Detection | None) -> Sequence[tuple[float, float]]:
        """Those of a part that is alone; several are in force together for as long as the plan says."""
        return self.parts[0].nemesis.lengths(scenario, fault, detection) if len(self.parts) == 1 else ()

    def apart(self, scenario: str, nodes: int) -> Sequence[tuple[Nemesis, str]]:
        """Each part that acts, with its own of a scenario of all, in their order."""
        acting = [part.nemesis for part in self.parts if part.scenarios(nodes)]
        return tuple(zip(acting, scenario.split(AND), strict=True))

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """The specs of every part, in their order; drawn anew where one would befall none but servers that another ends,
        because their node leaves the members: it would do nothing. Raises `NoTarget` where one of them finds none."""
        parts = self.apart(scenario, len(view.names))
        for _ in range(DRAWS):
            each = [(part, part.aim(one, view, rng)) for part, one in parts]
            leaving = {name for part, specs in each if WIPE in part.needs for spec in specs for name in spec.touched}
            idle = [spec for part, specs in each if WIPE not in part.needs for spec in specs
                    if isinstance(spec, OnServers) and spec.touched <= leaving < set(view.names)]
            if not idle:
                return tuple(spec for _, specs in each for spec in specs)
        raise NoTarget(f"no server is left to {idle[0].doing(view.names)}: its node leaves the members at the same time")

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
