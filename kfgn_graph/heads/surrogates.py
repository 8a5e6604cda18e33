"""Surrogates of a loss's Hessian, for losses that have none or an indefinite one.

A surrogate changes the curvature alone: loss and gradient stay those of the loss itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import positive
from kfgn_graph.errors import SpecError
from kfgn_graph.heads.bernoulli import BernoulliHead
from kfgn_graph.heads.core import Head
from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.heads.generic import GenericHead
from kfgn_graph.heads.joint import JointHead
from kfgn_graph.heads.linearity import Dependence, dependence
from kfgn_graph.heads.majoriser import majorised
from kfgn_graph.heads.softmax import SoftmaxHead
from kfgn_graph.heads.squared_error import SquaredErrorHead
from kfgn_graph.linalg.random import Draws
from kfgn_graph.printing import name_of

#: Returns the head of a loss at an output with a number of example axes.
FindHead = Callable[[TensorVariable, TensorVariable, int], Head]

#: The heads that this package makes, with the curvature of the loss itself.
PLAIN = (SquaredErrorHead, BernoulliHead, SoftmaxHead, DiagonalHead, GenericHead)


class Surrogate(ABC):
    """A positive semi-definite matrix that takes the place of the loss's Hessian."""

    #: One line for ``Update.explain``.
    summary: str

    @abstractmethod
    def head(self, head: Head, find: FindHead) -> Head:
        """Return the head with the surrogate for the head of the loss.

        Parameters
        ----------
        head : Head
            The head of the loss.
        find : callable
            Returns the head of another loss, an output and its number of example axes.

        Raises
        ------
        SpecError
            If the surrogate does not apply to the loss.
        """


@dataclass(frozen=True)
class Majoriser(Surrogate):
    r"""A quadratic majoriser of a loss with kinks, as in iteratively reweighted least squares.

    It takes :math:`1 / \max(|u|, \delta)` as the curvature of :math:`|u|`, which is that of the
    parabola above :math:`|u|` that touches it at the current values. A maximum, a minimum, a clip
    and a switch are functions of an absolute value: the quantile loss of u has
    :math:`1 / (2 \max(|u|, \delta))`, and the hinge loss of a margin :math:`1 - y z` has
    :math:`y^2 / (2 \max(|1 - y z|, \delta))`. Concave kinks have zero.

    Parameters
    ----------
    delta : float
        :math:`\delta`, in the units of u. A smaller one weights the examples that are fitted
        already more; a larger one makes the loss as quadratic as Huber's within :math:`\delta`.

    Raises
    ------
    SpecError
        If ``delta`` is not positive.
    """

    delta: float = 1e-3

    def __post_init__(self) -> None:
        positive("delta", self.delta)

    @property
    def summary(self) -> str:  # type: ignore[override]
        """One line for ``Update.explain``."""
        return f"a majoriser, 1 / max(|u|, {self.delta:g}) for each |u|"

    def head(self, head: Head, find: FindHead) -> Head:
        z = head.output
        point = z.type(f"{name_of(z)}_now")
        loss = majorised(head.loss, z, point, self.delta)
        if loss is None:
            raise SpecError(
                f'surrogate="majoriser" finds no kink in the loss as a function of '
                f"{name_of(z)}: no absolute value, maximum, minimum, clip or switch. Leave "
                'surrogate out, or use surrogate="absolute" if the loss is not convex.'
            )
        inner = find(loss, z, head.example_axes)
        return replace(
            at_values(inner, {point: z}), loss=head.loss, name=head.name, distribution=None
        )


@dataclass(frozen=True)
class AbsoluteCurvature(Surrogate):
    r"""The absolute value of the loss's Hessian: that of each of its eigenvalues.

    Without it negative eigenvalues count as zero, so that an example of negative weight has no
    curvature.
    """

    summary = "the absolute values of the eigenvalues"

    def head(self, head: Head, find: FindHead) -> Head:
        if isinstance(head, JointHead):
            blocks = [replace(block, head=self.head(block.head, find)) for block in head.blocks]
            return replace(head, blocks=tuple(blocks))
        if type(head) in PLAIN:
            return replace(head, negative="absolute")
        return GenericHead(head.output, head.example_axes, head.loss, negative="absolute")


#: The surrogates that have a name.
NAMED: dict[str, Surrogate] = {"majoriser": Majoriser(), "absolute": AbsoluteCurvature()}


def surrogate_of(value: str | Surrogate | None) -> Surrogate | None:
    """Return the surrogate that an argument names.

    Raises
    ------
    SpecError
        If it is not a surrogate, the name of one, or None.
    """
    if value is None or isinstance(value, Surrogate):
        return value
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    raise SpecError(
        f"surrogate={value!r} is not a surrogate such as Majoriser(delta=1e-3) or "
        f"AbsoluteCurvature(), nor one of the names {', '.join(NAMED)}."
    )


def is_flat(head: Head) -> bool:
    """Return whether the Hessian of a loss is zero wherever it exists, as its graph shows."""
    own = (DiagonalHead, GenericHead)
    found = dependence(head.loss, [head.output])
    return type(head) in own and found is Dependence.PIECEWISE_LINEAR


def at_values(head: Head, held: Mapping[Variable, TensorVariable]) -> PointHead:
    """Return a head with variables of its loss at their current values."""
    return PointHead(
        head.output,
        head.example_axes,
        head.loss,
        inner=head,
        held=held,
        name=head.name,
        distribution=head.distribution,
    )


@dataclass(frozen=True, eq=False)
class PointHead(Head):
    """The head of a loss that depends on some current values as on constants.

    Attributes
    ----------
    inner : Head
        The head of that loss.
    held : mapping
        The variables in it that stand for these values, with the values.
    name, distribution
        Those of the head of the loss itself.
    """

    inner: Head = field(kw_only=True)
    held: Mapping[Variable, TensorVariable] = field(kw_only=True)
    name: str = field(kw_only=True)  # type: ignore[misc]
    distribution: str | None = field(kw_only=True)  # type: ignore[misc]

    def _now(self, value: TensorVariable) -> TensorVariable:
        return graph_replace(value, dict(self.held), strict=False)

    def hessians(self) -> TensorVariable:
        return self._now(self.inner.hessians())

    def psd_hessians(self) -> TensorVariable:
        return self._now(self.inner.psd_hessians())

    def summed_hessian(self) -> TensorVariable:
        return self._now(self.inner.summed_hessian())

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        return self._now(self.inner.square_root(start, count))

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        rho, rest = self.inner.coordinates(gradient)
        return self._now(rho), self._now(rest)

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        return self._now(self.inner.sampled(draws, samples))

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        return self._now(self.inner.curvature_times(direction))
