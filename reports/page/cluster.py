"""The partition as a picture: the nodes of the cluster, and which links between them were cut; beside them their clients, where
it is these whose links were."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from xml.etree import ElementTree as ET

from markupsafe import Markup

from splitbrain.harness.history.fault import Fault, Link
from splitbrain.reports.page.drawing import canvas, markup, put
from splitbrain.reports.wording import side

SIZE, RADIUS, NODE = 200.0, 68.0, 17.0

CLIENT, BESIDE = 5.0, 42.0
"""Half the edge of the square that stands for a home's clients, and how far outside the ring of nodes it is."""


def draw(nodes: Sequence[str], fault: Fault | None = None, beside: Sequence[Fault] = ()) -> Markup:
    """The cluster while that fault lasted, as probes found it (as intended where they never ran); None: the whole cluster.
    What faults `beside` it did for a part of that time is told apart."""
    cut: frozenset[Link] = frozenset()
    wrong: frozenset[Link] = frozenset()
    side_of: dict[str, int] = {}
    flapping: frozenset[Link] = frozenset()
    struck: tuple[str, ...] = ()
    severed: tuple[str, ...] = ()
    title = "all links up"
    if fault is not None:
        cut = frozenset(fault.observed_cut if fault.proven is not None else fault.cut)
        wrong = frozenset(place for place in fault.wrong if not isinstance(place, str))
        struck, flapping, severed = fault.struck, frozenset(fault.flapping), fault.severed
        for number, members in enumerate(fault.sides):
            for node in members:
                side_of.setdefault(node, number)
        parts = "sides " + " and ".join(map(side, fault.sides))
        title = f"{fault.scenario}: {fault.doing(nodes) if struck or not cut else parts}"
    rim = BESIDE + CLIENT + 6 if severed else NODE + 6
    size, top = SIZE if not severed else 2 * (RADIUS + rim), RADIUS + rim
    step = 2 * pi / max(1, len(nodes))

    def ring(radius: float) -> dict[str, tuple[float, float]]:
        return {node: (size / 2 + radius * sin(i * step), top - radius * cos(i * step)) for i, node in enumerate(nodes)}

    at = ring(RADIUS)
    root = canvas(size, max((y for _, y in at.values()), default=top) + rim, title, "cluster")
    if severed and fault is not None:
        _clients(root, at, ring(RADIUS + BESIDE), severed, fault)
    meanwhile = frozenset(link for other in beside for link in other.cut) - cut
    for i, a in enumerate(nodes):
        for b in nodes[i + 1 :]:
            _link(root, a, b, at, cut, wrong, flapping, meanwhile)
    primary = fault.primary if fault is not None else None
    hit = {node for other in beside for node in other.struck} - {*struck}
    for node in nodes:
        x, y = at[node]
        if node == primary:
            put(root, "circle", "primary", cx=x, cy=y, r=NODE + 4, hint="primary when the fault began")
        kind = "struck" if node in struck else f"side-{side_of.get(node, 0) % 6}"
        put(root, "circle", f"node {kind}{' meanwhile' if node in hit else ''}", cx=x, cy=y, r=NODE,
            hint=f"{node}: struck by another fault for a part of the time" if node in hit else "")
        put(root, "text", "node-name", node[:6], x=x, y=y + 4.5, text_anchor="middle")
    return markup(root)


def _clients(
    root: ET.Element, nodes: dict[str, tuple[float, float]], at: dict[str, tuple[float, float]], severed: Sequence[str],
    fault: Fault,
) -> None:
    """The clients of every home, and whether they had their node: as intended, unless probes disagreed."""
    for home, (x, y) in at.items():
        wrong, lost = home in fault.wrong, home in severed
        state = "not proven to be cut" if wrong else "cut" if lost else "up"
        kind = "link wrong" if wrong else "link cut" if lost else "link"
        put(root, "line", kind, hint=f"clients and {home}: {state}", x1=x, y1=y, x2=nodes[home][0], y2=nodes[home][1])
        put(root, "rect", "clients lost" if lost else "clients", hint=f"clients at {home}", x=x - CLIENT, y=y - CLIENT,
            width=2 * CLIENT, height=2 * CLIENT)


def _link(
    root: ET.Element, a: str, b: str, at: dict[str, tuple[float, float]], cut: frozenset[Link], wrong: frozenset[Link],
    flapping: frozenset[Link], meanwhile: frozenset[Link],
) -> None:
    (x1, y1), (x2, y2) = at[a], at[b]
    there, back = (a, b) in cut, (b, a) in cut
    turns = (a, b) in flapping or (b, a) in flapping
    kind = "link wrong" if (a, b) in wrong or (b, a) in wrong else "link cut" if there and back else "link"
    kind += " flapping" if turns and kind == "link" else ""
    also = kind == "link" and not {(a, b), (b, a)}.isdisjoint(meanwhile)
    kind += " meanwhile" if also else ""
    state = "down and up in turn" if turns else "up" if not there and not back else f"only {a} to {b}"
    state = "cut" if there and back else f"only {b} to {a}" if there else state
    state += ", and cut by another fault for a part of the time" if also else ""
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
