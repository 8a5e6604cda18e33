"""Matrices of like shape, inverted and averaged by one node, for JAX.

XLA compiles every node by itself, so that its time grows with the number of layers. It also fuses
a conjunction of flags with every operation that reads it: with one flag for each layer, and
readers in each layer, the program would grow with the square of their number. A deep network's
layers mostly have the same shapes. One node for all small matrices of one shape compiles in the
time of one, and has one vector of flags.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.tensor.basic import MakeVector
from pytensor.tensor.math import All

from kfgn_graph.backends.rewrites.rematerialise import BEFORE_BRANCHES
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import RefreshedInverse

#: The tag of the rewrite, for ``Mode.including``.
GROUP_LIKE_SHAPES = "kfgn_group_like_shapes"

#: The least number of nodes that are grouped.
LEAST = 8

#: The largest width of a matrix that is grouped: a group holds copies of all its matrices.
WIDEST = 256


class RefreshedInverses(Op):
    """:class:`~kfgn_graph.linalg.matrices.RefreshedInverse` of n matrices of one shape.

    The inputs are the n old inverses, the n matrices, the n shifts and the flag ``due``; the
    outputs are the n new inverses and the conjunction of their flags.

    Parameters
    ----------
    retry : float
        As in :class:`~kfgn_graph.linalg.matrices.RefreshedInverse`.
    """

    __props__ = ("retry",)

    def __init__(self, retry: float) -> None:
        self.retry = retry

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node."""
        *rest, due = inputs
        old = rest[: len(rest) // 3]
        return Apply(self, list(inputs), [v.type() for v in old] + [due.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one inverse after the other."""
        *rest, due = inputs
        n = len(rest) // 3
        single, finite = RefreshedInverse(self.retry), []
        for i in range(n):
            single.perform(node, [*rest[i::n], due], [outputs[i], outputs[n]])
            finite.append(outputs[n][0])
        outputs[n][0] = np.asarray(all(finite))


class FactorAverages(Op):
    """A chain of n :class:`~kfgn_graph.linalg.averages.FactorAverage`, each with the flag before.

    The inputs are the n old averages, the n new estimates, the weight of the old averages and the
    flag before the first of them; the outputs are the n new averages and the flag after the last.
    """

    __props__ = ()

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node."""
        *rest, _, sound = inputs
        old = rest[: len(rest) // 2]
        return Apply(self, list(inputs), [v.type() for v in old] + [sound.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one average after the other."""
        *rest, weight, sound = inputs
        n = len(rest) // 2
        for i in range(n):
            FactorAverage().perform(node, [*rest[i::n], weight, sound], [outputs[i], outputs[n]])
            sound = outputs[n][0]


class GroupLikeShapes(GraphRewriter):
    """Replace small inverses of one shape, and chains of small averages, by one node each."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        nodes = fgraph.toposort()
        for alike in like_inverses(fgraph, nodes):
            rows = [node.inputs for node in alike]
            inputs = [row[k] for k in range(3) for row in rows]
            op = RefreshedInverses(alike[0].op.retry)
            *grouped, finite = op(*inputs, rows[0][3], return_list=True)
            pairs = [(node.outputs[0], new) for node, new in zip(alike, grouped, strict=True)]
            all_flags = conjunction_of(fgraph, alike[0].outputs[1])
            assert all_flags is not None  # by like_inverses
            flags, grouped_flags = all_flags.inputs[0].owner, {n.outputs[1] for n in alike}
            assert flags is not None
            left = [v for v in flags.inputs if v not in grouped_flags]
            pairs.append((all_flags.outputs[0], all_flags.op(flags.op(*left, finite))))
            fgraph.replace_all(pairs, reason=GROUP_LIKE_SHAPES)
        for chain in list(chains_of_averages(fgraph, nodes)):
            rows = [node.inputs for node in chain]
            inputs = [row[k] for k in range(2) for row in rows]
            grouped = FactorAverages()(*inputs, *rows[0][2:], return_list=True)
            places = [*(node.outputs[0] for node in chain), chain[-1].outputs[1]]
            fgraph.replace_all(list(zip(places, grouped, strict=True)), reason=GROUP_LIKE_SHAPES)


def is_small(node: Apply) -> bool:
    """Return whether a node's matrix has a known width that is not too large."""
    width = node.inputs[0].type.shape[0]
    return width is not None and width <= WIDEST


def like_inverses(fgraph: FunctionGraph, nodes: Sequence[Apply]) -> list[list[Apply]]:
    """Return the groups of inverses of one shape, none of which depends on another.

    Only the conjunction of a group's flags is used.

    Parameters
    ----------
    fgraph : FunctionGraph
        The graph.
    nodes : sequence of Apply
        All nodes of a graph, in topological order.
    """
    stages: dict[Variable, int] = {}
    groups: dict[Hashable, list[Apply]] = {}
    for node in nodes:
        stage = max((stages.get(v, 0) for v in node.inputs), default=0)
        if isinstance(node.op, RefreshedInverse) and is_small(node):
            old, A, shift, due = node.inputs
            reader = conjunction_of(fgraph, node.outputs[1])
            if reader is not None:
                key = (node.op.retry, old.type, A.type, shift.type, due, stage, reader)
                groups.setdefault(key, []).append(node)
            stage += 1
        stages.update(dict.fromkeys(node.outputs, stage))
    return [group for group in groups.values() if len(group) >= LEAST]


def conjunction_of(fgraph: FunctionGraph, flag: Variable) -> Apply | None:
    """Return the conjunction of a vector of flags that alone reads a flag, or None."""
    clients = fgraph.clients[flag]
    if len(clients) != 1 or not isinstance(clients[0][0].op, MakeVector):
        return None
    readers = fgraph.clients[clients[0][0].outputs[0]]
    conjoined = len(readers) == 1 and isinstance(readers[0][0].op, All)
    return readers[0][0] if conjoined else None


def chains_of_averages(fgraph: FunctionGraph, nodes: Sequence[Apply]) -> Iterator[list[Apply]]:
    """Yield the runs of small averages, each of which alone reads the flag of the one before."""
    averages = [node for node in nodes if isinstance(node.op, FactorAverage)]
    following = {node.inputs[3].owner: node for node in averages if is_link(fgraph, node)}
    for first in averages:
        if is_link(fgraph, first):
            continue
        chain = [first]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        for small, run in groupby(chain, is_small):
            members = list(run)
            if small and len(members) >= LEAST:
                yield members


def is_link(fgraph: FunctionGraph, node: Apply) -> bool:
    """Return whether an average alone reads the flag of another, and has the same weight."""
    flag, before = node.inputs[3], node.inputs[3].owner
    if before is None or not isinstance(before.op, FactorAverage):
        return False
    return before.inputs[2] is node.inputs[2] and len(fgraph.clients[flag]) == 1


optdb.register(
    "kfgn_like_shapes", GroupLikeShapes(), GROUP_LIKE_SHAPES, position=BEFORE_BRANCHES - 0.01
)
