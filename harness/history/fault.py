"""Fault: something the nemesis did to the cluster, with its start, its end and the proof that it took effect."""

from __future__ import annotations

from typing import ClassVar

import msgspec

Link = tuple[str, str]
"""An ordered pair of nodes: packets from the first to the second."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault as it happened. Times are nanoseconds from the start of the run; None where it was never reached.

    The window in which the database is measured runs from `in_force`, when the last node's rule had come into force, to
    `heal_began`; `proven` is when probes had shown it, which comes later. `cut` are the links that were meant to be down,
    `observed_cut` those that probes found down; `wrong` are the links whose probe disagreed with the intention (in either
    direction). `sides` are the strongly connected parts of what was left, largest first. `primary` is the node
    that was primary when the targets were resolved, None for a leaderless database. `spread` is the time between the first
    and the last node's change, in nanoseconds.
    """

    MOMENTS: ClassVar[tuple[str, ...]] = ("started", "in_force", "proven", "heal_began", "healed")

    id: int
    nemesis: str
    scenario: str
    started: int
    in_force: int | None = None
    proven: int | None = None
    heal_began: int | None = None
    healed: int | None = None
    cut: tuple[Link, ...] = ()
    observed_cut: tuple[Link, ...] = ()
    wrong: tuple[Link, ...] = ()
    heal_wrong: tuple[Link, ...] = ()
    sides: tuple[tuple[str, ...], ...] = ()
    primary: str | None = None
    spread: int = 0
    heal_spread: int = 0
    detail: str = ""

    @property
    def bit(self) -> bool:
        """Whether probes proved that it took effect exactly as intended."""
        return self.proven is not None and not self.wrong
