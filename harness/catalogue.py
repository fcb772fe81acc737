"""What there is to choose from, as a table: databases with their variants, workloads, nemeses, testbeds."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import UsageError


def catalogue() -> Group:
    """The registered names, a line each."""
    databases = _table("database", "variant", "what it is")
    for name in registry.names("databases"):
        try:
            database: type[Database] = registry.look_up("databases", name)
        except UsageError as error:
            databases.add_row(name, "", str(error))
            continue
        for number, variant in enumerate(database.variants):
            databases.add_row(name if number == 0 else "", variant.name, variant.summary)
    others = _table("", "name", "what it does")
    groups: tuple[tuple[registry.Group, str], ...] = (
        ("workloads", "workload"), ("nemeses", "nemesis"), ("testbeds", "testbed"),
    )
    for group, word in groups:
        for number, name in enumerate(registry.names(group)):
            others.add_row(word if number == 0 else "", name, registry.look_up(group, name).summary)
    return Group(databases, others)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1])
    return table
