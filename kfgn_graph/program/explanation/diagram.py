"""The diagram of a recognised graph: inputs, layers, elementwise functions, sums and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, toposort
from pytensor.scalar.basic import Add
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.shape import SpecifyShape

import kfgn_graph as kfgn
from kfgn_graph.program.explanation.activations import Namer, word_of
from kfgn_graph.program.explanation.layers import LayerShape

Kind = Literal["input", "layer", "function", "sum", "loss"]
TRANSPARENT = (DimShuffle, SpecifyShape)


@dataclass(frozen=True)
class Node:
    """A node of the diagram, drawn as one shape.

    Attributes
    ----------
    kind : {"input", "layer", "function", "sum", "loss"}
        The kind of node, which selects the shape.
    title : str
        The text of the node.
    layer : LayerShape or None
        The shape of the layer; None for other kinds.
    """

    kind: Kind
    title: str
    layer: LayerShape | None = None


@dataclass(frozen=True)
class Edge:
    """An arrow between two nodes, given by their indices.

    ``target`` marks an arrow from the targets to the loss.
    """

    start: int
    end: int
    target: bool = False


@dataclass
class Diagram:
    """Nodes in topological order, and edges between them."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def diagram_of(
    graph: kfgn.LayerGraph, shapes: Sequence[LayerShape], inputs: Sequence[Variable], loss: str
) -> Diagram:
    """Return the diagram of a recognised graph.

    Parameters
    ----------
    graph : LayerGraph
        The graph from :func:`kfgn_graph.trace_layers`.
    shapes : sequence of LayerShape
        The shapes of its layers, in the same order.
    inputs : sequence of variables
        The symbolic inputs of a batch.
    loss : str
        The name of the loss.
    """
    return _Reader(graph, shapes, inputs).read(loss)


class _Reader:
    """A traversal from the inputs to the output.

    ``_places`` maps a variable to the index of the node that computes it.
    """

    def __init__(
        self, graph: kfgn.LayerGraph, shapes: Sequence[LayerShape], inputs: Sequence[Variable]
    ) -> None:
        self._graph, self._inputs = graph, inputs
        self._layers = {
            use.preactivation: (layer, shape)
            for layer, shape in zip(graph.layers, shapes, strict=True)
            for side in layer.sides
            for use in side.uses
        }
        self._order = list(toposort([graph.output]))
        self._clients: dict[Variable, list[Apply]] = {}
        for node in self._order:
            for v in node.inputs:
                self._clients.setdefault(v, []).append(node)
        self._varying = self._dependents()
        self._places: dict[Variable, int] = {}
        self._diagram = Diagram()
        self._namer = Namer()

    def _dependents(self) -> set[Variable]:
        """Return the real variables that depend on the batch, without integers such as lengths."""
        varying: set[Variable] = set(self._inputs)
        for node in self._order:
            if any(v in varying for v in node.inputs):
                varying |= {v for v in node.outputs if _is_real(v)}
        return varying

    def read(self, loss: str) -> Diagram:
        for node in self._order:
            for v in node.outputs:
                if v in self._varying and self._is_boundary(v):
                    self._place(v)
        read = set(explicit_graph_inputs(_beside_output(self._graph)))
        targets = [self._place(v) for v in self._inputs if v in read]
        place = self._add(Node("loss", loss), [self._graph.output])
        self._diagram.edges += [Edge(start, place, target=True) for start in targets]
        return _connected(self._diagram, place)

    def _is_boundary(self, v: Variable) -> bool:
        """Return whether a variable has a node to itself and is not inside a composition."""
        if v is self._graph.output or v.owner is None or v in self._layers:
            return True
        if not isinstance(v.owner.op, Elemwise) or self._branches(v):
            return True
        clients = self._clients.get(v, [])
        return any(not isinstance(c.op, Elemwise) for c in clients) or any(
            self._branches(c.outputs[0]) for c in clients
        )

    def _operands(self, v: Variable) -> list[Variable]:
        assert v.owner is not None
        return [u for u in dict.fromkeys(v.owner.inputs) if u in self._varying]

    def _branches(self, v: Variable) -> bool:
        """Return whether a variable adds, or otherwise joins, different parts of the network."""
        if v.owner is None or v in self._layers or not isinstance(v.owner.op, Elemwise):
            return False
        operands = self._operands(v)
        return len(operands) > 1 and len({self._root(u) for u in operands}) > 1

    def _root(self, v: Variable) -> Variable:
        """Follow elementwise Ops back to their only common input."""
        while v.owner is not None and v not in self._layers and v is not self._graph.output:
            if not isinstance(v.owner.op, Elemwise) or self._read_by_others(v):
                break
            roots = {self._root(u) for u in self._operands(v)}
            if len(roots) != 1:
                break
            v = roots.pop()
        return v

    def _read_by_others(self, v: Variable) -> bool:
        return any(not isinstance(c.op, Elemwise) for c in self._clients.get(v, []))

    def _place(self, v: Variable) -> int:
        """Return the index of the node that computes a variable; add the node if needed."""
        if v not in self._places:
            self._places[v] = self._draw(v)
        return self._places[v]

    def _draw(self, v: Variable) -> int:
        if v.owner is None:
            return self._add(Node("input", v.name or "input"), [])
        if v in self._layers:
            layer, shape = self._layers[v]
            return self._add(Node("layer", layer.name, shape), [v.owner.inputs[0]])
        operands = self._operands(v)
        if isinstance(v.owner.op, TRANSPARENT) or not operands:
            return self._place(operands[0])
        if not isinstance(v.owner.op, Elemwise):
            return self._add(Node("function", word_of(v.owner)), operands)
        if self._branches(v):
            added = isinstance(v.owner.op.scalar_op, Add)
            node = Node("sum", "+") if added else Node("function", word_of(v.owner))
            return self._add(node, operands)
        leaf, nodes = self._composition(v)
        return self._add(Node("function", self._namer.name(v, leaf, nodes)), [leaf])

    def _composition(self, v: Variable) -> tuple[Variable, list[Apply]]:
        """Return the input of a composition, and its nodes in topological order."""
        inside, pending, leaf = set(), [v], v
        while pending:
            u = pending.pop()
            if u is not v and self._is_boundary(u):
                leaf = u
            elif u.owner not in inside:
                inside.add(u.owner)
                pending += self._operands(u)
        return leaf, [node for node in self._order if node in inside]

    def _add(self, node: Node, read: Sequence[Variable]) -> int:
        starts = list(dict.fromkeys(self._place(v) for v in read))
        self._diagram.nodes.append(node)
        place = len(self._diagram.nodes) - 1
        self._diagram.edges += [Edge(start, place) for start in starts]
        return place


def _is_real(v: Variable) -> bool:
    return str(getattr(v.type, "dtype", "")).startswith("float")


def _beside_output(graph: kfgn.LayerGraph) -> list[Variable]:
    """Return the inputs of the loss other than the network's output."""
    beside: dict[Variable, None] = {}
    pending, seen = [graph.data_loss], {graph.output}
    while pending:
        v = pending.pop()
        if v in seen:
            continue
        seen.add(v)
        if v.owner is None:
            beside[v] = None
        else:
            pending += v.owner.inputs
    return list(beside)


def _connected(diagram: Diagram, loss: int) -> Diagram:
    """Return the diagram of only those nodes that lead to the loss."""
    kept = {loss}
    for edge in sorted(diagram.edges, key=lambda e: -e.end):
        if edge.end in kept:
            kept.add(edge.start)
    number = {old: new for new, old in enumerate(sorted(kept))}
    edges = [
        Edge(number[e.start], number[e.end], e.target) for e in diagram.edges if e.end in kept
    ]
    return Diagram([diagram.nodes[old] for old in sorted(kept)], edges)
