"""SVG elements for pages: built as a tree, so that everything in them is escaped; coloured by the page's style sheet."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from markupsafe import Markup

from splitbrain.reports.wording import printable


def canvas(width: float, height: float, title: str, kind: str) -> ET.Element:
    """An empty picture `width` × `height`; `title` is what it says to those who cannot see it."""
    root = ET.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "class": kind, "role": "img"})
    root.set("aria-label", printable(title))
    return root


def put(parent: ET.Element, tag: str, kind: str, text: str = "", *, hint: str = "", **at: float | str) -> ET.Element:
    """A child of that class, with its coordinates; `hint` is shown by a pointer resting on it. `_` in names stands for `-`."""
    child = ET.SubElement(parent, tag, {"class": kind} if kind else {})
    for name, place in at.items():
        child.set(name.replace("_", "-"), place if isinstance(place, str) else f"{place:.1f}")
    child.text = printable(text) if text else None
    if hint:
        ET.SubElement(child, "title").text = printable(hint)
    return child


def markup(root: ET.Element) -> Markup:
    """The picture as text that a template may insert as it is."""
    return Markup(ET.tostring(root, encoding="unicode"))
