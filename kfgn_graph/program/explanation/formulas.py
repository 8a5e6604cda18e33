r"""The paper's equations as LaTeX, in the package's convention, and their use by each method.

Each equation is one function of :mod:`kfgn_graph.equations`. Examples are rows,
:math:`h = a W + b`. A plus marks quantities of the next layer, and n those of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kfgn_graph.program.explanation.layers import LayerShape


@dataclass(frozen=True)
class Equation:
    """An equation of the paper.

    Attributes
    ----------
    numbers : str
        The numbers in the paper, such as ``"(18), (21)"``.
    function : str
        The name of the function in :mod:`kfgn_graph.equations`.
    title : str
        The quantity that it defines.
    latex : str
        The equation.
    """

    numbers: str
    function: str
    title: str
    latex: str


EQUATIONS = {
    "gauss_newton": Equation(
        "(12)-(13)",
        "gauss_newton",
        "The Gauss-Newton matrix of the whole network",
        r"\bar G\, v = \sum_n J_n^\top \frac{\partial^2 \ell}{\partial z_n^2}\, J_n\, v,"
        r" \qquad J_n = \frac{\partial z_n}{\partial \theta}",
    ),
    "input_factor": Equation(
        "(18), (21)",
        "input_factor",
        "The factor of the inputs",
        r"Q = \frac1N \sum_n \bar a_n^\top \bar a_n, \qquad \bar a_n = (a_n, 1)"
        r" \text{ with a bias, else } a_n",
    ),
    "kronecker_block": Equation(
        "(19)-(20)",
        "kronecker_block",
        "A layer's block",
        r"\sum_n Q_n \otimes G_n \approx Q \otimes G, \qquad G = \sum_n G_n",
    ),
    "expected_from_square_root": Equation(
        "(23), (25)",
        "expected_from_square_root",
        "The factor of the pre-activations, from its square root",
        r"G = \sum_n \sum_k c_n^k {c_n^k}^\top",
    ),
    "propagate_square_root": Equation(
        "(24)",
        "propagate_square_root",
        "The square root, propagated back",
        r"c_n^k = B_n W^+ c_n^{k+}, \qquad B_n = \operatorname{diag} f'(h_n)",
    ),
    "expected_congruence": Equation(
        "(26)",
        "expected_congruence",
        "The factor of the pre-activations, by nested expectations",
        r"G \approx \bigl(W^+ G^+ {W^+}^\top\bigr) \circ \frac1N \sum_n b_n b_n^\top,"
        r" \qquad b_n = f'(h_n)",
    ),
}
OF_METHOD: dict[str, tuple[str, ...]] = {
    "kfra": ("input_factor", "kronecker_block", "expected_congruence"),
    "kflr": (
        "input_factor",
        "kronecker_block",
        "expected_from_square_root",
        "propagate_square_root",
    ),
    "kfac": (
        "input_factor",
        "kronecker_block",
        "expected_from_square_root",
        "propagate_square_root",
    ),
    "hessianfree": ("gauss_newton",),
}
"""The names in :data:`EQUATIONS` that each method uses. A first-order rule uses none."""


def equations_of(method: str) -> Sequence[Equation]:
    """Return the equations that a method uses, in the paper's order."""
    return [EQUATIONS[name] for name in OF_METHOD.get(method, ())]


def used_for_inputs(method: str) -> str:
    """Return the number of the equation for Q, or an empty text if the method has no factors."""
    return "(21)" if "input_factor" in OF_METHOD.get(method, ()) else ""


def used_for_outputs(method: str, layer: LayerShape) -> str:
    """Return the numbers of the equations for G, or an empty text if the method has no factors.

    The last layer starts from the Hessian of the loss in the network's output.
    """
    if method == "kfra":
        return "from the loss" if layer.last else "(26)"
    if method in ("kflr", "kfac"):
        return "(23), (25)" if layer.last else "(24), (25)"
    return ""
