"""Fault: something a nemesis did to the cluster, with its start, its end and the proof that it took effect.

What was done is a tuple of *specs*: effects whose targets are resolved (these links, these nodes), so that a journal tells
exactly what happened and a plan can ask for exactly that again. Each kind of spec brings its own words, for the terminal and
for reports: a paused process says nothing of links. It is one file because journals tell every spec by its tag, in one union.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec

from splitbrain.harness.history.moment import Time
from splitbrain.harness.history.sides import Link as Link
from splitbrain.harness.history.sides import Nodes as Nodes
from splitbrain.harness.history.sides import in_order, listed, natural, sides, told

Place = str | Link
"""Where a probe looked: a node, or a link."""

ONE_WAY = "one way"
"""The figure of how late packets come over a link."""

LONGEST = 3600.0
"""Seconds that anything in a fault lasts at most."""


class Figure(msgspec.Struct, frozen=True):
    """Something that was intended and measured, at several places: the middle one, the least and the most."""

    what: str
    unit: str
    intended: float
    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        middle, least, most = (_digits(number) for number in (self.middle, self.least, self.most))
        span = "" if least == most else f"{least} to {most}, "
        return f"{self.what} {middle} {self.unit} ({span}intended {_digits(self.intended, 6)})"


def _digits(number: float, most: int = 3) -> str:
    """At most so many digits that matter, and large numbers as whole ones: `0.123`, `26.7`, `4,613`."""
    return f"{number:,.0f}" if abs(number) >= 999.5 else f"{number:.{most}g}"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What probes saw of one spec, once it was done or undone; never what a list of rules says.

    `measured` are the places where they saw its effect, `wrong` those where they saw something else than was intended, and it
    `holds` where there are none. `acted` is when the last change had been made, `spread` nanoseconds after the first one;
    `at` is when the probes had seen it (both in nanoseconds from the start of the run). `figures` are what was measured
    against what was intended, where it is more or less of something. `detail` is what else there is to tell.
    """

    MOMENTS: ClassVar[tuple[str, ...]] = ("acted", "at")

    holds: bool
    acted: Time
    at: Time
    spread: int = 0
    wrong: tuple[Place, ...] = ()
    measured: tuple[Place, ...] = ()
    figures: tuple[Figure, ...] = ()
    detail: str = ""


class OnLinks(msgspec.Struct, frozen=True):
    """What is done to links. `needs` is what a testbed must be able to do for it."""

    links: tuple[Link, ...]

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant as a person wrote it (it would do nothing, or nobody could do it); empty where it can."""
        own = [link for link in self.links if link[0] == link[1]]
        return _targets("link", self.links) or (f"{_place(own[0])} is no link: it leads from a node to itself" if own else "")

    @property
    def touched(self) -> frozenset[str]:
        """The nodes that it names."""
        return frozenset(node for link in self.links for node in link)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same to other nodes."""
        links = ((names.get(a, a), names.get(b, b)) for a, b in self.links)
        return msgspec.structs.replace(self, links=in_order(links))


class OnNodes(msgspec.Struct, frozen=True):
    """What is done to nodes themselves. `needs` and `nonsense` are as there."""

    nodes: Nodes

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return _targets("node", self.nodes)

    @property
    def touched(self) -> frozenset[str]:
        """The nodes that it names."""
        return frozenset(self.nodes)

    @property
    def meanwhile(self) -> str:
        """What it is like for them while it lasts, in everyday words: `the server on n1 was killed`; empty where it does not
        say."""
        return ""

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same to other nodes."""
        return msgspec.structs.replace(self, nodes=tuple(sorted((names.get(node, node) for node in self.nodes), key=natural)))


class OnServers(OnNodes, frozen=True):
    """What leaves the servers of nodes without an answer, and is over when they serve again."""

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """How many nodes serve again."""
        return f"{len(proof.measured)}/{len(self.nodes)} serving" + (f", {proof.detail}" if proof.detail else "")

    def seen(self, proof: Proof) -> str:
        """What the proof rests on, for the list of what makes a run a good test."""
        return f"{' '.join(self.nodes)} took no connection"

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        if not proof.holds:
            return f"{places(proof.wrong)} not serving again"
        told = [f"{' '.join(str(place) for place in proof.measured)} serving again"] if proof.measured else []
        return ", ".join([*told, *([proof.detail] if proof.detail else [])]) or "nothing was to be started again"


class Cut(OnLinks, frozen=True, tag="cut"):
    """Packets over these links are lost."""

    needs: ClassVar[str] = "cut"
    undoing: ClassVar[str] = "heal"

    def doing(self, names: Sequence[str]) -> str:
        """`partition {n1} | {n2 n3}`, or the links that are cut where the sides alone do not tell it."""
        return f"partition {parted(names, self.links)}"

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """How many links the probes found as intended."""
        links = len(names) * (len(names) - 1)
        return f"{links - len(proof.wrong)}/{links} links as intended"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """How many links the probes found up after the heal; as intended, where another fault still cuts some."""
        links = len(names) * (len(names) - 1)
        right = f"{links - len(proof.wrong)}/{links} links"
        return f"{right} as intended, {proof.detail}" if proof.detail else f"{right} up"

    def seen(self, proof: Proof) -> str:
        """What the proof rests on, for the list of what makes a run a good test."""
        return f"{len(proof.measured)} cut links proven by packets"

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        if not proof.holds:
            return f"{places(proof.wrong)} not up again"
        return f"all other links carry packets again ({proof.detail})" if proof.detail else "all links carry packets again"


class Flap(OnLinks, frozen=True, omit_defaults=True, tag="flap"):
    """These links, all of them together, lose packets for `down` seconds, carry them for `up` seconds, and so on."""

    down: float = 1.0
    up: float = 1.0

    needs: ClassVar[str] = "cut"
    undoing: ClassVar[str] = "heal"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return super().nonsense or _beyond("down", self.down, 0.1, LONGEST) or _beyond("up", self.up, 0.1, LONGEST)

    def doing(self, names: Sequence[str]) -> str:
        """`flap {n1} | {n2 n3} (1 s down, 1 s up)`."""
        return f"flap {parted(names, self.links)} ({self.down:g} s down, {self.up:g} s up)"

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """How often the links were down and up."""
        return proof.detail or f"{len(self.links) - len(proof.wrong)}/{len(self.links)} links as intended"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """The same of the whole fault."""
        return proof.detail

    def seen(self, proof: Proof) -> str:
        """What the proof rests on, for the list of what makes a run a good test."""
        return f"each of {len(proof.measured)} links {proof.detail}, by packets"

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        return "all its links carry packets again" if proof.holds else f"{places(proof.wrong)} not up again"


class Impair(OnLinks, frozen=True, omit_defaults=True, tag="impair"):
    """Packets over these links come late, in another order, twice, damaged, or not at all; each link one way.

    `delay` and `jitter` (evenly to both sides of it, packets keeping their order) are milliseconds; `loss`, `duplicate`,
    `reorder` (comes at once, and so before those that are delayed) and `corrupt` (one bit turned round) are shares of the
    packets; `rate` is kbit/s, 0 without a limit.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0

    needs: ClassVar[str] = "impair"
    undoing: ClassVar[str] = "clear"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        late = {"delay": self.delay, "jitter": self.jitter}
        shares = {"loss": self.loss, "duplicate": self.duplicate, "reorder": self.reorder, "corrupt": self.corrupt}
        wrong = [_beyond(what, one, 0, 1000 * LONGEST) for what, one in late.items()]
        wrong += [_beyond(what, one, 0, 1) for what, one in shares.items()]
        wrong.append(_beyond("rate", self.rate, 0, 1e9))
        if not any((*late.values(), *shares.values(), self.rate)):
            wrong.append(f"it does nothing to packets: give it one of {', '.join((*late, *shares, 'rate'))}")
        if self.jitter > self.delay:
            wrong.append(f"jitter is {self.jitter:g}, and delay less: no packet can come earlier than it was sent")
        if self.reorder and not self.delay:
            wrong.append("reorder has packets overtake those that are late: give it a delay too")
        return super().nonsense or next(filter(None, wrong), "")

    def doing(self, names: Sequence[str]) -> str:
        """`delay 100 ms n1→n2`, `lose 30% on all links`."""
        late = f"delay {self.delay:g}{f' ± {self.jitter:g}' if self.jitter else ''} ms" if self.delay or self.jitter else ""
        shares = (("lose", self.loss), ("double", self.duplicate), ("reorder", self.reorder), ("damage", self.corrupt))
        told = [late, *(f"{word} {share:.0%}" for word, share in shares if share)]
        told.append(f"let through {self.rate:g} kbit/s" if self.rate else "")
        return f"{', '.join(filter(None, told)) or 'nothing'} {self._where(names)}"

    def everywhere(self, names: Sequence[str]) -> bool:
        """Whether its links are all there are between these nodes."""
        return len(self.links) == len(names) * (len(names) - 1)

    def _where(self, names: Sequence[str]) -> str:
        if self.everywhere(names):
            return "on all links"
        for node in names:
            to, out = (tuple((b, node) if way else (node, b) for b in names if b != node) for way in (True, False))
            for links, word in (({*to, *out}, "to and from"), (set(to), "to"), (set(out), "from")):
                if set(self.links) == links:
                    return f"{word} {node}"
        return places(self.links)

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """What the probes measured."""
        return ", ".join(map(str, proof.figures)) or f"{len(self.links) - len(proof.wrong)}/{len(self.links)} links as intended"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """The same after it was undone."""
        return self.proven(proof, names)

    def seen(self, proof: Proof) -> str:
        """What the proof rests on, for the list of what makes a run a good test."""
        return f"measured on {len(proof.measured)} links: {self.proven(proof, ())}"

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        return self.seen(proof) if proof.holds else f"{places(proof.wrong)} not as before ({self.proven(proof, ())})"


class Kill(OnServers, frozen=True, omit_defaults=True, tag="kill"):
    """Every server of these nodes is ended by this signal (SIGTERM is followed by SIGKILL after 2 s), and started again when
    the fault is undone.

    With `down` they are started again after so many seconds already, and with `up` they are ended again so many seconds
    later, over and over: a crash loop.
    """

    signal: Literal["KILL", "TERM"] = "KILL"
    down: float | None = None
    up: float | None = None

    needs: ClassVar[str] = "end"
    undoing: ClassVar[str] = "start again"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        if self.up is not None and self.down is None:
            return "up is how long a server runs until it is ended again: give down too, after which it is started"
        down, up = (0.1 if one is None else one for one in (self.down, self.up))
        return super().nonsense or _beyond("down", down, 0, LONGEST) or _beyond("up", up, 0.1, LONGEST)

    def doing(self, names: Sequence[str]) -> str:
        """`kill n1`, `restart n1 (SIGTERM)`, `crash loop n1 n2`."""
        what = "kill" if self.down is None else "restart" if self.up is None else "crash loop"
        return f"{what} {' '.join(self.nodes)}" + (" (SIGTERM)" if self.signal == "TERM" else "")

    @property
    def meanwhile(self) -> str:
        """`the servers on n1 and n2 were killed`; of other ways to end them nothing."""
        return "" if self.signal == "TERM" or self.down is not None else f"{_servers(self.nodes)} {_was(self.nodes)} killed"

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """How many nodes had no server any more."""
        return f"{len(self.nodes) - len(proof.wrong)}/{len(self.nodes)} down"


class Pause(OnServers, frozen=True, omit_defaults=True, tag="pause"):
    """Every process of the servers of these nodes stands still, with its memory and its connections: for `length` seconds in
    all, or with 0 for as long as the fault lasts once it was proven."""

    length: float = 0.0

    needs: ClassVar[str] = "pause"
    undoing: ClassVar[str] = "resume"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return super().nonsense or _beyond("length", self.length, 0, LONGEST)

    def doing(self, names: Sequence[str]) -> str:
        """`pause n1`."""
        return f"pause {' '.join(self.nodes)}"

    @property
    def meanwhile(self) -> str:
        """`the server on n1 stood still`."""
        return f"{_servers(self.nodes)} stood still"

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """How many nodes stand still, and which are down of another fault."""
        told = f"{len(set(proof.measured) - set(proof.wrong))}/{len(self.nodes)} standing still"
        return told + (f", {proof.detail}" if proof.detail else "")


class Skew(OnNodes, frozen=True, omit_defaults=True, tag="skew"):
    """The wall clocks of these nodes' servers are `offset` seconds ahead (or behind), and run `drift` seconds a second too fast
    (or too slow); with `every` they jump to and fro so often, in seconds. The machine's clock stays right, unless it is the one
    that is put wrong (`clock` of an inventory), and clocks that only go forward always do."""

    offset: float = 0.0
    drift: float = 0.0
    every: float = 0.0

    needs: ClassVar[str] = "skew"
    undoing: ClassVar[str] = "put the clock right"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        little = ""
        if abs(self.offset) < 2 and abs(self.drift) < 0.5:
            little = "a clock is put 2 s wrong at least (offset), or gains or loses 0.5 s a second (drift): less cannot be told"
        return (super().nonsense or _beyond("offset", self.offset, -1e9, 1e9) or _beyond("drift", self.drift, -0.9, 100)
                or _beyond("every", self.every, 0, LONGEST) or little)

    def doing(self, names: Sequence[str]) -> str:
        """`put the clock of n1 60 s ahead`."""
        whose = f"the clock of {' '.join(self.nodes)}"
        if self.drift:
            return f"let {whose} run {abs(self.drift):.3g} s a second too {'fast' if self.drift > 0 else 'slow'}"
        where = f"{abs(self.offset):g} s {'ahead' if self.offset > 0 else 'back'}"
        return f"put {whose} {where}" + (f" and right again, every {self.every:g} s" if self.every else "")

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """What the servers told, and which could not be asked."""
        return ", ".join(filter(None, (*map(str, proof.figures), proof.detail))) or "no clock was told"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """The same afterwards."""
        return self.proven(proof, names)

    def seen(self, proof: Proof) -> str:
        """What the proof rests on."""
        told = self.proven(proof, ())
        return f"{' '.join(map(str, proof.measured))} told the time: {told}" if proof.measured else told

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        return self.seen(proof) if proof.holds else f"{places(proof.wrong)} not at the right time ({self.proven(proof, ())})"


class OnLoad(msgspec.Struct, frozen=True):
    """What is done to the clients at these homes, and to nothing else."""

    homes: Nodes

    needs: ClassVar[str] = ""
    undoing: ClassVar[str] = "usual load"

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return _targets("home", self.homes)

    @property
    def touched(self) -> frozenset[str]:
        """The nodes that it names."""
        return frozenset(self.homes)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same at other homes."""
        return msgspec.structs.replace(self, homes=tuple(sorted((names.get(one, one) for one in self.homes), key=natural)))

    def where(self, names: Sequence[str]) -> str:
        """`at all homes`."""
        return f"at {'all homes' if set(self.homes) == set(names) else ' '.join(self.homes)}"

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """What was counted."""
        return ", ".join(filter(None, [proof.detail, *map(str, proof.figures)])) or "no call was counted"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """The same of its end."""
        return proof.detail

    def seen(self, proof: Proof) -> str:
        """What the proof rests on."""
        return self.proven(proof, ())

    def again(self, proof: Proof) -> str:
        """The same of its end."""
        return proof.detail


class Surge(OnLoad, frozen=True, omit_defaults=True, tag="surge"):
    """Clients beside the usual ones: `times` as many as before. They do the same, and are recorded."""

    times: int = 10

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return super().nonsense or _beyond("times", self.times, 2, 1000)

    def doing(self, names: Sequence[str]) -> str:
        """`10 times the clients at all homes`."""
        return f"{self.times} times the clients {self.where(names)}"


class Hush(OnLoad, frozen=True, omit_defaults=True, tag="hush"):
    """No client calls."""

    def doing(self, names: Sequence[str]) -> str:
        """`no calls at all homes`."""
        return f"no calls {self.where(names)}"


class Sever(OnLoad, frozen=True, omit_defaults=True, tag="sever"):
    """No packet passes between the clients at these homes and their nodes. The nodes see each other, and serve all others."""

    undoing: ClassVar[str] = "clients linked again"

    def doing(self, names: Sequence[str]) -> str:
        """`clients cut off from their node at n1`."""
        return f"clients cut off from their node {self.where(names)}"


class Retry(OnLoad, frozen=True, omit_defaults=True, tag="retry"):
    """A call that the database did not answer is tried again at once, up to `tries` times, beside the recorded operations."""

    tries: int = 3

    @property
    def nonsense(self) -> str:
        """Why it cannot be meant."""
        return super().nonsense or _beyond("tries", self.tries, 1, 100)

    def doing(self, names: Sequence[str]) -> str:
        """`3 more tries of what fails at all homes`."""
        return f"{self.tries} more tries of what fails {self.where(names)}"


class Other(OnNodes, frozen=True, kw_only=True, omit_defaults=True, tag="other"):
    """An effect that a nemesis from elsewhere defines, with its injector: what it does to these nodes, in words, and what it
    needs to know to do it (`options`). `like` says in everyday words what they are like meanwhile, after their names: `had no
    power`."""

    nodes: Nodes
    name: str
    does: str
    undoing: str = "undo"
    like: str = ""
    options: dict[str, Any] = {}

    needs: ClassVar[str] = ""

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same to other nodes, also in the lists that its options have of them."""
        lists = {key: told for key, told in self.options.items() if isinstance(told, list)}
        lists = {key: [names.get(one, one) if isinstance(one, str) else one for one in told] for key, told in lists.items()}
        return msgspec.structs.replace(super().renamed(names), options=self.options | lists)

    def doing(self, names: Sequence[str]) -> str:
        """`fill the folder of n1`: its own words."""
        return f"{self.does} {' '.join(self.nodes)}"

    @property
    def meanwhile(self) -> str:
        """`n1 and n2 had no power`: its own words."""
        return f"{listed(self.nodes)} {self.like}" if self.like else ""

    def proven(self, proof: Proof, names: Sequence[str]) -> str:
        """What its injector measured, in the injector's words."""
        return proof.detail or f"{len(self.nodes) - len(proof.wrong)}/{len(self.nodes)} as intended"

    def undone(self, proof: Proof, names: Sequence[str]) -> str:
        """The same of its undoing."""
        return proof.detail or f"{len(self.nodes) - len(proof.wrong)}/{len(self.nodes)} as before"

    def seen(self, proof: Proof) -> str:
        """What the proof rests on."""
        return self.proven(proof, ())

    def again(self, proof: Proof) -> str:
        """The same of its undoing."""
        return self.undone(proof, ()) if proof.holds else f"{places(proof.wrong)} not as before"


Spec = Cut | Flap | Impair | Kill | Pause | Skew | Surge | Hush | Sever | Retry | Other


DAMAGED = "damaged"
"""The option of an `Other` that damages files which a server had written."""


def is_damage(spec: Spec) -> bool:
    """Whether it damages what servers had written to their disks."""
    return isinstance(spec, Other) and bool(spec.options.get(DAMAGED))


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault as it happened. Times are nanoseconds from the start of the run; None where it was never reached.

    `proofs` and `undone` have one entry for each of its `specs`, in their order, as far as they were reached. The window in
    which the database is measured runs from `in_force`, when the last change had been made, to `heal_began`. `sides` are the
    groups of nodes that the network let work together while it was in force, largest first, together with whatever other
    fault was (see `sides`). `primary` is the node that was primary when the targets were resolved, None for a leaderless
    database. `detail` says why nothing was done, where nothing was.
    """

    MOMENTS: ClassVar[tuple[str, ...]] = ("started", "in_force", "heal_began", "healed")

    id: int
    nemesis: str
    scenario: str
    started: Time
    specs: tuple[Spec, ...] = ()
    in_force: Time | None = None
    heal_began: Time | None = None
    healed: Time | None = None
    proofs: tuple[Proof, ...] = ()
    undone: tuple[Proof, ...] = ()
    sides: tuple[Nodes, ...] = ()
    primary: str | None = None
    detail: str = ""

    @property
    def bit(self) -> bool:
        """Whether it did something, and probes proved that all of it took effect, exactly as intended, and held."""
        return bool(self.specs) and len(self.proofs) == len(self.specs) and all(proof.holds for proof in self.proofs)

    @property
    def proven(self) -> int | None:
        """When probes had seen all of it; None where they never did."""
        if not self.specs or len(self.proofs) < len(self.specs) or self.in_force is None:
            return None
        return max(proof.at for proof in self.proofs)

    @property
    def spread(self) -> int:
        """Nanoseconds between its first change and its last."""
        return _spread(self.proofs)

    @property
    def heal_spread(self) -> int:
        """The same of its undoing."""
        return _spread(self.undone)

    @property
    def wrong(self) -> tuple[Place, ...]:
        """Where probes saw something else than was intended."""
        return _ordered(place for proof in self.proofs for place in proof.wrong)

    @property
    def heal_wrong(self) -> tuple[Place, ...]:
        """The same after it was undone."""
        return _ordered(place for proof in self.undone for place in proof.wrong)

    @property
    def cut(self) -> tuple[Link, ...]:
        """The links that it was to cut, in order; none where it has nothing to do with links."""
        return tuple(sorted({link for spec in self.specs if isinstance(spec, Cut) for link in spec.links}))

    @property
    def observed_cut(self) -> tuple[Link, ...]:
        """The links over which the probes found nothing to pass."""
        proofs = (proof for spec, proof in zip(self.specs, self.proofs, strict=False) if isinstance(spec, Cut))
        return tuple(sorted({place for proof in proofs for place in proof.measured if not isinstance(place, str)}))

    @property
    def struck(self) -> Nodes:
        """The nodes that it did something to themselves, not to their links, in order."""
        return tuple(sorted({node for spec in self.specs if isinstance(spec, OnNodes) for node in spec.nodes}, key=natural))

    @property
    def out(self) -> Nodes:
        """The nodes whose servers it had down or standing still, in order; those that it has come and go are none of them."""
        return tuple(sorted({
            node for spec in self.specs if isinstance(spec, Pause) or (isinstance(spec, Kill) and spec.down is None)
            for node in spec.nodes
        }, key=natural))

    @property
    def impaired(self) -> tuple[Link, ...]:
        """The links that it did something to other than cutting them for as long as it lasted, in order."""
        return in_order({link for spec in self.specs if isinstance(spec, Impair | Flap) for link in spec.links})

    @property
    def one_way(self) -> Figure | None:
        """How late packets were over links that it delayed, in milliseconds, as the first probes of that measured it."""
        return next((figure for proof in self.proofs for figure in proof.figures if figure.what == ONE_WAY), None)

    @property
    def flapping(self) -> tuple[Link, ...]:
        """The links that it cut and mended in turn, in order."""
        return in_order({link for spec in self.specs if isinstance(spec, Flap) for link in spec.links})

    @property
    def loaded(self) -> bool:
        """Whether it did something to the load."""
        return any(isinstance(spec, OnLoad) for spec in self.specs)

    @property
    def hushed(self) -> frozenset[str]:
        """The homes at which it had nobody call."""
        return frozenset(home for spec in self.specs if isinstance(spec, Hush) for home in spec.homes)

    @property
    def severed(self) -> Nodes:
        """The homes whose clients it cut off from their node, in order."""
        return tuple(sorted({home for spec in self.specs if isinstance(spec, Sever) for home in spec.homes}, key=natural))

    def ended(self, node: str, time: int) -> bool:
        """Whether a server of that node which ended by itself at that time (nanoseconds) did so of an effect of this fault that
        is none on links, processes or clocks, and was put right with it."""
        within = self.healed is not None and self.started <= time <= self.healed
        return within and any(isinstance(spec, Other) and node in spec.nodes for spec in self.specs)

    @property
    def meanwhile(self) -> str:
        """What it was like for the nodes that it did something to, in everyday words; empty where it did more than one thing,
        or its spec does not say."""
        only = self.specs[0] if len(self.specs) == 1 else None
        return only.meanwhile if isinstance(only, OnNodes) else ""

    def done_to(self, node: str) -> str:
        """What it did to that node itself: `pause n1`; empty where that is nothing."""
        return " + ".join(spec.doing(()) for spec in self.specs if isinstance(spec, OnNodes) and node in spec.nodes)

    def doing(self, names: Sequence[str]) -> str:
        """What it does, in the words of its specs: `partition {n1} | {n2 n3}`, `kill n1`. `names` are all nodes."""
        return " + ".join(spec.doing(names) for spec in self.specs) or f"{self.scenario}: nothing was done"

    def proof(self, names: Sequence[str]) -> str:
        """What its probes saw, in a few words, and the spread."""
        told = [spec.proven(proof, names) for spec, proof in zip(self.specs, self.proofs, strict=False)]
        return ", ".join([*told, f"spread {self.spread / 1e6:.0f} ms"]) if told else self.detail

    def undoing(self) -> str:
        """What its end is called: `heal`, `resume`."""
        return " + ".join(dict.fromkeys(spec.undoing for spec in self.specs))

    def heal_proof(self, names: Sequence[str]) -> str:
        """What the probes saw after its end."""
        return ", ".join(spec.undone(proof, names) for spec, proof in zip(self.specs, self.undone, strict=False))


def parted(names: Sequence[str], links: Sequence[Link]) -> str:
    """What is left where these links are cut: `{n1} | {n2 n3}`, or the links where the sides alone do not tell it."""
    parts = sides(names, links)
    between = {(a, b) for side in parts for other in parts if side != other for a in side for b in other}
    return told(parts) if between == set(links) else ", ".join(map(_place, links))


def _servers(nodes: Nodes) -> str:
    return f"the {'server' if len(nodes) == 1 else 'servers'} on {listed(nodes)}"


def _was(nodes: Nodes) -> str:
    return "was" if len(nodes) == 1 else "were"


def _targets(what: str, given: Sequence[Place]) -> str:
    """What is wrong with the list of what it is done to."""
    twice = [one for at, one in enumerate(given) if one in given[:at]]
    return f"it names no {what}" if not given else f"it names {_place(twice[0])} twice" if twice else ""


def _beyond(what: str, value: float, low: float, high: float) -> str:
    """Where a number is beyond its bounds, or none at all, what they are."""
    return "" if low <= value <= high else f"{what} is {value:,.12g}: it must be from {low:,.12g} to {high:,.12g}"


def places(wrong: Sequence[Place]) -> str:
    """The first of some places, and how many more there are: `n1→n2, n1→n3 and 4 more`."""
    told = ", ".join(map(_place, wrong[:3]))
    return f"{told} and {len(wrong) - 3} more" if len(wrong) > 3 else told


def _place(place: Place) -> str:
    return place if isinstance(place, str) else "→".join(place)


def _ordered(wrong: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(sorted(set(wrong), key=lambda place: (isinstance(place, str), place)))


def _spread(proofs: Sequence[Proof]) -> int:
    if not proofs:
        return 0
    return max(proof.acted for proof in proofs) - min(proof.acted - proof.spread for proof in proofs)


class PlainFault(msgspec.Struct, frozen=True, kw_only=True):
    """A partition as journals up to format 2 tell it; `fault()` makes today's of it."""

    id: int
    nemesis: str
    scenario: str
    started: Time
    in_force: Time | None = None
    proven: Time | None = None
    heal_began: Time | None = None
    healed: Time | None = None
    cut: tuple[Link, ...] = ()
    observed_cut: tuple[Link, ...] = ()
    wrong: tuple[Link, ...] = ()
    heal_wrong: tuple[Link, ...] = ()
    sides: tuple[Nodes, ...] = ()
    primary: str | None = None
    spread: int = 0
    heal_spread: int = 0
    detail: str = ""

    def fault(self) -> Fault:
        """Today's. It did not tell when it was in force: from its first change on for as long as its spread."""
        tried = self.proven is not None or bool(self.wrong)
        acted = self.in_force if self.in_force is not None else self.started + self.spread
        proofs: tuple[Proof, ...] = ()
        undone: tuple[Proof, ...] = ()
        if tried:
            at = acted if self.proven is None else self.proven
            proofs = (Proof(holds=self.proven is not None and not self.wrong, acted=acted, at=at, spread=self.spread,
                            wrong=self.wrong, measured=self.observed_cut),)
        if self.heal_began is not None:
            end = self.heal_began + self.heal_spread
            undone = (Proof(holds=not self.heal_wrong, acted=end, at=self.healed or end, spread=self.heal_spread,
                            wrong=self.heal_wrong),)
        return Fault(
            id=self.id, nemesis=self.nemesis, scenario=self.scenario, started=self.started,
            specs=(Cut(self.cut),) if self.cut else (),  # one that cut nothing was none
            in_force=acted if self.proven is not None else None,
            heal_began=self.heal_began, healed=self.healed, proofs=proofs, undone=undone, sides=self.sides,
            primary=self.primary, detail=self.detail,
        )
