"""The variables at which a loss can be split from the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import CurvatureRuleNotFound
from kfgn_graph.layers.ir import NetworkOutput
from kfgn_graph.layers.rows import varies_by_example
from kfgn_graph.layers.traversal import bottlenecks, dependents, reads_batch
from kfgn_graph.printing import name_of


def find_candidates(
    data_loss: TensorVariable,
    nodes: Sequence[Apply],
    example_axes: Mapping[Variable, int],
    output: TensorVariable | None,
    fixed: Collection[Variable] = (),
) -> tuple[TensorVariable, ...]:
    """Return the variables that split the loss from the network, nearest to the network first.

    There are none if the loss reads several outputs that meet after the sum over the examples.
    The variables ``fixed``, which read no value of the examples, are no outputs of the network.
    """
    varying = dependents([data_loss], [node.outputs[0] for node in nodes])
    through = bottlenecks(data_loss, varying, nodes)
    if output is not None:
        through = [
            v for v in through if v.owner is not None and isinstance(v.owner.op, NetworkOutput)
        ]
        if not through:
            raise CurvatureRuleNotFound(
                f"the loss depends on the layers by paths around output={name_of(output)}: pass a "
                "variable that lies on every path from the network to the loss."
            )
    split = [v for v in reversed(through) if example_axes[v] > 0 and v not in fixed]
    return tuple(v for v in split if _is_output_function(v, split[0], varying))


def _is_output_function(
    v: TensorVariable, nearest: TensorVariable, varying: Mapping[Variable, None]
) -> bool:
    """Return whether v is a function of ``nearest`` alone, such as tanh(h) or frozen layers.

    A variable that also reads values of the examples (a target), or that reduces over an axis,
    belongs to the loss.
    """
    pending = [v]
    while pending:
        u = pending.pop()
        if u is nearest:
            continue
        node = u.owner
        if isinstance(node.op, CAReduce):
            return False
        for w in node.inputs:
            if w in varying:
                pending.append(w)
            elif reads_batch(w) or varies_by_example(node, w):
                return False
    return True
