"""Networks as the judge sees them: no Op wraps a graph, and held statistics are constants.

This module knows nothing of the compiler: every reduction over the leading axis of which the
outputs are made counts as a statistic of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pytensor.compile.builders import OpFromGraph
from pytensor.compile.rewriting import inline_ofg_node
from pytensor.gradient import disconnected_grad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import CAReduce

from experiments.support.catalogue import Network


def opened(network: Network) -> Network:
    """Return a network without wrapped graphs; statistics that its options hold are constant."""
    held = network.options.get("batch_statistics") == "hold"
    targets = [network.loss, *network.outputs]
    if not held and not _wrapping(toposort(targets)):
        return network
    fgraph = FunctionGraph(outputs=clone_replace(targets), clone=False)
    _inline(fgraph)
    for v in _statistics(list(fgraph.outputs[1:])) if held else ():
        clients = [pair for pair in fgraph.clients[v] if pair[0] in fgraph.apply_nodes]
        constant = disconnected_grad(v)
        for client, index in clients:
            fgraph.change_node_input(client, index, constant, import_missing=True)
    loss, *outputs = fgraph.outputs
    return replace(network, loss=loss, outputs=outputs)


def _wrapping(nodes: Iterable[Apply]) -> list[Apply]:
    return [node for node in nodes if isinstance(node.op, OpFromGraph)]


def _inline(fgraph: FunctionGraph) -> None:
    """Replace every Op that wraps a graph by that graph."""
    while wrapping := _wrapping(fgraph.toposort()):
        results = inline_ofg_node(wrapping[0])
        pairs = zip(wrapping[0].outputs, results, strict=True)
        fgraph.replace_all([(v, r) for v, r in pairs if v in fgraph.clients], import_missing=True)


def _statistics(outputs: list[Variable]) -> list[Variable]:
    return [
        node.outputs[0]
        for node in toposort(outputs)
        if isinstance(node.op, CAReduce) and (node.op.axis is None or 0 in node.op.axis)
    ]
