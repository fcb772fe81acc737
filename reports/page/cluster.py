"""The partition as a picture: the nodes of the cluster, and which links between them were cut."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from xml.etree import ElementTree as ET

from markupsafe import Markup

from splitbrain.harness.history.fault import Fault, Link
from splitbrain.reports.page.drawing import canvas, markup, put
from splitbrain.reports.wording import side

SIZE, RADIUS, NODE = 200.0, 68.0, 17.0


def draw(nodes: Sequence[str], fault: Fault | None = None) -> Markup:
    """The cluster while that fault lasted, as probes found it (as intended where they never ran); None: the whole cluster."""
    cut: frozenset[Link] = frozenset()
    wrong: frozenset[Link] = frozenset()
    side_of: dict[str, int] = {}
    struck: tuple[str, ...] = ()
    title = "all links up"
    if fault is not None:
        cut = frozenset(fault.observed_cut if fault.proven is not None else fault.cut)
        wrong = frozenset(place for place in fault.wrong if not isinstance(place, str))
        struck = fault.struck
        for number, members in enumerate(fault.sides):
            for node in members:
                side_of.setdefault(node, number)
        title = f"{fault.scenario}: " + (fault.doing(nodes) if struck else "sides " + " and ".join(map(side, fault.sides)))
    middle, top = SIZE / 2, RADIUS + NODE + 6
    step = 2 * pi / max(1, len(nodes))
    at = {node: (middle + RADIUS * sin(i * step), top - RADIUS * cos(i * step)) for i, node in enumerate(nodes)}
    root = canvas(SIZE, max((y for _, y in at.values()), default=top) + NODE + 6, title, "cluster")
    for i, a in enumerate(nodes):
        for b in nodes[i + 1 :]:
            _link(root, a, b, at, cut, wrong)
    primary = fault.primary if fault is not None else None
    for node in nodes:
        x, y = at[node]
        if node == primary:
            put(root, "circle", "primary", cx=x, cy=y, r=NODE + 4, hint="primary when the fault began")
        put(root, "circle", f"node {'struck' if node in struck else f'side-{side_of.get(node, 0) % 6}'}", cx=x, cy=y, r=NODE)
        put(root, "text", "node-name", node[:6], x=x, y=y + 4.5, text_anchor="middle")
    return markup(root)


def _link(
    root: ET.Element, a: str, b: str, at: dict[str, tuple[float, float]], cut: frozenset[Link], wrong: frozenset[Link]
) -> None:
    (x1, y1), (x2, y2) = at[a], at[b]
    there, back = (a, b) in cut, (b, a) in cut
    kind = "link wrong" if (a, b) in wrong or (b, a) in wrong else "link cut" if there and back else "link"
    state = "cut" if there and back else "up" if not (there or back) else f"only {a} to {b}" if back else f"only {b} to {a}"
    put(root, "line", kind, hint=f"{a} and {b}: {state}", x1=x1, y1=y1, x2=x2, y2=y2)
    if there == back:
        return
    (sx, sy), (tx, ty) = ((x1, y1), (x2, y2)) if back else ((x2, y2), (x1, y1))
    length = ((tx - sx) ** 2 + (ty - sy) ** 2) ** 0.5
    ux, uy = (tx - sx) / length, (ty - sy) / length
    # The arrow's point touches the node's rim.
    px, py = tx - ux * (NODE + 2), ty - uy * (NODE + 2)
    bx, by = px - ux * 11, py - uy * 11
    points = f"{px:.1f},{py:.1f} {bx - uy * 5:.1f},{by + ux * 5:.1f} {bx + uy * 5:.1f},{by - ux * 5:.1f}"
    put(root, "polygon", "arrow", points=points)
