"""From connectivity to the text that `iptables-restore --noflush` is given on each node. Pure: a testbed only runs it.

A link (a, b) is cut on b: b drops what comes from a's addresses, in a chain of our own that is the first thing in INPUT,
so before any rule that lets established connections pass. Resolving addresses (ARP, and for IPv6 the two messages of
neighbour discovery) is not cut: a one-way cut would else, after a while, silence the other direction too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from splitbrain.harness.history.fault import Link
from splitbrain.harness.testbeds.testbed import Connectivity

CHAIN = "SPLITBRAIN"
"""The chain that is ours. Nothing else of a node's firewall is ever touched."""

ARGUMENTS = ("--noflush", "--wait=5")
"""What `iptables-restore` and `ip6tables-restore` are run with: rules of others stay, and the older kind of iptables waits
for its lock, which both of them take."""

_NEIGHBOUR_DISCOVERY = (
    f"-A {CHAIN} -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-solicitation -j RETURN\n"
    f"-A {CHAIN} -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-advertisement -j RETURN\n"
)


FIRST = 22_000
"""The number of the first of our queues: programs that others have take low ones."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a node's packets come from. `ipv6` is empty where it has no IPv6."""

    ipv4: str
    ipv6: str


class Rules(msgspec.Struct, frozen=True):
    """What one node's `iptables-restore --noflush` and `ip6tables-restore --noflush` read. `ipv6` may be empty."""

    ipv4: str
    ipv6: str

    def text(self) -> str:
        """Both, for a person to read."""
        return f"# iptables-restore --noflush\n{self.ipv4}" + (
            f"# ip6tables-restore --noflush\n{self.ipv6}" if self.ipv6 else ""
        )


def install(own: Addresses) -> Rules:
    """Makes the chain, empty, and has INPUT begin with it. To be given once to each node; given again, it would add a
    second jump."""
    text = f"*filter\n:{CHAIN} - [0:0]\n-I INPUT 1 -j {CHAIN}\nCOMMIT\n"
    return Rules(text, text if own.ipv6 else "")


def rules(before: Connectivity, after: Connectivity, addresses: Mapping[str, Addresses]) -> dict[str, Rules]:
    """Node → the text that brings it from one connectivity to the other; nodes for which nothing changes are left out.

    The text empties our chain and fills it again in one transaction, so it does not matter what the chain held, and no
    packet passes between two states. Every node of `addresses` must be in both graphs.
    """
    changed = {}
    for node, own in addresses.items():
        dropped = sorted(set(addresses) - set(after.predecessors(node)) - {node})
        if dropped != sorted(set(addresses) - set(before.predecessors(node)) - {node}):
            ipv6 = [addresses[other].ipv6 for other in dropped if addresses[other].ipv6]
            changed[node] = Rules(
                _refill("", [addresses[other].ipv4 for other in dropped], 32),
                _refill(_NEIGHBOUR_DISCOVERY if ipv6 else "", ipv6, 128) if own.ipv6 else "",
            )
    return changed


def install_queues(own: Addresses) -> Rules:
    """Makes the chain of `queues`, empty, first thing in INPUT of the table mangle, and so before any packet is judged by a
    cut. To be given once to each node."""
    text = f"*mangle\n:{CHAIN} - [0:0]\n-I INPUT 1 -j {CHAIN}\nCOMMIT\n"
    return Rules(text, text if own.ipv6 else "")


def queues(links: Iterable[Link], addresses: Mapping[str, Addresses]) -> dict[str, Rules]:
    """Node → the text with which what comes over these links, and nothing else, goes through a queue of the kernel before it
    is taken: that of the sender's place among the nodes. Where nobody listens to it, packets pass as they come. Resolving
    addresses is left alone."""
    place = {name: number for number, name in enumerate(addresses)}
    text = {}
    for node, own in addresses.items():
        senders = sorted((a for a, b in links if b == node), key=place.__getitem__)
        to = {a: f"-j NFQUEUE --queue-num {FIRST + place[a]} --queue-bypass" for a in senders}
        ipv4 = "".join(f"-A {CHAIN} -s {addresses[a].ipv4}/32 {to[a]}\n" for a in senders)
        ipv6 = "".join(f"-A {CHAIN} -s {addresses[a].ipv6}/128 {to[a]}\n" for a in senders if addresses[a].ipv6)
        text[node] = Rules(
            f"*mangle\n:{CHAIN} - [0:0]\n{ipv4}COMMIT\n",
            f"*mangle\n:{CHAIN} - [0:0]\n{_NEIGHBOUR_DISCOVERY if ipv6 else ''}{ipv6}COMMIT\n" if own.ipv6 else "",
        )
    return text


def _refill(first: str, sources: list[str], prefix: int) -> str:
    drops = "".join(f"-A {CHAIN} -s {source}/{prefix} -j DROP\n" for source in sources)
    return f"*filter\n:{CHAIN} - [0:0]\n{first}{drops}COMMIT\n"
