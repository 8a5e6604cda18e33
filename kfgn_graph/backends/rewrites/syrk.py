r"""A rewrite of :math:`X^T X` and :math:`X X^T` to BLAS's SYRK.

SYRK computes one triangle of the symmetric product, which takes half the operations of a general
product; the other triangle is then copied from it. Modes that include :data:`SYRK` use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot
from pytensor.tensor.type import matrix

from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS, BLAS_PREFIXES, BlasOp

#: The tag of the rewrite, for ``Mode.including``.
SYRK = "kfgn_syrk"

SUPPORT_CODE = """
template <typename T>
static void kfgn_mirror(T* z, npy_intp d) {
    const npy_intp block = 16;
    for (npy_intp p = 0; p < d; p += block) {
        npy_intp end = p + block < d ? p + block : d;
        for (npy_intp q = 0; q < p; q += block)
            for (npy_intp j = q; j < q + block; ++j)
                for (npy_intp i = p; i < end; ++i) z[j * d + i] = z[i * d + j];
        for (npy_intp i = p; i < end; ++i)
            for (npy_intp j = p; j < i; ++j) z[j * d + i] = z[i * d + j];
    }
}
"""

CODE = """
{{
    npy_intp n = PyArray_DIM({x}, 0), d = PyArray_DIM({x}, 1), size = sizeof({ctype});
    npy_intp rows = PyArray_STRIDE({x}, 0), columns = PyArray_STRIDE({x}, 1);
    npy_intp shape[2] = {{d, d}};
    if ({z} == NULL || PyArray_DIM({z}, 0) != d || PyArray_DIM({z}, 1) != d
        || !PyArray_IS_C_CONTIGUOUS({z})) {{
        Py_XDECREF({z});
        {z} = (PyArrayObject*) PyArray_EMPTY(2, shape, {typenum}, 0);
        if ({z} == NULL) {{ {fail} }}
    }}
    PyArrayObject* x = {x};
    Py_INCREF(x);
    char transpose = 'N', upper = 'U';
    int order = (int) d, inner = (int) n, stride;
    if ((columns == size || d == 1) && (n == 1 || (rows % size == 0 && rows >= d * size))) {{
        stride = (int) (n == 1 ? d : rows / size);
    }} else if ((rows == size || n == 1) && columns % size == 0 && columns >= n * size) {{
        transpose = 'T';
        stride = (int) (columns / size);
    }} else {{
        Py_DECREF(x);
        x = (PyArrayObject*) PyArray_NewCopy({x}, NPY_CORDER);
        if (x == NULL) {{ {fail} }}
        stride = (int) d;
    }}
    if (stride < 1) stride = 1;
    {ctype} one = 1, zero = 0;
    {ctype}* z = ({ctype}*) PyArray_DATA({z});
    if (n == 0 || d == 0) memset(z, 0, d * d * size);
    else {syrk}(&upper, &transpose, &order, &inner, &one, ({ctype}*) PyArray_DATA(x), &stride,
                &zero, z, &order);
    Py_DECREF(x);
    kfgn_mirror(z, d);
}}
"""


class Syrk(BlasOp):
    """X^T X of a matrix X, (n, d), by BLAS's SYRK."""

    __props__ = ()

    def make_node(self, x: Variable) -> Apply:
        """Return the node, whose output has shape (d, d)."""
        d = x.type.shape[1]
        return Apply(self, [x], [matrix(dtype=x.type.dtype, shape=(d, d))])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return (d, d)."""
        ((_, d),) = shapes
        return [(d, d)]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Evaluate by NumPy, which calls SYRK for a product of this form."""
        (x,) = inputs
        outputs[0][0] = np.ascontiguousarray(x.T @ x)

    def c_support_code(self, **kwargs: Any) -> str:
        """Return the declarations of BLAS and the function that copies a triangle."""
        return super().c_support_code() + SUPPORT_CODE

    def c_code(
        self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]
    ) -> str:
        """Return C code that calls SYRK; X is copied only if no axis is contiguous."""
        dtype = node.inputs[0].type.dtype
        return CODE.format(
            x=inputs[0],
            z=outputs[0],
            syrk=f"{BLAS_PREFIXES[dtype]}syrk_",
            **self.c_names(dtype, sub),
        )

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (2,)


syrk = Syrk()


def is_transpose(v: Variable, of: Variable) -> bool:
    """Return whether ``v`` is the transpose of the matrix ``of``."""
    if v.owner is None or not isinstance(v.owner.op, DimShuffle):
        return False
    return bool(v.owner.op.is_matrix_transpose and v.owner.inputs[0] is of)


@node_rewriter([Dot])
def symmetric_product(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace X^T X and X X^T by SYRK."""
    left, right = node.inputs
    if node.outputs[0].type.dtype not in BLAS_PREFIXES or left.type.ndim != 2:
        return None
    if is_transpose(left, of=right) or is_transpose(right, of=left):
        return [syrk(right)]
    return None


optdb.register(
    SYRK,
    dfs_rewriter(symmetric_product, ignore_newtrees=True),
    position=BEFORE_BLAS,
)
