"""What a nemesis is: it aims, by name and role, and what it aims at is resolved into specs before anything is done.

Aiming is pure, so that it can be tested without a cluster, and so that a run can be repeated with the very targets that it
had. Doing, proving and undoing is an injector's, one for each kind of spec.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from splitbrain.harness.databases.database import Database, Detection, Program
from splitbrain.harness.history.fault import Nodes, Spec
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import OptionTable, Tables, options_of
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.injectors import injector_of
from splitbrain.nemeses.injectors.injector import Injector


class NoTarget(Exception):
    """What a nemesis aims at is not there at this moment; the message says what. Nothing is done then, and nothing claimed."""


DRAWS = 20
"""How often targets are drawn, at most, where those that were drawn will not do."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a nemesis sees of the cluster when it aims.

    `primary` is the node that most nodes name as primary at this moment, `last_primary` the one before that. Both are None
    where the database has none, which is then `leaderless`, or where nobody names one. `out` are the nodes that another
    fault keeps down or has stand still. `holders` are the nodes that hold each key: the primary of its shard, all its copies
    where the database is leaderless, nobody where no node was named. `owners` are the homes of the clients that hold a lock,
    first the one that means to hold its own longest. `sides` are the groups of nodes that the network lets work together at
    this moment, all nodes in one where nothing is cut.
    """

    names: tuple[str, ...]
    primary: str | None = None
    last_primary: str | None = None
    leaderless: bool = False
    out: tuple[str, ...] = ()
    holders: Mapping[Key, Nodes] = {}
    owners: tuple[str, ...] = ()
    sides: tuple[Nodes, ...] = ()

    def first(self, rng: random.Random) -> str:
        """The primary; where the database has none, any node stands for it. Raises `NoTarget` where it should have one and
        nobody names a node."""
        if self.primary in self.names and self.primary is not None:
            return self.primary
        if self.leaderless:
            return rng.choice(self.names)
        raise NoTarget("no node was named as primary")


class Nemesis(ABC):
    """One thing that goes wrong, in one or more scenarios. Made once for each fault."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Ability]] = frozenset()
    """What a testbed must be able to do for it."""
    Options: ClassVar[type[OptionTable]] = OptionTable
    """What a plan can set of it alone, in its table `[options.NAME]`."""
    options: Any
    """Its `Options`, as the plan has them."""

    def __init__(self, tables: Tables | None = None) -> None:
        """`tables` are the options of a plan."""
        self.options = options_of(type(self), tables or {})

    @abstractmethod
    def scenarios(self, nodes: int) -> Sequence[str]:
        """The names of its scenarios on that many nodes, in the order in which a schedule takes them."""

    def known(self, nodes: int) -> Sequence[str]:
        """Every scenario that can be named (`kill:any`): the ones that a schedule takes, and perhaps more."""
        return self.scenarios(nodes)

    def beside(self, nodes: int) -> Sequence[str]:
        """The ones that a schedule takes while another nemesis acts at the same time."""
        return self.scenarios(nodes)

    def lengths(self, scenario: str, fault: float, detection: Detection | None) -> Sequence[tuple[float, float]]:
        """How long faults of that scenario last, where that is the nemesis' to say: seconds, from and to, one after the other
        and again from the first; `detection` is the database's. None of them: each lasts for the plan's `fault` seconds."""
        return ()

    @abstractmethod
    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """What to do, resolved: these links, these nodes. Pure. Raises `NoTarget`."""

    def injector(self, spec: Spec) -> Injector[Any]:
        """Who does a spec of this nemesis, proves it and undoes it; a new one for each fault."""
        return injector_of(spec)

    def refusal(self, database: type[Database], variant: Variant) -> str:
        """Why it cannot be done to that database, as the end of a sentence that begins with its name and its variant; empty
        where it can."""
        return ""

    def unfit(self, database: type[Database], testbed: str) -> str:
        """Why it cannot be done to that database on that testbed with the options that it has, as `refusal` says it; empty
        where it can, as far as the testbed has the abilities that it needs."""
        return ""

    def programs(self, database: type[Database]) -> Sequence[Program]:
        """What it needs on the nodes beside the database's own programs."""
        return ()

    def too_few(self, database: type[Database], variant: Variant, nodes: int) -> str:
        """Why it cannot be done to so many nodes of that database though it can to more, as `refusal` says it."""
        return ""

    def minimum_nodes(self) -> int:
        """The smallest cluster that this makes sense on."""
        return 2
