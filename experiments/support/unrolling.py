"""Loops unrolled: a network whose ``Scan`` is written out, step by step, and its layers' factors.

The affine maps of a loop's steps are variables of the unrolled graph. They are found by the
parameter that they read. Nothing here knows of the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import toposort
from pytensor.scan.op import Scan
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot

from experiments.support.catalogue import Network
from experiments.support.evaluation import evaluated
from experiments.support.judge import Judge, NotLocated

Array = np.ndarray


def has_loop(network: Network) -> bool:
    """Return whether a network has a loop."""
    return any(isinstance(node.op, Scan) for node in toposort([network.loss]))


def unrolled(network: Network) -> Network:
    """Return a network whose loops are written out for the number of steps of its batch."""
    targets = [network.loss, *network.outputs]
    found: dict[Variable, Variable] = {}
    for node in toposort(targets):
        inputs = [found.get(v, v) for v in node.inputs]
        if isinstance(node.op, Scan):
            (count,) = evaluated(network.inputs, network.batch, [node.inputs[0]])
            results = _written_out(node.op, inputs, int(count))
        else:
            results = node.clone_with_new_inputs(inputs, strict=False).outputs
        found.update(zip(node.outputs, results, strict=True))
    loss, *outputs = (found.get(v, v) for v in targets)
    return replace(network, loss=loss, outputs=outputs)


def _written_out(op: Scan, inputs: Sequence[Variable], count: int) -> list[Variable]:
    """Return the outputs of a loop of ``count`` steps."""
    graph = op.fgraph.unfreeze()
    inner, returned = list(graph.inputs), list(graph.outputs)
    taps = (*op.info.mit_sot_in_slices, *op.info.sit_sot_in_slices)
    buffers = [*op.outer_mitsot(inputs), *op.outer_sitsot(inputs)]
    states = [[buf[k] for k in range(-min(own))] for own, buf in zip(taps, buffers, strict=True)]
    collected: list[list[Variable]] = [[] for _ in range(op.info.n_nit_sot)]
    for t in range(count):
        values = [seq[t] for seq in op.outer_seqs(inputs)]
        values += [own[k] for own, places in zip(states, taps, strict=True) for k in places]
        values += list(op.outer_non_seqs(inputs))
        pairs = dict(zip(inner, values, strict=True))
        new = graph_replace(returned, pairs, strict=False)
        for trace, value in zip([*states, *collected], new, strict=True):
            trace.append(value)
    return [pt.stack(trace) for trace in [*states, *collected]]


def factors(network: Network, parameter: Variable, bias: bool) -> tuple[Array, Array]:
    """Return Q and G of a weight that the steps of a loop read.

    Parameters
    ----------
    network : Network
        An unrolled network.
    parameter : shared variable
        The weight.
    bias : bool
        Whether the affine map has a bias.

    Returns
    -------
    Q : (d_in[+1], d_in[+1]) array
        The mean of a a^T over the examples and the steps.
    G : (d_out, d_out) array
        The sum over the examples and the steps of the Gauss-Newton matrix in h = a W.

    Raises
    ------
    NotLocated
        If no product reads the weight.
    """
    judge = Judge(network)
    products = [n for n in toposort(network.outputs) if _reads(n, parameter)]
    if not products:
        raise NotLocated
    rows, G = [], 0.0
    for node in products:
        h = node.outputs[0]
        a_value, h_value = evaluated(network.inputs, network.batch, [node.inputs[0], h])
        rows.append(a_value.reshape(-1, a_value.shape[-1]))
        cut = pt.vector()
        moved = pt.specify_shape(cut.reshape(h_value.shape), h.type.shape)
        outputs = graph_replace(network.outputs, {h: moved}, strict=False)
        J = judge.pulled(outputs, [cut], {cut: h_value.ravel()})
        J = J.reshape(len(J), -1, h_value.shape[-1])
        G = G + np.einsum("mni,mk,knj->ij", J, judge.semidefinite, J, optimize=True)
    every = np.concatenate(rows)
    if bias:
        every = np.concatenate([every, np.ones((len(every), 1))], axis=1)
    return every.T @ every / len(every), G


def _reads(node: Apply, parameter: Variable) -> bool:
    """Return whether a node is the product of a variable with a parameter or its transpose."""
    op = node.op.core_op if isinstance(node.op, Blockwise) else node.op
    if not isinstance(op, Dot):
        return False
    W = node.inputs[1]
    if W.owner is not None and isinstance(W.owner.op, DimShuffle):
        W = W.owner.inputs[0]
    return W is parameter
