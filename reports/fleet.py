"""The runs of a suite that go on at once, here or on several machines: a line for each, and what is left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from splitbrain.harness.plan import Plan
from splitbrain.reports.terminal import headline
from splitbrain.reports.wording import printable, time_left


class Fleet:
    """Tells who runs what, and what it says. On a terminal a table stands below what is told, a row for each run that goes on;
    elsewhere a line is printed when a run begins and when it ends. A context manager; `total` runs are in the suite, of which
    `done` were done before."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._total = total
        self._before = done
        self._ended: set[int] = set()
        self._began = time.monotonic()
        self._rows: dict[int, tuple[str, str, str]] = {}
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=True)

    def __enter__(self) -> Fleet:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begins(self, number: int, plan: Plan, where: str) -> None:
        """A run begins, on a machine if that has a name."""
        self._rows[number] = (where, headline(plan, {}), "")
        if self._live is None:
            self._say(f"{self._run(number, where)}: {headline(plan, {})}")

    def says(self, number: int, line: str) -> None:
        """A line of a run's own."""
        if number in self._rows:
            where, what, _ = self._rows[number]
            self._rows[number] = (where, what, " ".join(printable(line, 200).split()))

    def ended(self, number: int, told: str) -> None:
        """A run came back, or will not: what it showed, or why it showed nothing."""
        where, what, _ = self._rows.pop(number, ("", "", ""))
        self._ended.add(number)
        left = self._left()
        self._say(f"{self._run(number, where)}: {what}: {told}{left and f' ({left})'}")

    def note(self, text: str) -> None:
        """Something happened that is of no one run."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(Text(printable(text, 1000)), soft_wrap=self._live is None)

    def _run(self, number: int, where: str) -> str:
        return f"run {number + 1} of {self._total}{where and ' on '}{where}"

    def _left(self) -> str:
        done = self._before + len(self._ended)
        rest = time_left(time.monotonic() - self._began, len(self._ended), self._total - done)
        return rest and f"{done} of {self._total} done, {rest}"

    def _table(self) -> Table:
        shown = Table(box=None, pad_edge=False, header_style="dim", caption=self._left() or None, caption_justify="left")
        for column in ("run", "on", "what", "now"):
            shown.add_column(column, no_wrap=True, overflow="ellipsis", ratio=3 if column in ("what", "now") else None)
        for number, row in sorted(self._rows.items()):
            shown.add_row(str(number + 1), *map(Text, row))
        if not self._rows:
            shown.add_row("", "", Text("waiting for a worker"), "")
        return shown
