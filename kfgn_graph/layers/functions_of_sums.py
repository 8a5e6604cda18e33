r"""Losses that are a function of sums over the examples, such as a root mean squared error.

Of :math:`F(s)` with sums :math:`s_i` over the examples, the derivatives :math:`c_i = \partial F /
\partial s_i` are held at their current values: :math:`\sum_i c_i s_i + k` has the value of F, for
:math:`k = F - \sum_i c_i s_i`, its gradient, and the curvature of the examples. The term
:math:`F'' s' s'^T`, which couples the examples, is left out. Where F is linear nothing is. A
function of sums that are linear in the output of the network has no other curvature, and is
refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytensor
from pytensor.gradient import disconnected_grad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, toposort
from pytensor.scalar import Add, Cast, Identity, Mul, Neg, Sub, TrueDiv
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.ir import Affine, NetworkOutput
from kfgn_graph.layers.traversal import dependents, value_roots
from kfgn_graph.linalg.vectors import total

#: The current values of the variables that a loss holds constant.
Held = Mapping[Variable, TensorVariable]

#: The beginning of the names of the variables for c.
FACTOR = "factor"


def with_held_factors(
    loss: TensorVariable, parameters: Collection[Variable]
) -> tuple[TensorVariable, Held]:
    """Return a loss whose functions of sums are replaced by sums with factors that are held.

    Parameters
    ----------
    loss : scalar TensorVariable
        The loss, in the intermediate representation.
    parameters : collection of Variable
        The parameters, which a factor must not depend on but through the layers.

    Returns
    -------
    loss : scalar TensorVariable
        Linear in the sums; it reads new variables for c and k.
    held : mapping
        The new variables, with their values. Empty if the loss is left unchanged.
    """
    layers = [n.outputs[0] for n in toposort([loss]) if isinstance(n.op, Affine)]
    varying = dependents([loss], layers)
    found = _sums_and_after(loss, varying)
    if found is None:
        return loss, {}
    sums, after = found
    held: dict[Variable, TensorVariable] = {}
    replaced = {}
    for v in _nonlinear(loss, after):
        reads = [s for s in sums if s in ancestors([v])]
        if all(_is_linear_in(s, varying, layers) for s in reads):
            return loss, {}  # held, it would have no curvature at all
        if v.type.ndim > 0 or not value_roots([v], sums).isdisjoint(parameters):
            return loss, {}
        replaced[v] = _linearised(v, reads, held)
    return (graph_replace(loss, replaced), held) if replaced else (loss, {})


def at_current_values(loss: TensorVariable, held: Held) -> TensorVariable:
    """Return a loss with its held variables at their values, of which no gradient is taken."""
    values = {v: disconnected_grad(value) for v, value in held.items()}
    return graph_replace(loss, values, strict=False) if values else loss


def _sums_and_after(
    loss: TensorVariable, varying: Collection[Variable]
) -> tuple[list[TensorVariable], dict[Variable, None]] | None:
    """Return the sums over the examples, and the variables that depend on them.

    None if a value of an example, or a layer, reads a sum.
    """
    sums: list[TensorVariable] = []
    after: dict[Variable, None] = {}
    for node in toposort([loss]):
        if node.outputs[0] not in varying or isinstance(node.op, Shape | Shape_i):
            continue
        reads = [v for v in node.inputs if v in varying]
        if any(v in after for v in reads):
            if isinstance(node.op, Affine | NetworkOutput) or any(v not in after for v in reads):
                return None
            after.update(dict.fromkeys(node.outputs))
        elif isinstance(node.op, Sum) and (node.op.axis is None or 0 in node.op.axis):
            sums.append(node.outputs[0])
            after[node.outputs[0]] = None
    return sums, after


def _is_plain(node: Apply, after: Collection[Variable]) -> bool:
    """Return whether the rules of example axes know that a node is linear in sums."""
    if isinstance(node.op, Sum | DimShuffle):
        return True
    if not isinstance(node.op, Elemwise):
        return False
    reads = [v in after for v in node.inputs]
    linear = isinstance(node.op.scalar_op, Add | Sub | Neg | Cast | Identity)
    linear |= isinstance(node.op.scalar_op, Mul) and sum(reads) == 1
    return linear or (isinstance(node.op.scalar_op, TrueDiv) and reads == [True, False])


def _is_linear_in(
    s: TensorVariable, varying: Collection[Variable], layers: Collection[Variable]
) -> bool:
    """Return whether a sum is a plain linear function of the layers' outputs."""
    return all(
        node.outputs[0] in layers or _is_plain(node, varying)
        for node in toposort([s], blockers=list(layers))
        if node.outputs[0] in varying
    )


def _nonlinear(loss: TensorVariable, after: dict[Variable, None]) -> list[TensorVariable]:
    """Return the scalars that are no plain linear function of sums, and together make the loss."""
    known = {v for v in after if v.owner.inputs and not any(u in after for u in v.owner.inputs)}
    for v in after:  # in forward order
        reads = [u for u in v.owner.inputs if u in after]
        if v not in known and _is_plain(v.owner, after) and all(u in known for u in reads):
            known.add(v)
    found: dict[Variable, None] = {}
    pending: list[Variable] = [loss]
    while pending:
        v = pending.pop()
        if v not in after or v in known:
            continue
        reads = [u for u in v.owner.inputs if u in after]
        others = ancestors([u for u in v.owner.inputs if u not in after])
        sized = any(u in after and u not in known for u in others)  # such as the count of a mean
        if _is_plain(v.owner, after) and not sized and all(u.type.ndim == 0 for u in reads):
            pending.extend(reads)
        else:
            found[v] = None
    return list(found)


def _linearised(
    v: TensorVariable, sums: Sequence[TensorVariable], held: dict[Variable, TensorVariable]
) -> TensorVariable:
    """Return v as a sum of held factors times sums, and enter their values in ``held``."""
    slopes = pytensor.grad(v, list(sums))
    values = [slope.astype(s.type.dtype) for slope, s in zip(slopes, sums, strict=True)]
    factors = [s.type(f"{FACTOR}{len(held) + k}") for k, s in enumerate(sums)]
    held.update(zip(factors, values, strict=True))
    rest = v.type(f"rest{len(held)}")
    held[rest] = v - total([(c * s).sum() for c, s in zip(values, sums, strict=True)])
    return total([(c * s).sum() for c, s in zip(factors, sums, strict=True)]) + rest
