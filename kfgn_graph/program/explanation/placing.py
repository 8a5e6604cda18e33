"""The layout of a diagram: rows by the longest path, with branches side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kfgn_graph.program.explanation.diagram import Diagram, Edge


@dataclass(frozen=True)
class Placement:
    """The rows and columns of nodes and the lanes of edges, counted from 0.

    Attributes
    ----------
    rows, columns : sequence of int
        The row and the column of each node.
    lanes : dict of Edge to int
        The lane, beside the nodes, of each edge that skips a row. Edges that overlap have
        different lanes.
    """

    rows: Sequence[int]
    columns: Sequence[int]
    lanes: dict[Edge, int]


def placed(diagram: Diagram) -> Placement:
    """Return a placement with each node below its inputs."""
    rows = _rows(diagram)
    return Placement(rows, _columns(diagram, rows), _lanes(diagram, rows))


def _rows(diagram: Diagram) -> list[int]:
    """Return the length of the longest path to each node.

    A node without inputs is placed one row above its first consumer.
    """
    count = len(diagram.nodes)
    above = _ends(diagram, count, reverse=True)
    below = _ends(diagram, count)
    rows = [0] * count
    for place in range(count):
        rows[place] = max((rows[start] + 1 for start in above[place]), default=0)
    for place in range(count):
        if not above[place] and below[place]:
            rows[place] = min(rows[end] for end in below[place]) - 1
    return rows


def _ends(diagram: Diagram, count: int, reverse: bool = False) -> list[list[int]]:
    ends: list[list[int]] = [[] for _ in range(count)]
    for edge in diagram.edges:
        start, end = (edge.end, edge.start) if reverse else (edge.start, edge.end)
        ends[start].append(end)
    return ends


def _columns(diagram: Diagram, rows: Sequence[int]) -> list[int]:
    """Return the first free column for each node, from the leftmost column of its inputs on."""
    above = _ends(diagram, len(rows), reverse=True)
    taken: set[tuple[int, int]] = set()
    columns = [0] * len(rows)
    inputs_last = sorted(range(len(rows)), key=lambda p: (rows[p], not above[p], p))
    for place in inputs_last:
        column = min((columns[start] for start in above[place]), default=0)
        while (rows[place], column) in taken:
            column += 1
        columns[place] = column
        taken.add((rows[place], column))
    return columns


def _lanes(diagram: Diagram, rows: Sequence[int]) -> dict[Edge, int]:
    """Return a lane for each long edge. Shorter edges are closer to the nodes."""
    long = [edge for edge in diagram.edges if rows[edge.end] - rows[edge.start] > 1]
    lanes: dict[Edge, int] = {}
    for edge in sorted(long, key=lambda e: (rows[e.end] - rows[e.start], rows[e.start])):
        meeting = {
            lane
            for other, lane in lanes.items()
            if rows[other.start] < rows[edge.end] and rows[edge.start] < rows[other.end]
        }
        lanes[edge] = next(lane for lane in range(len(long)) if lane not in meeting)
    return lanes
