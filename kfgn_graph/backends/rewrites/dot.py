r"""A rewrite of inner products :math:`\sum_i a_i b_i` over whole arrays to BLAS's DOT.

Otherwise an elementwise Op writes the products to an array, which a sum then reads. DOT reads the
operands once and writes a scalar. Modes that include :data:`DOT` use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.scalar as ps
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.type import scalar

from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS, BLAS_PREFIXES, BlasOp

#: The tag of the rewrite, for ``Mode.including``.
DOT = "kfgn_dot"

#: Length of the blocks that are summed in the dtype of the operands; the sums of the blocks are
#: accumulated in float64.
BLOCK = 4096

CODE = """
{{
    PyArrayObject *x, *y;
    if (PyArray_NDIM({x}) != PyArray_NDIM({y})
        || !PyArray_CompareLists(PyArray_DIMS({x}), PyArray_DIMS({y}), PyArray_NDIM({x}))) {{
        PyErr_SetString(PyExc_ValueError, "inner product of arrays of different shapes");
        {fail}
    }}
    x = PyArray_GETCONTIGUOUS({x});
    y = PyArray_GETCONTIGUOUS({y});
    if (x == NULL || y == NULL) {{ Py_XDECREF(x); Py_XDECREF(y); {fail} }}
    double total = 0;
    int one = 1;
    npy_intp n = PyArray_SIZE(x);
    for (npy_intp i = 0; i < n; i += {block}) {{
        int count = n - i < {block} ? (int) (n - i) : {block};
        total += {dot}(&count, ({ctype}*) PyArray_DATA(x) + i, &one,
                       ({ctype}*) PyArray_DATA(y) + i, &one);
    }}
    Py_DECREF(x);
    Py_DECREF(y);
    if ({z} == NULL) {z} = (PyArrayObject*) PyArray_EMPTY(0, NULL, {typenum}, 0);
    if ({z} == NULL) {{ {fail} }}
    *({ctype}*) PyArray_DATA({z}) = ({ctype}) total;
}}
"""


class Inner(BlasOp):
    """The inner product of two arrays of the same shape and dtype."""

    __props__ = ()

    def make_node(self, x: Variable, y: Variable) -> Apply:
        """Return the node, whose output is a scalar of the same dtype."""
        return Apply(self, [x, y], [scalar(dtype=x.type.dtype)])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shape of a scalar."""
        return [()]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Evaluate by NumPy."""
        x, y = inputs
        outputs[0][0] = np.asarray(np.vdot(x, y), x.dtype)

    def c_code(
        self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]
    ) -> str:
        """Return C code that calls DOT for each block."""
        dtype = node.inputs[0].type.dtype
        return CODE.format(
            x=inputs[0],
            y=inputs[1],
            z=outputs[0],
            block=BLOCK,
            dot=f"{BLAS_PREFIXES[dtype]}dot_",
            **self.c_names(dtype, sub),
        )

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1, BLOCK)


inner = Inner()


@node_rewriter([Sum])
def inner_product(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace the sum of all entries of a product or a square."""
    (product,) = node.inputs
    operands = operands_of(product)
    whole = node.op.axis is None or len(node.op.axis) == product.type.ndim
    if operands is None or not whole or product.type.ndim == 0:
        return None
    types = {(v.type.dtype, v.type.broadcastable) for v in [*operands, product]}
    if len(types) > 1 or product.type.dtype not in BLAS_PREFIXES:
        return None
    if node.outputs[0].type.dtype != product.type.dtype:
        return None
    return [inner(*operands)]


def operands_of(product: Variable) -> tuple[Variable, Variable] | None:
    """Return the operands of an elementwise product, or None."""
    if product.owner is None or not isinstance(product.owner.op, Elemwise):
        return None
    operation, inputs = product.owner.op.scalar_op, product.owner.inputs
    if isinstance(operation, ps.Sqr):
        return inputs[0], inputs[0]
    if isinstance(operation, ps.Mul) and len(inputs) == 2:
        return inputs[0], inputs[1]
    return None


optdb.register(DOT, dfs_rewriter(inner_product, ignore_newtrees=True), position=BEFORE_BLAS)
