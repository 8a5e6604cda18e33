"""The statistics of an update."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from kfgn_graph.notebook import html_table


class Fetched[T: (bool, float)]:
    """A field that is given an array on any device and reads as a Python value.

    The value is fetched from the device when the field is read, so that a training loop waits
    for an update only if it reads its statistics. Of several updates, from
    :meth:`Update.many`, it reads as an array of shape (T,).

    Parameters
    ----------
    kind : type
        ``float`` or ``bool``.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind: type = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._slot = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            raise AttributeError("a statistic has no default")
        value: Any = np.asarray(instance.__dict__[self._slot]).astype(self._kind)
        return value if value.ndim else value.item()

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._slot] = value


@dataclass(frozen=True, repr=False, eq=False)
class UpdateStats:
    r"""The statistics of one update; each is fetched from the device when it is read.

    Those of several updates, from :meth:`Update.many`, are arrays of shape (T,).

    Attributes
    ----------
    loss : float
        The loss on the batch before the step; penalties within the loss included, ``l2`` not.
    damping, gamma : float
        :math:`\lambda`, and the :math:`\gamma` that damps the factors.
    reduction_ratio : float
        :math:`\rho`; NaN where the update does not measure it.
    step_scale, momentum : float
        The coefficients of the preconditioned gradient of the first group of layers and of the
        previous update.
    gradient_norm, update_norm : float
        Euclidean norms over all parameters; that of an update which is not accepted is 0.
    skipped : bool
        Whether loss, gradient, curvature or step was not finite: no step is taken. Lambda is
        raised if only the step was not finite.
    clamped : bool
        Whether lambda was raised to the least that the dtype's precision allows.
    rejected : bool
        Whether the reduction ratio was too low for the update to be accepted.
    flat : bool
        Whether the curvature estimate was zero and the gradient was not: the direction is then the
        gradient's.
    """

    loss: Fetched[float] = Fetched(float)
    damping: Fetched[float] = Fetched(float)
    gamma: Fetched[float] = Fetched(float)
    reduction_ratio: Fetched[float] = Fetched(float)
    step_scale: Fetched[float] = Fetched(float)
    momentum: Fetched[float] = Fetched(float)
    gradient_norm: Fetched[float] = Fetched(float)
    update_norm: Fetched[float] = Fetched(float)
    skipped: Fetched[bool] = Fetched(bool)
    clamped: Fetched[bool] = Fetched(bool)
    rejected: Fetched[bool] = Fetched(bool)
    flat: Fetched[bool] = Fetched(bool)

    def as_dict(self) -> dict[str, Any]:
        """Return all statistics by name: Python numbers or, of several updates, arrays."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    #: The name that :mod:`dataclasses` uses, for loggers that expect it.
    asdict = as_dict

    def _repr_html_(self) -> str:
        """Return a table for a notebook; of several updates, the first, last and least values."""
        values = self.as_dict()
        if all(np.ndim(value) == 0 for value in values.values()):
            return html_table("UpdateStats", (), [(k, shown(v)) for k, v in values.items()])
        count = max(np.size(value) for value in values.values())
        rows = [(k, shown(v[0]), shown(v[-1]), shown(np.min(v))) for k, v in values.items()]
        head = ("statistic", "first", "last", "least")
        return html_table(f"UpdateStats of {count} updates", head, rows)

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={shown(value)}" for name, value in self.as_dict().items())
        return f"UpdateStats({body})"


def shown(value: Any) -> str:
    """Return a statistic as text: floats with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
