"""The templates of all pages: how they are loaded and what they share."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from splitbrain.reports.wording import count, phrase, plural, printable, sources

STYLE = Path(__file__).parent / "style.css"


def environment() -> jinja2.Environment:
    """Templates in which everything is escaped, whoever it comes from, with the filters that every page has."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("splitbrain.reports.page", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )
    made.filters.update(
        count=count, plural=plural, link=quote, call=lambda op: phrase(op)[0], answer=lambda op: phrase(op)[1],
        source=source,
    )
    return made


def source(of: str) -> Markup:
    """A source, each name in it linked to its address on the web if it has one."""
    told = Markup()
    for name, address in sources(of):
        bare = name.lstrip(" ,;")
        told += printable(name[: len(name) - len(bare)])
        link = Markup('<a href="{}" rel="noreferrer">{}</a>').format(printable(address, 2000), printable(bare))
        told += link if address else printable(bare)
    return told


def style() -> Markup:
    """The style of every page, to be inlined."""
    return Markup(STYLE.read_text("utf-8"))


def _shown(of: object) -> object:
    """Every value that a template prints: hidden characters as escapes, unless it is markup of our own."""
    return printable(of, 4000) if isinstance(of, str) and not isinstance(of, Markup) else of
