"""A cycle of transactions as a picture: each one's name and client, and an arrow to the one that must come after it."""

from __future__ import annotations

from math import cos, hypot, pi, sin

from markupsafe import Markup

from splitbrain.checkers.verdict import Anomaly
from splitbrain.reports.page.drawing import canvas, markup, put

RADIUS, NODE, MARGIN = 92.0, 24.0, 46.0
BEND = 0.18
"""How far an arrow bends out of the straight line, as a share of its length: two that go back and forth stay apart."""


def draw(anomaly: Anomaly) -> Markup:
    """The cycle of an anomaly, clockwise; pointing at an arrow tells what it rests on."""
    round_trip = [edge.source for edge in anomaly.cycle]
    many = len(round_trip)
    middle = RADIUS + NODE + MARGIN
    angle = {place: 2 * pi * at / many for at, place in enumerate(round_trip)}
    at = {place: (middle + RADIUS * sin(turn), middle + RADIUS * -cos(turn)) for place, turn in angle.items()}
    root = canvas(2 * middle, 2 * middle, "; ".join(edge.sentence for edge in anomaly.cycle), "cycle")
    head = put(put(root, "defs", ""), "marker", "", id="arrow", viewBox="0 0 8 8", refX=7.0, refY=4.0, markerWidth=7.0,
               markerHeight=7.0, orient="auto")
    put(head, "path", "arrow-head", d="M0 0 L8 4 L0 8 z")
    for edge in anomaly.cycle:
        if edge.source not in at or edge.target not in at:
            continue
        (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
        length = hypot(x2 - x1, y2 - y1) or 1.0
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        # Bent outwards, to the left of the way, which goes clockwise.
        cx, cy = (x1 + x2) / 2 + BEND * length * uy, (y1 + y2) / 2 - BEND * length * ux
        sx, sy = _towards(x1, y1, cx, cy)
        tx, ty = _towards(x2, y2, cx, cy)
        way = f"M{sx:.1f} {sy:.1f} Q{cx:.1f} {cy:.1f} {tx:.1f} {ty:.1f}"
        put(root, "path", f"dependency {edge.kind}", hint=edge.sentence, d=way, marker_end="url(#arrow)")
        lx, ly = (sx + 2 * cx + tx) / 4 + 12 * uy, (sy + 2 * cy + ty) / 4 - 12 * ux
        put(root, "text", "dependency-kind", edge.kind, hint=edge.sentence, x=lx, y=ly + 4, text_anchor="middle")
    for place, (x, y) in at.items():
        operation = anomaly.operations[place]
        put(root, "circle", "transaction", cx=x, cy=y, r=NODE)
        put(root, "text", "transaction-name", f"T{place + 1}", x=x, y=y, text_anchor="middle")
        put(root, "text", "transaction-client", f"client {operation.process}"[:12], x=x, y=y + 12, text_anchor="middle")
    return markup(root)


def _towards(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """The point on a transaction's circle on the way to another point."""
    length = hypot(to_x - x, to_y - y) or 1.0
    reach = NODE + 2
    return x + (to_x - x) * reach / length, y + (to_y - y) * reach / length
