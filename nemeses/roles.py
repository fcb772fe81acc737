"""Roles: which nodes are meant where a nemesis says "a follower", resolved at the moment of the fault."""

from __future__ import annotations

import random

from splitbrain.harness.history.sides import Nodes, natural
from splitbrain.nemeses.nemesis import NoTarget, Outlook

ROLES = (
    "any", "primary", "follower", "last-primary", "key-holder", "lock-owner", "minority", "quorum", "majority", "all",
)
OWNER = "lock-owner"
"""The role that nobody plays but where clients hold something."""


def each(nodes: int) -> tuple[str, ...]:
    """The names of so many nodes: each is a role that this node alone plays."""
    return tuple(f"n{number}" for number in range(1, nodes + 1))


def played(nodes: int) -> tuple[str, ...]:
    """The roles that some of so many nodes can play."""
    least = {"follower": 2, "minority": 3}
    return (*(role for role in ROLES if nodes >= least.get(role, 1)), *each(nodes))


def majority(nodes: int) -> int:
    """The smallest number of nodes of which there cannot be two sides."""
    return nodes // 2 + 1


def nodes_of(role: str, view: Outlook, rng: random.Random) -> Nodes:
    """The nodes that play a role at this moment. Raises `NoTarget` where none does.

    `any` is one random node, `follower` a random one that is not the primary, `last-primary` the one that was primary before
    the present one; `key-holder` is the node that holds a random key (its shard's primary, or one of its copies), and
    `lock-owner` the home of the client that holds a lock, of several the one that means to longest; `minority` and
    `majority` are as many random nodes as can do nothing, and as few as can do something; `quorum` are as few more
    random ones as leave no majority of those that are up, the last of a quorum where others are down. The name of a node
    is that node.
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
        case "key-holder":
            held = [nodes for _, nodes in sorted(view.holders.items(), key=repr) if nodes]
            if not held:
                raise NoTarget("no node was named as the holder of any key")
            chosen = [rng.choice(rng.choice(held))]
        case "lock-owner":
            if not view.owners:
                raise NoTarget("no client holds a lock")
            chosen = [view.owners[0]]
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
        case _ if role in names:
            chosen = [role]
        case _:
            raise ValueError(f"there is no role '{role}'")
    return tuple(sorted(chosen, key=natural))
