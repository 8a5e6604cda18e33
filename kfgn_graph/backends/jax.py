"""JAX: static shapes, one precision, and buffers of updated variables donated to the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytensor.compile.mode import JAX, Mode
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.link.jax.linker import JAXLinker
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.math import Prod, Sum

from kfgn_graph.backends.base import Backend

#: After PyTensor's own rewrites.
LATE = 99.0


class DonatingJAXLinker(JAXLinker):
    """A JAX linker whose functions reuse the memory of the variables that they update."""

    def jit_compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``fn``, donating each input that an output replaces."""
        import jax

        if self.scalar_shape_inputs:
            return super().jit_compile(fn)
        return jax.jit(fn, donate_argnums=tuple(self.fgraph.update_mapping.values()))


@node_rewriter([CAReduce])
def accumulate_in_own_dtype(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Sum float32 in float32: PyTensor's JAX reductions return the accumulator's dtype.

    Without this, one float64 sum makes all that follows from it float64, solves included.
    """
    op, dtype = node.op, node.outputs[0].type.dtype
    if not isinstance(op, Sum | Prod) or op.acc_dtype in (None, dtype):
        return None
    return [type(op)(axis=op.axis, dtype=op.dtype, acc_dtype=dtype)(*node.inputs)]


class JAXBackend(Backend):
    """PyTensor's JAX mode with donation."""

    name = "jax"
    static_batch = True

    def mode(self) -> Mode:
        mode = Mode(linker=DonatingJAXLinker(), optimizer=JAX._optimizer)
        return mode.register((dfs_rewriter(accumulate_in_own_dtype), LATE))
