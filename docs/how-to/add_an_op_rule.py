"""Add rules for an Op, the cumulative sum along an axis of each example."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.extra_ops import CumOp

import kfgn_graph as kfgn
from kfgn_graph.extend import ConstantJacobian, Mixes


# --- examples: the Op keeps examples apart
@kfgn.register_example_axes(CumOp)
def example_axes_cumop(op, node, axes):
    (x,) = node.inputs
    if axes[x] < 1 or op.axis is None or op.axis < axes[x]:
        raise Mixes(f"{op} accumulates over the examples")
    return axes[x]


# --- jacobian: how curvature passes the Op
@kfgn.register_local_jacobian(CumOp)
def local_jacobian_cumop(op, segment):
    if op.mode != "add":
        raise kfgn.CurvatureRuleNotFound(f"there is a rule for cumulative sums, not for {op}")
    axis = 2 + op.axis - segment.example_axes[1]

    def pull(C):
        backwards = (slice(None),) * axis + (slice(None, None, -1),)
        return pt.cumsum(C[backwards], axis=axis)[backwards]

    return ConstantJacobian(segment, [pull])


# --- check: with one example, KFRA is KFLR
rng = np.random.default_rng(0)
x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 4))
params = [
    pytensor.shared(rng.normal(size=shape), name=f"W{i}", shape=shape)
    for i, shape in enumerate([(3, 5), (5, 4)])
]
z = pt.cumsum(pt.tanh(x @ params[0]), axis=1) @ params[1]
loss = 0.5 * pt.sqr(z - y).sum(axis=1).mean()

graph = kfgn.trace_layers(loss, params)
kfra, kflr = (kfgn.curvature_factors(graph, m) for m in (kfgn.KFRA(), kfgn.KFLR()))
first = graph.layers[0]
factors = pytensor.function([x, y], [kfra[first].G, kflr[first].G], on_unused_input="ignore")
by_kfra, by_kflr = factors(rng.normal(size=(1, 3)), rng.normal(size=(1, 4)))
np.testing.assert_allclose(by_kfra, by_kflr, rtol=1e-10)
print(f"trace of G: {np.trace(by_kfra):.4f} by KFRA, {np.trace(by_kflr):.4f} by KFLR")
