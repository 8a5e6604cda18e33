"""The joint curvature at a cut of the network, which the reverse sweep moves backwards."""

from __future__ import annotations

from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable


class LiveCut:
    """The joint curvature of the variables that are live at a cut of the network.

    There is a block for each unordered pair of live variables. The cross blocks carry the
    coupling between branches, so that a residual connection is as exact as a chain.

    Parameters
    ----------
    output : Variable
        The output of the network, which is the first cut.
    curvature : TensorVariable
        The block of the output, of shape (D, D) or (R, D, D).
    """

    def __init__(self, output: Variable, curvature: TensorVariable) -> None:
        self._blocks: dict[tuple[Variable, Variable], TensorVariable] = {
            (output, output): curvature
        }

    def __contains__(self, v: Variable) -> bool:
        return (v, v) in self._blocks

    def pop_diagonal(self, v: Variable) -> TensorVariable:
        """Remove and return the block of v with itself."""
        return self._blocks.pop((v, v))

    def pop_cross(self, v: Variable) -> list[tuple[Variable, TensorVariable]]:
        """Remove and return the blocks of v with each other live variable; rows belong to v."""
        taken = []
        for pair in [pair for pair in self._blocks if v in pair]:
            block = self._blocks.pop(pair)
            taken.append((pair[1], block) if pair[0] is v else (pair[0], block.mT))
        return taken

    def add(self, u: Variable, w: Variable, block: TensorVariable) -> None:
        """Add to the block of (u, w), whose rows belong to u, and to its transpose."""
        if u is w:
            self._accumulate((u, u), block + block.mT)
        elif (w, u) in self._blocks:
            self._accumulate((w, u), block.mT)
        else:
            self._accumulate((u, w), block)

    def add_diagonal(self, u: Variable, block: TensorVariable) -> None:
        """Add to the block of u with itself."""
        self._accumulate((u, u), block)

    def _accumulate(self, pair: tuple[Variable, Variable], block: TensorVariable) -> None:
        self._blocks[pair] = self._blocks[pair] + block if pair in self._blocks else block
