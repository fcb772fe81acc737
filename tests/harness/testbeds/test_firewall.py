"""The text of the rules, without root: golden, and against a tiny interpreter of iptables-restore."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.testbeds.firewall import CHAIN, Addresses, install, rules
from splitbrain.harness.testbeds.testbed import Connectivity, everything

NAMES = ("n1", "n2", "n3")
ADDRESSES = {f"n{number}": Addresses(f"198.18.0.{number}", f"fd00:198:18::{number}") for number in range(1, 6)}
THREE = {name: ADDRESSES[name] for name in NAMES}


def test_the_primary_alone() -> None:
    cut = everything(NAMES)
    cut.remove_edges_from([("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n1")])
    texts = rules(everything(NAMES), cut, THREE)
    assert texts["n1"].text() == (
        "# iptables-restore --noflush\n"
        "*filter\n"
        ":SPLITBRAIN - [0:0]\n"
        "-A SPLITBRAIN -s 198.18.0.2/32 -j DROP\n"
        "-A SPLITBRAIN -s 198.18.0.3/32 -j DROP\n"
        "COMMIT\n"
        "# ip6tables-restore --noflush\n"
        "*filter\n"
        ":SPLITBRAIN - [0:0]\n"
        "-A SPLITBRAIN -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-solicitation -j RETURN\n"
        "-A SPLITBRAIN -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-advertisement -j RETURN\n"
        "-A SPLITBRAIN -s fd00:198:18::2/128 -j DROP\n"
        "-A SPLITBRAIN -s fd00:198:18::3/128 -j DROP\n"
        "COMMIT\n"
    )
    assert "198.18.0.1/32" in texts["n2"].ipv4 and "198.18.0.3/32" not in texts["n2"].ipv4


def test_heal_empties_the_chain_and_nothing_else() -> None:
    cut = everything(NAMES)
    cut.remove_edge("n2", "n1")
    texts = rules(cut, everything(NAMES), THREE)
    assert list(texts) == ["n1"]
    assert texts["n1"].ipv4 == texts["n1"].ipv6 == "*filter\n:SPLITBRAIN - [0:0]\nCOMMIT\n"


def test_install() -> None:
    own = Addresses("198.18.0.1", "")
    assert install(own).ipv4 == "*filter\n:SPLITBRAIN - [0:0]\n-I INPUT 1 -j SPLITBRAIN\nCOMMIT\n"
    assert install(own).ipv6 == ""
    assert "ip6tables" not in install(own).text()


@st.composite
def graphs(draw: st.DrawFn) -> Connectivity:
    graph = everything(ADDRESSES)
    graph.remove_edges_from(draw(st.sets(st.sampled_from(sorted(graph.edges)))))
    return graph


class Table:
    """What a chain holds after texts were restored into it, for as much of the language as we write."""

    def __init__(self) -> None:
        self.drops: set[str] = set()

    def restore(self, text: str) -> None:
        lines = text.splitlines()
        assert lines[0] == "*filter" and lines[-1] == "COMMIT"
        for line in lines[1:-1]:
            words = line.split()
            if words[0] == f":{CHAIN}":
                self.drops.clear()
            elif words[-1] == "DROP":
                assert words[:3] == ["-A", CHAIN, "-s"]
                self.drops.add(words[3].split("/")[0])
            else:
                assert "neighbour" in line


@settings(deadline=None)
@given(st.lists(graphs(), min_size=1, max_size=5))
def test_any_sequence_of_connectivities(sequence: list[Connectivity]) -> None:
    tables = {name: (Table(), Table()) for name in ADDRESSES}
    before = everything(ADDRESSES)
    for after in sequence:
        for name, text in rules(before, after, ADDRESSES).items():
            tables[name][0].restore(text.ipv4)
            tables[name][1].restore(text.ipv6)
        for receiver, (table, table6) in tables.items():
            for sender, addresses in ADDRESSES.items():
                if sender != receiver:
                    assert (addresses.ipv4 not in table.drops) == after.has_edge(sender, receiver)
                    assert (addresses.ipv6 not in table6.drops) == after.has_edge(sender, receiver)
            assert ADDRESSES[receiver].ipv4 not in table.drops
        before = after
