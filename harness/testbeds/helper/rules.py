"""The machine's firewall, as far as it is ours: a chain for cuts in the table `filter`, and one for queues in `mangle`.

Nothing can cut the controller off, nor hold its packets back: in either table INPUT leads to the chain `GATE`, which first
returns what belongs to the controller's connections and only then leads to the chain that rules are written into.

A node whose network is made anew is kept from being spoken to until its own rules are there: its peers lose what they send to
it, in the chain `AWAY` of OUTPUT.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds.helper.machine import which

GATE = "SPLITBRAIN-GATE"
CHAIN = "SPLITBRAIN"
AWAY = "SPLITBRAIN-AWAY"
WAIT = "--wait=5"
TABLES = ("filter", "mangle")
PROGRAMS = ("iptables", "ip6tables")
_JUMPS = (("-A INPUT ", GATE), ("-A OUTPUT ", AWAY))


def chains(program: str, table: str) -> list[str]:
    """The lines of a table's INPUT that lead to our gate, and of our chains, as `iptables -S` prints them; none where this
    firewall does not exist."""
    path = which(program)
    if path is None:
        return []
    listed = subprocess.run([path, WAIT, "-t", table, "-S"], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if GATE in line or CHAIN in line]


def left() -> list[str]:
    """All such lines, of every table: empty on a machine that no run has."""
    return [line for program, table in _firewalls() for line in chains(program, table)]


def gate(run: str, table: str, gates: Any) -> None:
    """Have a table's INPUT lead to our chain, by the gate, in each firewall. `gates` are the controller's addresses, each with
    its kind and the port here that it is connected to. Raises `OSError`."""
    comment = f'-m comment --comment "{label(run)}"'
    for program, family in zip(PROGRAMS, "46"):  # noqa: B905
        lets = "".join(
            f"-A {GATE} -p tcp -s {address} --dport {port} -j RETURN\n" for kind, address, port in gates if kind == family
        )
        made = f":{GATE} - [0:0]\n:{CHAIN} - [0:0]\n{lets}-A {GATE} -j {CHAIN}\n-I INPUT 1 {comment} -j {GATE}\n"
        if family == "4" or Path("/proc/net/if_inet6").exists():
            restore(program, f"*{table}\n{made}COMMIT\n")


def avoid(run: str, addresses: Collection[str], before: Collection[str]) -> None:
    """Lose what this machine sends to these addresses, of IPv4; with none, lose nothing any more. `before` are those of which
    it was asked last. Raises `OSError`."""
    jump = f'OUTPUT{{}} -m comment --comment "{label(run)}" -j {AWAY}\n'
    if addresses:
        entrance = "" if before else f"-I {jump.format(' 1')}"
        drops = "".join(f"-A {AWAY} -d {address} -j DROP\n" for address in addresses)
        restore("iptables", f"*filter\n:{AWAY} - [0:0]\n{drops}{entrance}COMMIT\n")
    elif before:
        restore("iptables", f"*filter\n:{AWAY} - [0:0]\n-D {jump.format('')}-X {AWAY}\nCOMMIT\n")


def restore(program: str, text: str) -> None:
    """Give a firewall these rules. Raises `OSError` with what it says against them."""
    path = which(f"{program}-restore")
    if path is None:
        raise OSError(0, f"the program {program}-restore is missing")
    done = subprocess.run([path, "--noflush", WAIT], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(0, f"{program}: {' '.join((done.stderr or done.stdout).split())}")


def lift(run: str) -> list[str]:
    """Remove our chains, where they carry the label of this run: exactly them. A line for each that a firewall had."""
    removed = []
    for program, table in _firewalls():
        lines = chains(program, table)
        if not any(f'"{label(run)}"' in line or f" {label(run)} " in line for line in lines):
            continue
        jumps = "".join(
            f"-D{line[2:]}\n" for line in lines for begin, to in _JUMPS if line.startswith(begin) and line.endswith(f"-j {to}")
        )
        ours = [chain for chain in (GATE, CHAIN, AWAY) if f"-N {chain}" in lines]
        emptied, removed_too = ("".join(how.format(chain) for chain in ours) for how in (":{} - [0:0]\n", "-X {}\n"))
        text = f"*{table}\n{emptied}{jumps}{removed_too}COMMIT\n"
        try:
            restore(program, text)
        except OSError:
            continue
        removed.append(f"the chain {CHAIN} of {program} ({table}): lifted")
    return removed


def label(run: str) -> str:
    """The comment that our rules carry."""
    return f"splitbrain {run}"


def _firewalls() -> Iterator[tuple[str, str]]:
    return ((program, table) for program in PROGRAMS for table in TABLES)
