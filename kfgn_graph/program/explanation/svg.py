"""The rendering of a diagram as a self-contained SVG file, for light and dark mode."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import sqrt

from kfgn_graph.program.explanation.diagram import Diagram, Edge, Node
from kfgn_graph.program.explanation.formulas import used_for_inputs, used_for_outputs
from kfgn_graph.program.explanation.placing import Placement, placed

HEIGHTS = {"input": 32, "layer": 58, "function": 28, "sum": 26, "loss": 36}
GAP, MARGIN, TOP, LANE = 24, 28, 74, 16
WIDEST, NARROWEST = 200.0, 22.0
LETTER = 7.0
"""The approximate width of a letter, since an SVG file cannot measure text."""
LONGEST_NAME = 30
LABEL_GAP = 16
STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
       font-size: 13px; fill: #1b2530; }
.paper { fill: #ffffff; }
.muted { fill: #57636f; font-size: 12px; }
.head { font-size: 17px; font-weight: 600; }
.name { font-weight: 600; }
.middle { text-anchor: middle; }
.on { fill: #ffffff; font-weight: 600; }
.layer { fill: #2b6ca3; }
.loss { fill: #a8480f; }
.function, .input, .sum { fill: #e8edf2; stroke: #8a96a3; }
.edge { fill: none; stroke: #8a96a3; stroke-width: 1.5; }
.target { stroke-dasharray: 5 4; }
.tip { fill: #8a96a3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8edf2; }
  .paper { fill: #14191f; }
  .muted { fill: #a4b0bc; }
  .on { fill: #ffffff; }
  .function, .input, .sum { fill: #29323c; stroke: #73808d; }
  .edge { stroke: #73808d; }
  .tip { fill: #73808d; }
}
"""


def svg_of(diagram: Diagram, title: str, subtitle: str, method: str) -> str:
    """Return the SVG document of a diagram.

    Parameters
    ----------
    diagram : Diagram
        The diagram from :func:`kfgn_graph.program.explanation.diagram.diagram_of`.
    title, subtitle : str
        The two lines of text above the diagram.
    method : str
        The method that determines the factors of the layers.
    """
    return _Drawing(diagram, method).text(title, subtitle)


class _Drawing:
    """A drawing in pixels. ``_x`` and ``_y`` hold the centres of the nodes."""

    def __init__(self, diagram: Diagram, method: str) -> None:
        self._diagram, self._method = diagram, method
        self._placement: Placement = placed(diagram)
        widths = [w for n in diagram.nodes if n.layer for w in (n.layer.inputs, n.layer.outputs)]
        self._greatest = max(widths, default=1)
        lanes = max(self._placement.lanes.values(), default=-1) + 1
        self._left = MARGIN + LANE * lanes
        self._pitch = WIDEST + LABEL_GAP + self._label_width() + MARGIN
        self._x = [self._left + WIDEST / 2 + self._pitch * c for c in self._placement.columns]
        self._y, self._bottom = self._heights()

    def _label_width(self) -> float:
        texts = [line for node in self._diagram.nodes for line in self._labels(node)]
        return LETTER * max((len(text) for text in texts), default=0)

    def _heights(self) -> tuple[list[float], float]:
        rows = self._placement.rows
        tallest = [0] * (max(rows) + 1)
        for node, row in zip(self._diagram.nodes, rows, strict=True):
            tallest[row] = max(tallest[row], HEIGHTS[node.kind])
        middles, y = [], float(TOP)
        for height in tallest:
            middles.append(y + height / 2)
            y += height + GAP
        return [middles[row] for row in rows], y - GAP + MARGIN

    def text(self, title: str, subtitle: str) -> str:
        width = self._left + self._pitch * (max(self._placement.columns) + 1)
        width = max(width, MARGIN * 2 + LETTER * max(1.4 * len(title), len(subtitle)))
        description = "; ".join(self._told(node) for node in self._diagram.nodes)
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {self._bottom:.0f}"'
            f' width="{width:.0f}" height="{self._bottom:.0f}" role="img"'
            ' aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            '<rect class="paper" width="100%" height="100%"/>',
            f'<text class="head" x="{MARGIN}" y="32">{escape(title)}</text>',
            f'<text class="muted" x="{MARGIN}" y="52">{escape(subtitle)}</text>',
            *(self._edge(edge) for edge in self._diagram.edges),
            *(self._node(place) for place in range(len(self._diagram.nodes))),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _told(self, node: Node) -> str:
        return " ".join([node.kind, node.title, *self._labels(node)[1:]])

    def _labels(self, node: Node) -> list[str]:
        """Return the lines of text beside a layer: its name, its shape and its factors."""
        layer = node.layer
        if layer is None:
            return []
        shape = f"{layer.inputs} → {layer.outputs}" + ("" if layer.bias else ", no bias")
        if layer.positions > 1:
            shape += f", at {layer.positions} positions"
        by_inputs = used_for_inputs(self._method)
        lines = [shortened(node.title), shape]
        if by_inputs:
            by_outputs = used_for_outputs(self._method, layer)
            lines.append(f"Q {layer.q}² by {by_inputs}, G {layer.g}² by {by_outputs}")
        return [line.replace("by from", "from") for line in lines]

    def _node(self, place: int) -> str:
        node, x, y = self._diagram.nodes[place], self._x[place], self._y[place]
        height = HEIGHTS[node.kind]
        if node.layer is not None:
            return self._layer(node, x, y)
        title = shortened(node.title)
        if node.kind == "sum":
            return f'<circle class="sum" cx="{x:.1f}" cy="{y:.1f}" r="13"/>' + _middle(x, y, title)
        width = max(64.0, LETTER * len(title) * 1.05 + 24)
        radius = {"function": height / 2, "loss": 6}.get(node.kind, 0)
        box = (
            f'<rect class="{node.kind}" x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" '
            f'width="{width:.1f}" height="{height}" rx="{radius}"/>'
        )
        return box + _middle(x, y, title, "on" if node.kind == "loss" else "")

    def _layer(self, node: Node, x: float, y: float) -> str:
        """Draw a layer as a trapezoid. Its top and bottom show the input and output widths."""
        assert node.layer is not None
        height = HEIGHTS["layer"]
        above, below = (self._width(n) / 2 for n in (node.layer.inputs, node.layer.outputs))
        top, bottom = y - height / 2, y + height / 2
        corners = [(x - above, top), (x + above, top), (x + below, bottom), (x - below, bottom)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        labels = self._labels(node)
        at, first = x + WIDEST / 2 + LABEL_GAP, y + 4.5 - 8.5 * (len(labels) - 1)
        lines = [
            f'<text class="{"muted" if row else "name"}" x="{at:.1f}" y="{first + 17 * row:.1f}">'
            f"{escape(line)}</text>"
            for row, line in enumerate(labels)
        ]
        full = f"<title>{escape(node.title)}</title>"
        return f'<g>{full}<polygon class="layer" points="{points}"/>{"".join(lines)}</g>'

    def _width(self, units: int) -> float:
        return max(NARROWEST, WIDEST * sqrt(units / self._greatest))

    def _edge(self, edge: Edge) -> str:
        start, end = self._diagram.nodes[edge.start], self._diagram.nodes[edge.end]
        x0, y0 = self._x[edge.start], self._y[edge.start] + HEIGHTS[start.kind] / 2
        x1, y1 = self._x[edge.end], self._y[edge.end] - HEIGHTS[end.kind] / 2
        lane = self._placement.lanes.get(edge)
        if lane is not None:
            path = self._by_lane(x0, y0, x1, y1, lane)
        elif x0 == x1:
            path = f"M{x0:.1f} {y0:.1f} V{y1 - 5:.1f}"
        else:
            path = self._across(x0, y0, x1, y1)
        kind = "edge target" if edge.target else "edge"
        return f'<path class="{kind}" d="{path}"/>' + _tip(x1, y1)

    @staticmethod
    def _across(x0: float, y0: float, x1: float, y1: float) -> str:
        """Draw an edge that goes down, then sideways just above its end, then down."""
        aside, side, r = y1 - GAP / 2, 1 if x1 > x0 else -1, 7
        return (
            f"M{x0:.1f} {y0:.1f} V{aside - r:.1f} q0 {r} {side * r} {r} H{x1 - side * r:.1f} "
            f"q{side * r} 0 {side * r} {r} V{y1 - 5:.1f}"
        )

    def _by_lane(self, x0: float, y0: float, x1: float, y1: float, lane: int) -> str:
        """Draw an edge that goes left below its start, down its lane, and back above its end."""
        x, r, out, back = self._left - LANE * (lane + 1) + 4, 7, y0 + GAP / 2, y1 - GAP / 2
        return (
            f"M{x0:.1f} {y0:.1f} V{out - r:.1f} q0 {r} {-r} {r} H{x + r:.1f} q{-r} 0 {-r} {r} "
            f"V{back - r:.1f} q0 {r} {r} {r} H{x1 - r:.1f} q{r} 0 {r} {r} V{y1 - 5:.1f}"
        )


def shortened(name: str) -> str:
    """Return a name cut to the greatest length that is drawn."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _middle(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text class="middle {more}" x="{x:.1f}" y="{y + 4.5:.1f}">{escape(text)}</text>'


def _tip(x: float, y: float) -> str:
    """Draw the tip of an arrow that ends at a point."""
    corners: Sequence[tuple[float, float]] = [(x, y), (x - 4, y - 7), (x + 4, y - 7)]
    return (
        '<polygon class="tip" points="' + " ".join(f"{a:.1f},{b:.1f}" for a, b in corners) + '"/>'
    )
