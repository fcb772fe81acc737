"""What happens to servers: they are ended, and started again; they stand still, and go on.

Which nodes is said by role. With a primary that nobody names nothing is done, and nothing claimed.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

from splitbrain.harness.databases.database import Detection
from splitbrain.harness.history.fault import Kill, Nodes, Pause, Spec
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import SECOND, Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.nemesis import DRAWS, Nemesis, NoTarget, Outlook
from splitbrain.nemeses.roles import OWNER, nodes_of, played

AROUND = ((3.0, 5.0), (0.85, 1.35), (0.5, 0.8))
"""How many times as long as the database's own time a pause lasts, from and to: clearly longer, about as long, shorter."""


class Processes(Nemesis):
    """Something done to the servers of some nodes; a scenario is a role."""

    needs: ClassVar[frozenset[Ability]] = frozenset({"end"})
    usual: ClassVar[tuple[str, ...]] = ("primary", "follower", "minority", "majority", "all")
    """The roles that a schedule takes in turn; any other can be named."""
    of_running: ClassVar[bool] = False
    """Whether it is nothing to a server that another fault has down or standing still already."""
    waits: ClassVar[bool] = False
    """Whether it is something to that one as soon as the other fault is over, where it lasts so long."""

    def scenarios(self, nodes: int) -> Sequence[str]:
        """The roles that some node can play; where there is one node, all of them are the same."""
        roles = tuple(role for role in self.usual if role in self.known(nodes))
        return roles if nodes > 1 else roles[:1]

    def known(self, nodes: int) -> Sequence[str]:
        """Every role that some node can play."""
        return played(nodes)

    def minimum_nodes(self) -> int:
        """One, to which it happens."""
        return 1

    @abstractmethod
    def spec(self, nodes: Nodes) -> Spec:
        """What is done to these nodes."""

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Drawn anew where it would befall none but servers to which it is nothing. Raises `NoTarget`."""
        for _ in range(DRAWS):
            nodes = nodes_of(scenario, view, rng)
            if not self.of_running or not set(nodes) <= set(view.out):
                return (self.spec(nodes),)
        if self.waits:
            return (self.spec(nodes),)
        raise NoTarget(f"another fault has every server that was meant ({' '.join(nodes)})")


class KillServers(Processes):
    """SIGKILL; what was not on the disk is on none, what the operating system had is there still. Started again at the end."""

    name: ClassVar[str] = "kill"
    summary: ClassVar[str] = "kill -9 of the servers by role (primary, follower, minority, majority, all), later started again"

    def spec(self, nodes: Nodes) -> Spec:
        return Kill(nodes)


class Terminate(Processes):
    """SIGTERM, which servers take as a request to end in an orderly way. Started again at the end."""

    name: ClassVar[str] = "terminate"
    summary: ClassVar[str] = "SIGTERM to the servers by role, later started again"

    def spec(self, nodes: Nodes) -> Spec:
        return Kill(nodes, signal="TERM")


class Restart(Processes):
    """SIGKILL, and started again a moment later: a supervisor's work."""

    name: ClassVar[str] = "restart"
    summary: ClassVar[str] = "kill -9 of the servers by role, started again after a tenth of a second"

    class Options(OptionTable, frozen=True):
        """How long a server is down."""

        down: Annotated[float, Setting("How long a server is down before it is started again.", unit=SECOND, high=600)] = 0.1

    options: Options

    def spec(self, nodes: Nodes) -> Spec:
        return Kill(nodes, down=self.options.down)


class CrashLoop(Processes):
    """SIGKILL over and over, each time started again: what a supervisor makes of a server that cannot live."""

    name: ClassVar[str] = "crash-loop"
    summary: ClassVar[str] = "kill -9 of the servers by role every two seconds, each time started again at once"
    usual: ClassVar[tuple[str, ...]] = ("primary", "follower", "minority")

    class Options(OptionTable, frozen=True):
        """How long a server is down, and up."""

        down: Annotated[float, Setting("How long a server is down before it is started again.", unit=SECOND, high=600)] = 0.1
        up: Annotated[float, Setting("How long it then runs before it is ended again.", unit=SECOND, low=0.1, high=600)] = 2.0

    options: Options

    def spec(self, nodes: Nodes) -> Spec:
        return Kill(nodes, down=self.options.down, up=self.options.up)


class PauseServers(Processes):
    """SIGSTOP, and SIGCONT at the end: a long garbage collection, a frozen machine. A primary that goes on does not know that
    time has passed.

    What comes of it turns on whether the others have missed it meanwhile. So where the database tells after what silence they
    do, pauses are clearly longer than that, about as long, and shorter, in turn. A lock's lease is not that time: where its
    owner is paused, and where the database tells none or one that no fault of the plan reaches, each lasts as any fault."""

    name: ClassVar[str] = "pause"
    summary: ClassVar[str] = "SIGSTOP of the servers by role (primary, follower, minority, majority, all), later SIGCONT"
    needs: ClassVar[frozenset[Ability]] = frozenset({"pause"})
    of_running: ClassVar[bool] = True
    waits: ClassVar[bool] = True

    class Options(OptionTable, frozen=True):
        """How long a server stands still."""

        length: Annotated[float, Setting(
            'How long a server stands still; "around": longer than, about as long as and shorter than the silence after which '
            "the database takes a server for gone, in turn, or as long as a fault where that is not known.",
            unit=SECOND, high=3600, zero="around", default="the plan's fault where that is told, else around",
            follows="fault")] = 0.0

    options: Options

    def lengths(self, scenario: str, fault: float, detection: Detection | None) -> Sequence[tuple[float, float]]:
        """The option's, or around the database's own time."""
        if length := self.options.length:
            return ((length, length),)
        if scenario == OWNER or detection is None or detection.seconds > fault:
            return ()
        return tuple((least * detection.seconds, most * detection.seconds) for least, most in AROUND)

    def spec(self, nodes: Nodes) -> Spec:
        return Pause(nodes)
