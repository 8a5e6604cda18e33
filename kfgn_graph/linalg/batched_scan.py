"""A loop (``Scan``) over several values of its inputs at once.

PyTensor has no rule by which ``vectorize_graph`` adds leading axes to the inputs of a loop. Here
the step is given the axes, after the axis of time: one loop runs for all values.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import _vectorize_node, vectorize_graph
from pytensor.scan.op import Scan
from pytensor.tensor.type import TensorType


@_vectorize_node.register(Scan)
def vectorize_scan(op: Scan, node: Apply, *batched: Variable) -> Sequence[Variable]:
    """Return the outputs of a loop whose inputs may have additional leading axes."""
    lead = max(_added(v, old) for v, old in zip(batched, node.inputs, strict=True))
    if lead == 0:
        return op.make_node(*batched).outputs
    if op.info.as_while or op.info.n_untraced_sit_sot or _added(batched[0], node.inputs[0]):
        raise NotImplementedError(f"{op} cannot run for several values of its inputs at once.")
    return _Batched(op, node, batched, lead).outputs()


def _added(v: Variable, old: Variable) -> int:
    return v.type.ndim - old.type.ndim if isinstance(v.type, TensorType) else 0


class _Batched:
    """A loop in which some inputs have ``lead`` additional axes."""

    def __init__(self, op: Scan, node: Apply, batched: Sequence[Variable], lead: int) -> None:
        self._op, self._node, self._lead = op, node, lead
        self._outer = list(batched)
        graph = op.fgraph.unfreeze()
        self._inner, self._returned = list(graph.inputs), list(graph.outputs)
        first = next(v for v, old in zip(batched, node.inputs, strict=True) if _added(v, old))
        self._sizes = [first.shape[k] for k in range(lead)]
        mapping = op.get_oinp_iinp_iout_oout_mappings()
        self._slots = mapping["inner_inp_from_outer_inp"]
        self._results = mapping["inner_out_from_outer_inp"]
        self._with_axes = {k for k, old in enumerate(node.inputs) if _added(batched[k], old)}

    def outputs(self) -> list[Variable]:
        """Return the outputs of the loop, with the additional axes first."""
        new, returned = self._step()
        op = self._op
        loop = Scan(
            [new.get(v, v) for v in self._inner],
            returned,
            op.info,
            mode=op.mode,
            truncate_gradient=op.truncate_gradient,
            name=op.name,
            profile=op.profile,
            allow_gc=op.allow_gc,
            strict=op.strict,
        )
        results = loop.make_node(*self._arguments()).outputs
        return [
            self._axes_first(v, old) for v, old in zip(results, self._node.outputs, strict=True)
        ]

    def _step(self) -> tuple[dict[Variable, Variable], list[Variable]]:
        """Return the step's new inputs and what it returns.

        A state gets the axes if what the step returns for it has them.
        """
        while True:
            new = {
                self._inner[k]: self._wider(self._inner[k])
                for outer in self._with_axes
                for k in self._slots[outer]
            }
            returned = vectorize_graph(self._returned, new)
            found = {
                outer
                for outer, results in self._results.items()
                if self._slots[outer]
                and any(_added(returned[k], self._returned[k]) for k in results)
            }
            if found <= self._with_axes:
                return new, self._widened(returned, new)
            self._with_axes |= found

    def _wider(self, v: Variable) -> Variable:
        return TensorType(v.type.dtype, (*[None] * self._lead, *v.type.shape))()

    def _widened(self, returned: list[Variable], new: dict[Variable, Variable]) -> list[Variable]:
        """Repeat what the step returns for a state with the axes, where it has none itself."""
        any_new = next(iter(new.values()))
        sizes = [any_new.shape[k] for k in range(self._lead)]
        returned = list(returned)
        for outer in self._with_axes:
            for k in self._results[outer]:
                if not _added(returned[k], self._returned[k]):
                    returned[k] = _repeated(returned[k], 0, sizes)
        return returned

    def _arguments(self) -> list[Variable]:
        """Return the loop's inputs, with the additional axes after that of time."""
        arguments = list(self._outer)
        for k in self._with_axes:
            if k >= self._first_constant:
                continue
            v, lead = arguments[k], self._lead
            if _added(v, self._node.inputs[k]):
                arguments[k] = v.dimshuffle(lead, *range(lead), *range(lead + 1, v.type.ndim))
            else:
                arguments[k] = _repeated(v, 1, self._sizes)
        return arguments

    @property
    def _first_constant(self) -> int:
        """The number of the first input without an axis of time."""
        info = self._op.info
        return 1 + info.n_seqs + info.n_mit_mot + info.n_mit_sot + info.n_sit_sot

    def _axes_first(self, v: Variable, old: Variable) -> Variable:
        if not _added(v, old):
            return v
        axes = range(1, self._lead + 1)
        return v.dimshuffle(*axes, 0, *range(self._lead + 1, v.type.ndim))


def _repeated(v: Variable, after: int, sizes: Sequence[Variable]) -> Variable:
    """Return v repeated along new axes of the given sizes, which come after its first axes."""
    axes = range(v.type.ndim)
    wider = v.dimshuffle(*axes[:after], *["x"] * len(sizes), *axes[after:])
    shape = [v.shape[k] for k in axes]
    return pt.alloc(wider, *shape[:after], *sizes, *shape[after:])
