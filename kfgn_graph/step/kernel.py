r"""Gauss-Newton updates by the Gram matrix of the residuals' gradients: one N K by N K system.

Müller and Zeinhofer, "Achieving high accuracy with PINNs via energy natural gradient descent",
ICML 2023, and its form for few residuals, "ENGD-W". Momentum: Goldshlager, Abrahamsen and Lin,
"A Kaczmarz-inspired approach to accelerate the optimization of neural network wavefunctions",
Journal of Computational Physics 2024 ("SPRING").
"""

from __future__ import annotations

from dataclasses import dataclass

from kfgn_graph.arguments import positive_count, real
from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import KroneckerBlock, Method
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True)
class KernelGaussNewton(Method):
    r"""Solve :math:`(\bar G + (\lambda + \eta) I)\,\delta = -\nabla h` exactly, by a Gram matrix.

    With the rows of :math:`S = C^T J`, one for each of K outputs of N examples,
    :math:`\bar G = S^T S`, all blocks included, and

    .. math:: \delta = -S^T (S S^T + (\lambda + \eta) I)^{-1} \rho, \qquad S^T \rho = \nabla h.

    The system has N K unknowns, however many parameters there are. The method is for few residuals
    and many parameters, such as the losses of differential equations.

    Parameters
    ----------
    momentum : float
        :math:`\mu` in [0, 1). The update minimises the quadratic model with the damping
        :math:`\frac{\lambda + \eta}{2} \|\delta - \mu \delta_0\|^2` about the last direction
        :math:`\delta_0`, which carries what earlier batches said of the directions that this batch
        does not determine (SPRING). 0 keeps no direction.
    limit : int
        The largest N K. A batch with more outputs raises a :class:`BatchError`, since the system
        takes :math:`(N K)^2` numbers and :math:`(N K)^3 / 3` operations.
    """

    momentum: float = 0.0
    limit: int = 4096

    equations = "(12)-(13)"

    def __post_init__(self) -> None:
        if not 0 <= real("momentum", self.momentum, "in [0, 1)") < 1:
            raise SpecError(f"momentum={self.momentum} must be in [0, 1).")
        positive_count("limit", self.limit)

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerBlock] | dict[Layer, ExactBlock]:
        raise SpecError(
            "KernelGaussNewton() forms no blocks, only the Gram matrix of all layers: use "
            "BlockGaussNewton() for the exact blocks, or gauss_newton_product for products."
        )
