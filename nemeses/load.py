"""What happens to the load, and to nothing else: many more clients come, and go again; nobody calls for a while; and what fails
is tried again at once, so that a database in trouble gets more to do for being in trouble."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

from splitbrain.harness.history.fault import Hush, Nodes, Retry, Sever, Spec, Surge
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.nemeses.nemesis import Nemesis, Outlook
from splitbrain.nemeses.roles import nodes_of, played


class OnClients(Nemesis):
    """Something done to the clients of every home, or of those that play a role."""

    def scenarios(self, nodes: int) -> Sequence[str]:
        """At every home."""
        return ("all",)

    def known(self, nodes: int) -> Sequence[str]:
        """At the homes that play a role: `quiet:lock-owner` has clients stand still, one that holds a lock among them."""
        return played(nodes)

    @abstractmethod
    def spec(self, homes: Nodes) -> Spec:
        """What is done to the clients at these homes."""

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        return (self.spec(nodes_of(scenario, view, rng)),)

    def minimum_nodes(self) -> int:
        """It needs no other node."""
        return 1


class Spike(OnClients):
    """Ten times the clients, at every home. What they do is recorded as of all."""

    name: ClassVar[str] = "spike"
    summary: ClassVar[str] = "ten times as many clients at every home, who go again at the end"

    class Options(OptionTable, frozen=True):
        """How many."""

        times: Annotated[int, Setting("How many times as many clients there are.", low=2, high=1000)] = 10

    options: Options

    def spec(self, homes: Nodes) -> Spec:
        return Surge(homes, times=self.options.times)


class Quiet(OnClients):
    """Nobody calls. Together with another fault (`kill+quiet`) a database is in trouble of which no client tells it."""

    name: ClassVar[str] = "quiet"
    summary: ClassVar[str] = "no client calls; with another fault (kill+quiet) the database meets it idle"

    def spec(self, homes: Nodes) -> Spec:
        return Hush(homes)


class ClientCut(OnClients):
    """Clients lose the node that they are beside, and it goes on: the servers see each other and everybody else, so that nobody
    fails over. What the cut clients had open may have happened; a lock that they hold ends with its lease."""

    name: ClassVar[str] = "client-cut"
    summary: ClassVar[str] = "clients cut off from their node by role, servers not from each other"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary", "follower")

    def spec(self, homes: Nodes) -> Spec:
        return Sever(homes)


class RetryStorm(OnClients):
    """What fails is tried again at once, three times, each on a connection of its own, as clients do that do not back off. The
    tries are no part of the history: a read is made again, and instead of a write that failed, which may have happened and
    must not happen twice, another key is written that nobody reads. Without another fault (`partition-primary+retry-storm`)
    that makes calls fail there is no storm, nor where nearly all fail since no primary is in reach: no server is there that
    a try could go to, as while Redis' sentinels choose a new one."""

    name: ClassVar[str] = "retry-storm"
    summary: ClassVar[str] = "what fails is tried again three times at once; with another fault (kill+retry-storm)"

    class Options(OptionTable, frozen=True):
        """How many."""

        tries: Annotated[int, Setting("How many more tries a call that fails makes.", low=1, high=100)] = 3

    options: Options

    def spec(self, homes: Nodes) -> Spec:
        return Retry(homes, tries=self.options.tries)
