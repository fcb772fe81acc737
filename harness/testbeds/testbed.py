"""What a testbed offers: nodes that run services, and the links between them.

A database says what to run, with which files and what ready means; a testbed says how. The same database code serves
namespaces, containers and machines over SSH.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

import msgspec

from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.plan import Plan

if TYPE_CHECKING:
    import networkx as nx

Connectivity: TypeAlias = "nx.DiGraph[str]"
"""The links that are up: an edge (a, b) lets packets pass from a to b. Nodes are names."""


Ability = Literal["cut", "end", "pause", "impair", "skew", "fill", "damage", "wipe", "unplug", "exchange"]
"""What a testbed can do to its nodes."""

DEEDS: Mapping[str, str] = {
    "cut": "lose packets over links",
    "end": "end and start servers",
    "pause": "have servers stand still",
    "impair": "have packets come late, seldom, twice or damaged",
    "skew": "put the clocks of servers wrong",
    "fill": "fill the disk of a data folder",
    "damage": "change the files of servers that are down",
    "wipe": "empty the data folder of a server that is down",
    "unplug": "take the power from the disk of a data folder, or make its syncs slow",
    "exchange": "start servers as another version",
}
"""What each ability is, as people are told of it."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One long-running server of a database on one node.

    `argv[0]` is the program's bare name; the testbed finds it (PATH or the plan's `binary` in a namespace, the image in a
    container). `files` (name → content) are written into the node's folder before its first start, and never again: a server
    that is started again finds what it made of them. `{folder}` in `argv` and in their content stands for that folder as the
    server sees it. `image` is the official container image, pinned; `exchanged` is the one that a fault put in its place,
    whatever the plan says. `memory_mb` is what the server needs; where memory is limited, it gets several times as much.
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    files: dict[str, str] = {}
    image: str = ""
    exchanged: str = ""
    memory_mb: int = 0


class Unwritten(msgspec.Struct, frozen=True):
    """What a disk lost with its power: `steps` that names and lengths of files had taken, `writes` of which a page at least is
    gone, and the `bytes` of those pages that were written."""

    steps: int
    writes: int
    bytes: int


class Completed(msgspec.Struct, frozen=True):
    """A command that ended on a node: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


class Applied(msgspec.Struct, frozen=True):
    """A connectivity put in force on every node: `spread` nanoseconds between the first and the last node's change, and
    the text that each node's `iptables-restore` was given, for the report."""

    spread: int
    rules: dict[str, str]


class Reach(msgspec.Struct, frozen=True):
    """What probes saw of every link: packets pass (True) or are lost (False).

    `datagrams` are one-way packets over IPv4, the truth of a directed link; `datagrams6` the same over IPv6, empty where
    the testbed has none. `fresh` are new connections to the database's port (they need both directions); a link to a node
    where they wait and no server takes them is left out, for the queue may be full. `standing` are bytes on a connection that
    was opened before the fault; a link without one that could be judged is left out.
    """

    datagrams: dict[Link, bool]
    datagrams6: dict[Link, bool]
    fresh: dict[Link, bool]
    standing: dict[Link, bool]

    def wrong(self, intended: Connectivity, impaired: frozenset[Link] = frozenset()) -> tuple[Link, ...]:
        """The links whose probes disagree with the intention, in order. Of impaired ones datagrams alone tell, of which one is
        enough: what TCP makes of them may take any time."""
        wrong = {link for link, passed in self.datagrams.items() if passed != intended.has_edge(*link)}
        wrong |= {link for link, passed in self.datagrams6.items() if passed != intended.has_edge(*link)}
        wrong |= {link for link, passed in self.standing.items()
                  if passed != intended.has_edge(*link) and link not in impaired and link[::-1] not in impaired}
        for (a, b), passed in self.fresh.items():
            if passed != (intended.has_edge(a, b) and intended.has_edge(b, a)) and impaired.isdisjoint({(a, b), (b, a)}):
                wrong.add((a, b))
        return tuple(sorted(wrong))

    def cut(self) -> tuple[Link, ...]:
        """The links over which nothing passed, in order."""
        passed = [*self.datagrams.items(), *self.datagrams6.items(), *self.fresh.items(), *self.standing.items()]
        return tuple(sorted(set(self.datagrams) - {link for link, any_passed in passed if any_passed}))


class Train(msgspec.Struct, frozen=True):
    """What became of `sent` datagrams over one link: the milliseconds that those which came were under way, in the order in
    which they came; how many came twice, and how many before one that was sent earlier; and of as many more sent at once (0:
    none were), the kbit/s at which they came. `busy` are the milliseconds that such packets of the harness, whose links are
    never impaired, took to the same node meanwhile: the machine's doing. `inexact` are the milliseconds by which all times may
    be wrong, where two machines' clocks told them."""

    sent: int
    late: tuple[float, ...]
    busy: float = 0.0
    inexact: float = 0.0
    twice: int = 0
    overtook: int = 0
    rate: float = 0.0

    @property
    def lost(self) -> float:
        """The share that never came."""
        return 1 - len(self.late) / self.sent


class Node(Protocol):
    """One machine of the cluster. Every method may raise `harness.errors.SetupError`."""

    name: str
    address: str
    address6: str

    @property
    def folder(self) -> str:
        """The node's data folder, as its services see it."""
        ...

    async def start(self, service: Service) -> None:
        """Start a service (again). Returns once its process runs; its output goes to `log(service.name)`."""
        ...

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End a service with everything that came of it, paused or not: SIGTERM and, after a grace of 2 s, SIGKILL; with `kill`
        SIGKILL at once."""
        ...

    async def pause(self, name: str) -> None:
        """Pause a service and everything that came of it, with its memory and its connections; the node's links
        stay as they are. Returns once nothing of it runs. Nothing happens where the service does not run or is paused."""
        ...

    async def resume(self, name: str) -> None:
        """Resume a paused service. Nothing happens where it is not paused."""
        ...

    async def let_run(self, name: str, seconds: float, most: float) -> float:
        """Have a paused service go on until it has used about so many seconds of the processor (with 0 it does not), `most`
        seconds at most, and pause it again; how many it has used since its start, 0 where it does not run."""
        ...

    @property
    def services(self) -> Sequence[Service]:
        """The services that run, paused or not, in the order in which they were started."""
        ...

    def running(self, name: str) -> bool:
        """Whether the service's process is alive, paused or not."""
        ...

    def ended(self) -> Sequence[Death]:
        """The services that ended though nobody stopped them, in the order of their ends and also those that were started
        again since. Their `time` is that of the monotonic clock; `log` is empty."""
        ...

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
        """Run a command on the node, without a shell, and wait for its end (`timeout` seconds). In a container that needs a
        service that runs and is not paused."""
        ...

    def log(self, name: str) -> Path:
        """Where the harness finds the output of a service."""
        ...


class Problem(msgspec.Struct, frozen=True):
    """Something this machine lacks (`what`) and the exact command or sentence that mends it (`mend`)."""

    what: str
    mend: str


class Wanted(msgspec.Struct, frozen=True):
    """A server's program that nodes need (`name`) and the exact command that gets it where it is missing (`mend`)."""

    name: str
    mend: str


class Testbed(Protocol):
    """Where nodes live. Made once for a run from its plan, its label and its folder; `folder / "nodes" / NAME` keeps what
    each node wrote. Raises `UsageError` for a plan that means something else than this testbed has."""

    name: ClassVar[str]
    summary: ClassVar[str]
    abilities: ClassVar[frozenset[Ability]]
    attached: ClassVar[bool]
    """Whether the servers run before a run and go on after it: a database is then attached to and not started."""

    def __init__(self, plan: Plan, run: str, folder: Path) -> None: ...

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes in order, none before `up` and after `down`."""
        ...

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """What keeps this testbed from working on this machine; empty where nothing does."""
        ...

    def can(self) -> frozenset[Ability]:
        """Those of its abilities that it has for its plan."""
        ...

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """What the nodes of this plan lack to run these programs and to have such things done to them: looked at before the run
        has a folder. May raise `SetupError` too."""
        ...

    @classmethod
    def lacks(cls, ability: Ability) -> str:
        """Why this machine cannot do something that the testbed can on others, in a sentence; empty where it can."""
        ...

    @classmethod
    def clean(cls) -> Sequence[str]:
        """Remove what runs that are over left behind, and exactly that; a line for each thing removed. Raises `NotCleaned`
        where not all could be removed, and `SetupError` where nothing can be looked for."""
        ...

    def inside(self, work: Callable[[], int]) -> int:
        """Call `work` where the nodes can be reached and return what it returns. If this process dies, so does all that
        `work` started, or `clean` finds it."""
        ...

    async def up(self, count: int) -> None:
        """Make the nodes, `n1` to `nN`, all links up."""
        ...

    async def facts(self) -> dict[str, str]:
        """What the report says of this testbed, once the services run: versions, and images with where they came from."""
        ...

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """Put a connectivity in force on all nodes in parallel, IPv4 and IPv6."""
        ...

    async def listen(self, port: int) -> None:
        """Open what `probe` needs: standing connections over every link, before any fault. `port` is the database's."""
        ...

    async def probe(self, intended: Connectivity, *, timeout: float, late: float = 0.0) -> Reach:
        """Send packets over every link, from inside the nodes. What is intended says only how long to wait: for packets
        that should pass up to `timeout` seconds, for those that should not a fixed fifth of a second. `late` are seconds that
        packets are held back on impaired links: so much longer is waited."""
        ...

    async def impair(self, links: Mapping[Link, Impair]) -> Applied:
        """Do this to the packets of these links, and let those of all others pass as they come. Asked only of a testbed with
        the ability `impair`."""
        ...

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the wall clocks of a node's servers ahead by so much (0: right again), those of no other node; the machine's own
        only where `ahead` tells of it. Asked only of a testbed with the ability `skew`."""
        ...

    async def ahead(self, name: str) -> tuple[int, int] | None:
        """Nanoseconds by which the clock of a node's whole machine is ahead of what it was before faults, and by how much that
        may be wrong; None where the clocks of its servers alone are put wrong."""
        ...

    async def bound(self, count: int) -> None:
        """Give the data folder of each node that `up` will make a disk of its own, so that it can be filled. Asked only of a
        testbed with the ability `fill`."""
        ...

    async def fill(self, name: str, *, full: bool) -> None:
        """Leave no room on the disk of a node's data folder, whatever was freed meanwhile, or give it room again."""
        ...

    async def unpluggable(self, count: int) -> None:
        """Give the data folder of each node that `up` will make a disk of its own, whose power can be taken. Asked only of a
        testbed with the ability `unplug`."""
        ...

    async def lose_power(self, name: str, how: str, seed: int) -> Unwritten:
        """Take the power from the disk of a node whose servers have ended: of what was not synced there is afterwards what
        `how` says (volatile.py), and nothing that was synced is gone."""
        ...

    async def slow(self, name: str, seconds: float) -> None:
        """Let every sync of that disk take so much longer (0: no longer)."""
        ...

    async def wipe(self, name: str, keep: Collection[str]) -> None:
        """Remove what is in the data folder of a node on which nothing runs, all but these files in it. Asked only of a testbed
        with the ability `wipe`. Raises `SetupError`."""
        ...

    async def full(self, name: str) -> bool:
        """Whether a page cannot be written into the data folder of a node, for want of room. Asked only of a testbed with the
        ability `fill`."""
        ...

    async def last_written(self, name: str, given: Collection[str]) -> str:
        """The file in the data folder of a node that was written last, of those with something in them that are none of
        `given`; empty where there is none. Asked, as the next two, only of a testbed with the ability `damage`."""
        ...

    async def read(self, name: str, file: str) -> bytes | None:
        """What is in such a file; None where it is there no more."""
        ...

    async def rewrite(self, name: str, file: str, content: bytes) -> None:
        """Put this into such a file, in its place, so that a full disk has room for it."""
        ...

    async def timed_sync(self, name: str) -> float:
        """Milliseconds that a sync of a file in the data folder of a node takes. Asked only of a testbed with the ability
        `unplug`."""
        ...

    async def measure(self, links: Sequence[Link], *, late: float, rate: float = 0.0) -> Mapping[Link, Train]:
        """Send trains of datagrams over these links at once, and wait `late` seconds for the last. With `rate` (kbit/s) also as
        many at once as take that a third of a second."""
        ...

    async def serving(self, *, timeout: float) -> dict[str, bool]:
        """Node → whether its server takes a connection to the database's port within `timeout` seconds. The harness makes it,
        whose links are never cut. False where nothing listens (the server was killed) and where the connection waits and
        nobody takes it (the server is paused, or hangs)."""
        ...

    async def down(self) -> None:
        """End every service and remove every node; idempotent."""
        ...


def everything(names: Iterable[str]) -> Connectivity:
    """The connectivity of a healthy cluster."""
    import networkx as nx  # Here, since whoever only looks a database up need not wait for it.

    nodes = list(names)
    graph: Connectivity = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((a, b) for a in nodes for b in nodes if a != b)
    return graph

