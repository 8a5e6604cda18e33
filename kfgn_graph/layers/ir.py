"""The marker Ops of the intermediate representation.

Each is an inline :class:`~pytensor.compile.builders.SymbolicOp`: ``dprint`` and the rewrites
of this package see them, and compilation replaces them by their inner graphs, so that no backend
needs to implement them.
"""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.variable import TensorVariable


def as_rows(x: TensorVariable) -> TensorVariable:
    """Flatten all axes of ``x`` but the last: (..., d) to (n, d)."""
    return x if x.type.ndim == 2 else x.reshape((-1, x.shape[-1]))


class Affine(SymbolicOp):
    """The affine map h = a W + b of one layer.

    The inputs are ``a`` (..., d_in), ``W`` (d_in, d_out) and optionally ``b`` (d_out,). The
    output is ``h`` (..., d_out).
    """

    inline = True

    def build_inner_graph(
        self, a: Variable, W: Variable, b: Variable | None = None
    ) -> list[Variable]:
        """Return ``[h]``, computed by one matrix product for any number of axes of ``a``."""
        h = as_rows(a) @ W
        if a.type.ndim != 2:
            h = h.reshape((*(a.shape[i] for i in range(a.type.ndim - 1)), W.shape[1]))
        return [h if b is None else h + b]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return the gradients with respect to ``a``, ``W`` and ``b``."""
        a, W, *bias = inputs
        (g,) = output_grads
        rows = as_rows(g)
        to_a = rows @ W.T
        if a.type.ndim != 2:
            to_a = to_a.reshape(tuple(a.shape[i] for i in range(a.type.ndim)))
        return [to_a, as_rows(a).T @ rows, *(rows.sum(axis=0) for _ in bias)]

    def __str__(self) -> str:
        return "Affine"


class Lookup(Affine):
    """The affine map h = e W of one layer, with the unit row e of an index: h is a row of W.

    The inputs are an integer ``index`` (...), which may count from the end, and ``W``
    (d_in, d_out). The output is ``h`` (..., d_out). No unit rows are formed: the rows are
    gathered, and the gradient of W is scattered.
    """

    inline = True

    def build_inner_graph(
        self, a: Variable, W: Variable, b: Variable | None = None
    ) -> list[Variable]:
        """Return ``[h]``, the rows of ``W`` at the index ``a``."""
        return [W[a]]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return the gradient with respect to ``W``; the index has none."""
        index, W = inputs
        (g,) = output_grads
        return [disconnected_type(), pt.inc_subtensor(pt.zeros_like(W)[index], g)]

    def pushforward(
        self,
        inputs: list[Variable],
        outputs: list[Variable],
        eval_points: list[Variable | None],
    ) -> list[Variable]:
        """Return the rows of the tangent of ``W``."""
        return [lookup(inputs[0], eval_points[1])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Return that the output depends on ``W`` along a differentiable path."""
        return [[False], [True]]

    def __str__(self) -> str:
        return "Lookup"


class NetworkOutput(SymbolicOp):
    """The identity at the variable where the user splits the loss from the network.

    It prevents canonicalisation from simplifying the loss across the split.
    """

    inline = True

    def build_inner_graph(self, z: Variable) -> list[Variable]:
        """Return ``[z]``, unchanged."""
        return [pt.tensor_copy(z)]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return the gradient unchanged."""
        return list(output_grads)

    def __str__(self) -> str:
        return "NetworkOutput"


class Held(SymbolicOp):
    """The identity with derivative zero, for values at which a network is linearised."""

    inline = True

    def build_inner_graph(self, x: Variable) -> list[Variable]:
        """Return ``[x]``, unchanged."""
        return [pt.tensor_copy(x)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Return that the output is connected to no input."""
        return [[False]]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return no gradient."""
        return [disconnected_type()]

    def __str__(self) -> str:
        return "Held"


class Perturbation(SymbolicOp):
    """A perturbation of value zero: the zeros of the first input, the derivative of the second.

    A use h = a W + b of a weight within a loop is written h = a W0 + b0 + e, where W0 and b0 are
    held and e is the perturbation by the h of all steps, which an affine map outside the loop
    computes. The derivatives in W and b are those of the map.
    """

    inline = True

    def build_inner_graph(self, zeros: Variable, h: Variable) -> list[Variable]:
        """Return ``[zeros]``."""
        return [zeros]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Return that the output is connected to h."""
        return [[False], [True]]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return the gradient unchanged, as the gradient in h."""
        return [disconnected_type(), *output_grads]

    def __str__(self) -> str:
        return "Perturbation"


affine = Affine()
held = Held()
perturbation = Perturbation()
lookup = Lookup()
network_output = NetworkOutput()
