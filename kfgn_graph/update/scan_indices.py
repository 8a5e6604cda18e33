"""What an index of the loop of a ``Scan`` reads, as variables outside the loop."""

from __future__ import annotations

from itertools import chain

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import ancestors
from pytensor.tensor.basic import ScalarFromTensor


class Loop:
    """The inputs of the steps of a ``Scan``, in terms of the inputs and outputs of the node.

    Parameters
    ----------
    node : Apply
        The node of the ``Scan``.

    Attributes
    ----------
    outputs : list of Variable
        The outputs of one step.
    """

    def __init__(self, node: Apply) -> None:
        op, n, step = node.op, node.inputs[0], node.op.fgraph.unfreeze()
        self.outputs, self._inner = list(step.outputs), list(step.inputs)
        inner = self._inner
        sequences = zip(op.inner_seqs(inner), op.outer_seqs(node.inputs), strict=True)
        states = zip(op.inner_sitsot(inner), op.outer_sitsot_outs(node.outputs), strict=True)
        #: Inputs that change, each with its values at all steps along the leading axis.
        self._steps = {v: values[:n] for v, values in chain(sequences, states)}
        taps = [s for slices in op.info.mit_sot_in_slices for s in slices]
        first = [min(slices) for slices in op.info.mit_sot_in_slices for _ in slices]
        outputs = zip(op.outer_mitsot_outs(node.outputs), op.info.mit_sot_in_slices, strict=True)
        buffers = [values for values, slices in outputs for _ in slices]
        delayed = zip(op.inner_mitsot(inner), buffers, taps, first, strict=True)
        self._steps |= {v: b[t - least : t - least + n] for v, b, t, least in delayed}
        #: Inputs that are the same at all steps.
        self._fixed = dict(
            zip(op.inner_non_seqs(inner), op.outer_non_seqs(node.inputs), strict=True)
        )

    def at_all_steps(self, index: Variable) -> Variable | None:
        """Return an index with the steps along a leading axis; None if that is not possible."""
        if index.owner is not None and isinstance(index.owner.op, ScalarFromTensor):
            index = index.owner.inputs[0]
        index, given = pt.as_tensor(index), self._read(index)
        if not given <= {*self._steps, *self._fixed}:
            return None
        fixed = {v: self._fixed[v] for v in given if v in self._fixed}
        steps = {v: self._steps[v] for v in given if v in self._steps}
        index = clone_replace(index, fixed)
        try:
            return vectorize_graph(index, steps) if steps else index
        except (NotImplementedError, TypeError, ValueError):
            return None

    def at_first_step(self, variable: Variable) -> Variable:
        """Return a variable of the loop, which has the same shape at all steps."""
        given = self._read(variable)
        values = self._fixed | {v: values[0] for v, values in self._steps.items() if v in given}
        return clone_replace(variable, {v: values[v] for v in given if v in values})

    def _read(self, variable: Variable) -> set[Variable]:
        return {v for v in ancestors([variable]) if v in self._inner}
