"""Sides: the groups of nodes that a network lets work together, and how they are spelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

Link = tuple[str, str]
"""An ordered pair of nodes: packets from the first to the second."""

Nodes = tuple[str, ...]


def sides(names: Sequence[str], cut: Iterable[Link], out: Iterable[str] = ()) -> tuple[Nodes, ...]:
    """The groups of nodes that can work together where these links are cut and these nodes are `out` (down, or standing
    still), largest first, nodes in the usual order: the strongly connected parts of the network. A node that only sends, or
    only receives, is a side of its own.

    What is cut off stays cut off whatever else is done to it, so a node that is out belongs to the side that the network
    leaves it on. It is a side of its own where the network alone makes no sides, and where its side falls apart without it.
    """
    lost, gone = set(cut), set(out)
    network = _connected(names, lost)
    parts: list[Nodes] = []
    for whole in network:
        going = _connected([one for one in whole if one not in gone], lost)
        if len(network) > 1 and len(going) < 2:
            parts.append(whole)
        else:
            parts += [*going, *((one,) for one in whole if one in gone)]
    return tuple(sorted(parts, key=lambda part: (-len(part), natural(part[0]))))


def _connected(names: Sequence[str], lost: Set[Link]) -> set[Nodes]:
    """The strongly connected parts of these nodes, nodes in the usual order."""
    reach = {a: {b for b in names if b == a or (a, b) not in lost} for a in names}
    for middle in names:
        for near in names:
            if middle in reach[near]:
                reach[near] |= reach[middle]
    return {tuple(sorted((b for b in reach[a] if a in reach[b]), key=natural)) for a in names}


def apart(parts: Iterable[Nodes], some: Iterable[str]) -> tuple[Nodes, ...]:
    """The same parts, where these nodes are one of their own: those whose clients were cut off from their node."""
    own = tuple(sorted(set(some), key=natural))
    return tuple(filter(None, (*(tuple(node for node in part if node not in own) for part in parts), own)))


def natural(name: str) -> tuple[int, str]:
    """The key by which nodes are put in order: n2 before n10."""
    return len(name), name


def in_order(links: Iterable[Link]) -> tuple[Link, ...]:
    """Links in the order of their nodes."""
    return tuple(sorted(links, key=lambda link: (natural(link[0]), natural(link[1]))))


def group(nodes: Iterable[str]) -> str:
    """A side in words: `{n1 n2}`."""
    return "{" + " ".join(nodes) + "}"


def listed(names: Sequence[str]) -> str:
    """Names one after another, as a sentence has them: `n1, n2 and n3`; nothing for none."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def told(parts: Iterable[Nodes]) -> str:
    """All sides in words, the smallest first: `{n1} | {n2 n3}`."""
    return " | ".join(map(group, sorted(parts, key=lambda side: (len(side), side))))
