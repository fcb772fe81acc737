"""Roles: which nodes are meant where a nemesis says "a follower", resolved at the moment of the fault."""

from __future__ import annotations

import random

from splitbrain.harness.history.fault import Nodes, natural
from splitbrain.nemeses.nemesis import NoTarget, Outlook

ROLES = ("any", "primary", "follower", "last-primary", "minority", "quorum", "majority", "all")


def majority(nodes: int) -> int:
    """The smallest number of nodes of which there cannot be two sides."""
    return nodes // 2 + 1


def nodes_of(role: str, view: Outlook, rng: random.Random) -> Nodes:
    """The nodes that play a role at this moment. Raises `NoTarget` where none does.

    `any` is one random node, `follower` a random one that is not the primary, `last-primary` the one that was primary before
    the present one; `minority` and `majority` are as many random nodes as can do nothing, and as few as can do something;
    `quorum` are as few more random ones as leave no majority of those that are up, the last of a quorum where others are down.
    """
    names = view.names
    match role:
        case "any":
            chosen = [rng.choice(names)]
        case "primary":
            chosen = [view.first(rng)]
        case "follower":
            primary = view.first(rng)
            chosen = [rng.choice([name for name in names if name != primary])]
        case "last-primary":
            if view.last_primary is None:
                raise NoTarget("the primary has not changed yet")
            chosen = [view.last_primary]
        case "minority":
            chosen = rng.sample(names, (len(names) - 1) // 2)
        case "quorum":
            up = [name for name in names if name not in view.out]
            if len(up) < majority(len(names)):
                raise NoTarget("there is no quorum any more")
            chosen = rng.sample(up, len(up) - majority(len(names)) + 1)
        case "majority":
            chosen = rng.sample(names, majority(len(names)))
        case "all":
            chosen = list(names)
        case _:
            raise ValueError(f"there is no role '{role}'")
    return tuple(sorted(chosen, key=natural))
