"""What there is to choose from: databases with their variants, workloads, nemeses, testbeds."""

from __future__ import annotations

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import UsageError


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A registered name and what it is. A database that cannot be loaded has its `problem` in place of variants."""

    name: str
    summary: str = ""
    problem: str = ""
    variants: tuple[Entry, ...] = ()


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
