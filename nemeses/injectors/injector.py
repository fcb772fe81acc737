"""What an injector is: it does a spec, proves it by probes, and undoes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Generic, TypeVar

from splitbrain.harness.history.fault import Figure, Proof, Spec
from splitbrain.nemeses.cluster import Cluster

PROVE_TIMEOUT = 1.0
"""How long packets that should pass are waited for, in seconds, before a fault is called wrong."""
HEAL_TIMEOUT = 2.0
"""The same after heal."""
RETURN = 25.0
"""How long, in seconds, a server that was started again may need until it takes connections."""

S = TypeVar("S", bound=Spec)


class Injector(ABC, Generic[S]):
    """Does one spec, and undoes it. `undo` must be right whenever it is called: also where `start` was never reached, or was
    cancelled at any point of it."""

    @abstractmethod
    async def start(self, spec: S, cluster: Cluster) -> Proof:
        """Do it, and prove it."""

    async def during(self, spec: S, cluster: Cluster) -> None:
        """What goes on while it is in force; cancelled before it is undone."""

    async def still(self, spec: S, cluster: Cluster) -> Proof | None:
        """Prove, just before it is undone, that it held to its end; None where there is nothing to prove."""
        return None

    @abstractmethod
    async def undo(self, spec: S, cluster: Cluster) -> Proof:
        """Undo it, and prove that."""


def figure(what: str, unit: str, intended: Sequence[float], seen: Sequence[float]) -> Figure:
    """What was meant and what was seen of it, in the middle; and the least and the most that was seen."""
    if not seen:
        return Figure(what, unit, 0.0, 0.0, 0.0, 0.0)
    numbers = (median(intended), median(seen), min(seen), max(seen))
    return Figure(what, unit, *(round(number, 3) + 0.0 for number in numbers))


def ended_meanwhile(before: Mapping[str, int], cluster: Cluster) -> Proof | None:
    """The proof that servers of some nodes ended by themselves since; None where none did."""
    died = tuple(name for name, times in cluster.deaths(before).items() if times > before[name])
    at = cluster.clock()
    return Proof(holds=False, acted=at, at=at, wrong=died, detail=f"{' '.join(died)} ended by itself") if died else None


def meant_to_serve(nodes: Sequence[str], cluster: Cluster) -> tuple[str, ...]:
    """Those of the nodes whose servers no fault has down or standing still."""
    return tuple(name for name in nodes if name not in cluster.out())


def kept_by_others(nodes: Sequence[str], cluster: Cluster) -> str:
    """Which of the nodes another fault has down or standing still, in words; empty where it has none."""
    held = [name for name in nodes if name in cluster.out()]
    return f"another fault keeps {' '.join(held)}" if held else ""
