"""A report as a reader has it: every text that is shown, with the place where it stands."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

BLOCKS = frozenset({
    "p", "li", "dt", "dd", "h1", "h2", "h3", "td", "th", "figcaption", "summary", "pre", "small", "footer", "text", "title",
    "section", "figure", "div", "header", "main", "body", "ul", "ol", "dl", "table", "tr", "thead", "tbody", "details", "svg",
    "g",
})
"""Elements whose text is one of its own; that of all others (`b`, `span`, `code`) belongs to what they stand in."""
UNSEEN = frozenset({"style", "script", "head"})
VOID = frozenset({"meta", "link", "br", "input", "img", "hr"})


class Block(NamedTuple):
    """One text. `section` is the identifier of the section, `heading` that of the last heading before it (`fault-1`), `row` the
    texts of the row of a table up to this cell, `columns` the heads of that table, `group` the head of its group of rows."""

    section: str
    tag: str
    classes: str
    heading: str
    text: str
    row: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    group: str = ""
    cells: tuple[str, ...] = ()
    """The whole row."""
    within: tuple[str, ...] = ()
    """The classes of all that it stands in."""

    @property
    def column(self) -> str:
        return self.columns[len(self.row)] if len(self.row) < len(self.columns) else ""


class _Open:
    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes, self.parts = tag, attributes, [""]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[_Open] = []
        self.blocks: list[Block] = []
        self.heading = self.group = ""
        self.row: list[str] = []
        self.since = 0
        self.columns: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            if tag == "br":
                self.handle_data(" ")
            return
        if tag in BLOCKS:
            self._told()
        if tag == "table":
            self.columns = []
        elif tag == "tr":
            self.row = []
            self.since = len(self.blocks)
        elif tag == "h3":
            self.heading = dict(attrs).get("id") or ""
        self.open.append(_Open(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self.open and any(one.tag == tag for one in self.open):
            if self.open[-1].tag in BLOCKS:
                self._told()
            last = self.open.pop()
            if last.tag in ("td", "th"):
                if last.tag == "th" and any(one.tag == "thead" for one in self.open):
                    self.columns.append(_plain(last))
                elif last.attributes.get("scope") == "rowgroup":
                    self.group = _plain(last)
                else:
                    self.row += [_plain(last)] + [""] * (int(last.attributes.get("colspan", 1)) - 1)
            if last.tag == "tr":
                self.blocks[self.since:] = [block._replace(cells=tuple(self.row)) for block in self.blocks[self.since:]]
            if last.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        if self.open and not any(one.tag in UNSEEN for one in self.open):
            self._block().parts[-1] += data

    def _block(self) -> _Open:
        return next(one for one in reversed(self.open) if one.tag in BLOCKS or one is self.open[0])

    def _told(self) -> None:
        """The text of the innermost block is told so far: another begins in it, or it ends."""
        if not self.open:
            return
        block = self._block()
        text = " ".join(block.parts[-1].split())
        block.parts.append("")
        group = next((_plain(one) for one in self.open if one.attributes.get("scope") == "rowgroup"), self.group)
        if text:
            self.blocks.append(Block(
                section=next((one.attributes.get("id", "") for one in self.open if one.tag == "section"), "header"),
                tag=block.tag, classes=block.attributes.get("class", ""), heading=self.heading, text=text, row=tuple(self.row),
                columns=tuple(self.columns), group=group,
                within=tuple(one.attributes.get("class", "") for one in self.open),
            ))


def _plain(of: _Open) -> str:
    return " ".join("".join(of.parts).split())


def blocks(page: str) -> list[Block]:
    """All texts of a page, in their order."""
    reader = _Reader()
    reader.feed(page)
    return reader.blocks
