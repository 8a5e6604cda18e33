"""A rewrite that drops declarations of structure, such as "this matrix is diagonal".

The package itself multiplies by the matrices that it declares diagonal as by scalings. PyTensor
infers what follows from a declaration by a search of everything that the matrix depends on, at a
cost that grows with the square of the depth of the network.
"""

from __future__ import annotations

from pytensor.assumptions.specify import SpecifyAssumptions
from pytensor.compile.mode import optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter

#: The tag of the rewrite, for ``Mode.including``.
DROP_DECLARED = "kfgn_drop_declared"

#: Position: before PyTensor infers what follows from declarations.
BEFORE_INFERENCE = 0.7


class DropDeclared(GraphRewriter):
    """Replace every declared matrix by the matrix."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        for node in fgraph.toposort():
            if isinstance(node.op, SpecifyAssumptions):
                fgraph.replace(node.outputs[0], node.inputs[0], reason=DROP_DECLARED)


optdb.register(DROP_DECLARED, DropDeclared(), position=BEFORE_INFERENCE)
