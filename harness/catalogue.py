"""What there is to choose from: databases with their variants, workloads, nemeses, testbeds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Cut, Flap, Sever, Spec
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.partitions import picture


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered name and what it is. A database that cannot be loaded has its `problem` in place of variants."""

    name: str
    summary: str = ""
    problem: str = ""
    variants: tuple[Entry, ...] = ()


class Support(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a workload runs: the `variants` of a `database` that offer what it needs, and what the others `lack`."""

    database: str
    variants: tuple[str, ...] = ()
    lack: dict[str, tuple[str, ...]] = {}


class Drawn(msgspec.Struct, frozen=True):
    """One scenario of a nemesis on five nodes: what it does there, drawn where it is a partition. A schedule takes the `usual`
    ones in turn; the others can be named (`kill:any`)."""

    nemesis: str
    scenario: str
    picture: str
    usual: bool


class Catalogue(msgspec.Struct, frozen=True):
    """Everything that is registered, by kind; names in their order."""

    databases: tuple[Entry, ...]
    workloads: tuple[Entry, ...]
    nemeses: tuple[Entry, ...]
    testbeds: tuple[Entry, ...]


def catalogue() -> Catalogue:
    """What is registered."""
    return Catalogue(
        databases=tuple(map(_database, registry.names("databases"))),
        workloads=_entries("workloads"), nemeses=_entries("nemeses"), testbeds=_entries("testbeds"),
    )


def supports() -> dict[str, tuple[Support, ...]]:
    """Workload → where it runs, and where not and why. A database that cannot be loaded is left out."""
    found: dict[str, list[Support]] = {name: [] for name in registry.names("workloads")}
    for name in registry.names("databases"):
        try:
            variants = registry.look_up("databases", name).variants
        except UsageError:
            continue
        for workload, known in found.items():
            needs = registry.look_up("workloads", workload).needs
            lack = {one.name: tuple(sorted(needs - one.offers)) for one in variants if needs - one.offers}
            known.append(Support(name, tuple(one.name for one in variants if one.name not in lack), lack))
    return {workload: tuple(known) for workload, known in found.items()}


def support_table(found: dict[str, tuple[Support, ...]]) -> Table:
    """The same, as people read it."""
    rows = Table("workload", "needs", "where it runs", box=box.SIMPLE_HEAD, pad_edge=False)
    for workload, known in found.items():
        told = []
        for one in known:
            wanting = ", ".join(sorted({name for lack in one.lack.values() for name in lack}))
            if not one.lack:
                told.append(f"{one.database}: every variant")
            elif one.variants:
                told.append(f"{one.database}: {', '.join(one.variants)}; the others lack {wanting}")
            else:
                told.append(f"not on {one.database}: no {wanting}")
        rows.add_row(workload, "\n".join(sorted(registry.look_up("workloads", workload).needs)), "\n".join(told))
    return rows


def drawn() -> tuple[Drawn, ...]:
    """Every scenario of every nemesis."""
    names = tuple(f"n{number}" for number in range(1, 6))
    view = Outlook(names=names, primary="n1", last_primary="n2", holders={0: ("n4",)}, owners=("n5",),
                   sides=(names[2:], names[:2]))
    found = []
    for name in registry.names("nemeses"):
        nemesis = registry.look_up("nemeses", name)()
        usual = nemesis.scenarios(len(names))
        for scenario in dict.fromkeys((*usual, *nemesis.known(len(names)))):
            specs = nemesis.aim(scenario, view, random.Random(3))
            told = (_picture(names, spec) for spec in specs)
            found.append(Drawn(name, scenario, " + ".join(told), scenario in usual))
    return tuple(found)


def _picture(names: tuple[str, ...], spec: Spec) -> str:
    match spec:
        case Cut():
            return picture(names, spec.links)
        case Flap():
            return f"{picture(names, spec.links)} in turn with {picture(names, ())}"
        case Sever():
            return " | ".join((picture(names, ()), f"clients at {' '.join(spec.homes)}"))
    return spec.doing(names)


def drawn_list(found: Sequence[Drawn]) -> Group:
    """The same, as people read it."""
    lines = [Text("On 5 nodes, of which P is the primary, n1. Nodes between two bars see each other, one in several places is "
                  "a bridge, and an arrow is a link that is up one way.")]
    width = max(len(one.scenario) for one in found if one.usual)
    for name, scenarios in groupby(found, key=lambda one: one.nemesis):
        every = list(scenarios)
        lines.append(Text(f"\n{name}", "bold").append(f"  {registry.look_up('nemeses', name).summary}", "not bold"))
        lines += [Text(f"  {one.scenario:<{width}}  {one.picture}") for one in every if one.usual]
        if runs := _runs(name):
            lines.append(Text(f"  {runs}", "dim"))
        if named := [one.scenario for one in every if not one.usual]:
            lines.append(Text(f"  by name: {name}:{', '.join(named)}", "dim"))
    return Group(*lines)


def _runs(name: str) -> str:
    """Where a nemesis can be done and where not, and why; empty where it can be done to every database."""
    nemesis = registry.look_up("nemeses", name)()
    can: list[str] = []
    cannot: list[str] = []
    for called in registry.names("databases"):
        try:
            database: type[Database] = registry.look_up("databases", called)
        except UsageError:
            continue
        refused: dict[str, list[str]] = {}
        for variant in database.variants:
            refused.setdefault(nemesis.refusal(database, variant), []).append(variant.name)
        able = refused.pop("", [])
        if able:
            can.append(f"{called} ({', '.join(able)})" if refused else called)
        for reason, variants in refused.items():
            told = called if len(variants) == len(database.variants) else f"{called} {', '.join(variants)}"
            cannot.append(f"Not on {told}, which {reason}." if not able else f"The other variants of {called}: it {reason}.")
    return f"on {', '.join(can) or 'no database'}. {' '.join(cannot)}" if cannot else ""


def table(found: Catalogue) -> Group:
    """The same, a line each, as people read it."""
    databases = _table("database", "variant", "what it is")
    for database in found.databases:
        if database.problem:
            databases.add_row(database.name, "", database.problem)
        for number, variant in enumerate(database.variants):
            databases.add_row(database.name if number == 0 else "", variant.name, variant.summary)
    others = _table("", "name", "what it does")
    for word, entries in (("workload", found.workloads), ("nemesis", found.nemeses), ("testbed", found.testbeds)):
        for number, entry in enumerate(entries):
            others.add_row(word if number == 0 else "", entry.name, entry.summary)
    return Group(databases, others)


def _database(name: str) -> Entry:
    try:
        database: type[Database] = registry.look_up("databases", name)
    except UsageError as error:
        return Entry(name, problem=str(error))
    return Entry(name, variants=tuple(Entry(variant.name, variant.summary) for variant in database.variants))


def _entries(group: registry.Group) -> tuple[Entry, ...]:
    return tuple(Entry(name, registry.look_up(group, name).summary) for name in registry.names(group))


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1])
    return table
