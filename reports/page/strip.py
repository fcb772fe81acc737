"""All faults of a run on one line of time, each a link to what it cost: the page's table of contents by the clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from markupsafe import Markup

from splitbrain.checkers.result import Class, Scenario
from splitbrain.reports.page.drawing import canvas, markup, put
from splitbrain.reports.wording import count, moment, plural, printable

WIDTH, HEIGHT, BAR = 960.0, 54.0, 22.0

SEVERITY: tuple[Class, ...] = (
    "neither", "unavailable", "AP", "hybrid", "CP", "unknown", "not-distributed", "not-exercised",
)
"""Classes, the one to look at first at the front."""


def worst_first(rows: Sequence[Scenario]) -> list[Scenario]:
    """The faults by what they cost: lost writes, then anomalies, then the class."""
    return sorted(
        rows, key=lambda row: (-row.lost, -sum(row.anomalies.values()), SEVERITY.index(row.classification), row.fault)
    )


def draw(rows: Sequence[Scenario], extent: tuple[float, float], linked: Collection[int]) -> Markup:
    """The strip over `extent` (seconds). Faults in `linked` have a section `#fault-N`; the others a row in a table."""
    began, ended = extent
    wide = (WIDTH - 2) / max(ended - began, 0.1)
    told = f"{plural(len(rows), 'fault')} from {moment(round(began * 1e9))} to {moment(round(ended * 1e9))}"
    root = canvas(WIDTH, HEIGHT, told, "strip")
    root.set("role", "group")
    put(root, "rect", "strip-run", x=1.0, y=4.0, width=WIDTH - 2, height=BAR)
    free = 0.0
    for row in sorted(rows, key=lambda row: row.started):
        start = row.started if row.in_force is None else row.in_force
        over = ended if row.heal_began is None else row.heal_began
        left, width = 1 + max(0.0, start - began) * wide, max(2.0, (over - start) * wide)
        link = put(root, "a", "", href=f"#fault-{row.fault}" if row.fault in linked else "#all-faults")
        found = ", ".join(f"{name} {count(number)}" for name, number in row.anomalies.items()) or "no anomaly"
        hint = f"fault {row.fault}, {moment(round(start * 1e9))}: {row.label}: {row.classification}, {found}"
        link.set("aria-label", printable(hint))
        put(link, "rect", f"strip-fault {row.classification}{'' if row.bit else ' unproven'}", hint=hint, x=left, y=4.0,
            width=width, height=BAR)
        if left >= free:
            put(root, "text", "note", str(row.fault), x=left, y=BAR + 20)
            free = left + 26
    return markup(root)
