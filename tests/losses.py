"""The losses of the table of cases, each as people write it, for PyTensor and JAX alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Maths = Any
Targets = Callable[[np.random.Generator, int, tuple[int, ...]], tuple[np.ndarray, ...]]


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss of the net's output.

    Attributes
    ----------
    forward : callable
        ``(m, z, *targets) -> scalar``.
    targets : callable
        ``(rng, N, shape of one output) -> arrays``.
    quadratic : bool
        The Hessian with respect to the output is the same whatever the output.
    convex : bool
        That Hessian is positive semi-definite.
    library : callable or None
        How pytensor-ml spells the loss: ``(z, y) -> scalar`` in PyTensor, in place of ``forward``.
    """

    name: str
    forward: Callable[..., Any]
    targets: Targets
    quadratic: bool = False
    convex: bool = True
    library: Callable[..., Any] | None = None


def _real(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.normal(size=(n, *shape)),)


def _unit(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.uniform(0.05, 0.95, size=(n, *shape)),)


def _bits(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.integers(0, 2, size=(n, *shape)).astype("float64"),)


def _counts(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.poisson(2.0, size=(n, *shape)).astype("float64"),)


def _labels(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (rng.integers(0, shape[0], size=n),)


def _one_hot(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (np.eye(shape[0])[_labels(rng, n, shape)[0]],)


def _weighted(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    weights = rng.uniform(0.2, 2.0, size=n)
    if n > 1:
        weights[n // 2 :: 3] = 0.0
    return (*_real(rng, n, shape), weights)


def _one_number(
    rng: np.random.Generator, n: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    return (rng.normal(size=n),)


def _squared(m: Maths, z: Any, y: Any) -> Any:
    return m.sqr(z - y)


def _bernoulli(m: Maths, z: Any, y: Any) -> Any:
    return m.softplus(z) - y * z


def _naive_bernoulli(m: Maths, z: Any, y: Any) -> Any:
    q = m.sigmoid(z)
    return -(y * m.log(q) + (1 - y) * m.log(1 - q))


def _naive_softmax(m: Maths, z: Any) -> Any:
    e = m.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def _huber(m: Maths, z: Any, y: Any) -> Any:
    r = m.abs(z - y)
    return m.switch(r < 1.0, 0.5 * r**2, r - 0.5)


def _coupled(m: Maths, z: Any, y: Any) -> Any:
    square = ((z - y) ** 2).sum(axis=1)
    return 0.5 * square + 0.25 * square**2


def _two_parts(m: Maths, z: Any, y: Any) -> Any:
    return (z[:, 0] - y[:, 0]) ** 2 + _bernoulli(m, z[:, 1], y[:, 1])


def _heteroscedastic(m: Maths, z: Any, y: Any) -> Any:
    mean, log_variance = z[:, 0], z[:, 1]
    return 0.5 * ((y - mean) ** 2 * m.exp(-log_variance) + log_variance)


def _probability(m: Maths, q: Any, y: Any) -> Any:
    return -(y * m.log(q) + (1 - y) * m.log(1 - q))


def _library_squared(z: Any, y: Any) -> Any:
    from pytensor_ml.loss import SquaredError

    return SquaredError()(y, z)


def _library_labels(z: Any, y: Any) -> Any:
    from pytensor_ml.loss import CrossEntropy

    return CrossEntropy(expect_logits=True)(y, z)


def _library_one_hot(z: Any, y: Any) -> Any:
    from pytensor_ml.loss import CrossEntropy

    return CrossEntropy(expect_logits=True, expect_onehot_labels=True)(y, z)


def _rows(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Mean over the batch of the sum over each row."""
    return lambda m, z, y: loss(m, z, y).sum(axis=1).mean()


_SQUARED = [
    Loss("half_rows", lambda m, z, y: 0.5 * ((z - y) ** 2).sum(axis=1).mean(), _real, True),
    Loss("rows", _rows(_squared), _real, True),
    Loss("mean_first", lambda m, z, y: ((z - y) ** 2).mean(axis=0).sum(), _real, True),
    Loss("total", lambda m, z, y: ((y - z) ** 2).sum(), _real, True),
    Loss("half_total", lambda m, z, y: (0.5 * (y - z) ** 2).sum(), _real, True),
    Loss("all_elements", lambda m, z, y: ((z - y) ** 2).mean(), _real, True),
    Loss("product", lambda m, z, y: ((z - y) * (z - y)).sum() / (2 * z.shape[0]), _real, True),
    Loss("scaled_squared", lambda m, z, y: 3 * (m.sqr(z - y) / 7).mean(), _real, True),
    Loss("squared_3d", lambda m, z, y: ((z - y) ** 2).sum(axis=(1, 2)).mean(), _real, True),
    Loss("weighted", lambda m, z, y, w: (w * ((z - y) ** 2).sum(axis=1)).mean(), _weighted, True),
    Loss(
        "library_squared",
        lambda m, z, y: ((y - z) ** 2).mean(),
        _real,
        True,
        library=_library_squared,
    ),
]

_BERNOULLI = [
    Loss("bernoulli", _rows(_bernoulli), _unit),
    Loss("bernoulli_total", lambda m, z, y: _bernoulli(m, z, y).sum(), _bits),
    Loss("bernoulli_all", lambda m, z, y: _bernoulli(m, z, y).mean(), _bits),
    Loss("bernoulli_naive", _rows(_naive_bernoulli), _unit),
    Loss("bernoulli_naive_total", lambda m, z, y: _naive_bernoulli(m, z, y).sum(), _bits),
    Loss(
        "bernoulli_two_sided",
        lambda m, z, y: (y * m.softplus(-z) + (1 - y) * m.softplus(z)).sum(axis=1).mean(),
        _unit,
    ),
    Loss(
        "bernoulli_logaddexp",
        lambda m, z, y: (m.logaddexp(0.0, z) - y * z).sum(axis=1).mean(),
        _unit,
    ),
    Loss(
        "bernoulli_signed",
        lambda m, z, y: m.log1p(m.exp(-(2 * y - 1) * z)).sum(axis=1).mean(),
        _bits,
    ),
]

_SOFTMAX = [
    Loss(
        "softmax_naive",
        lambda m, z, y: -(y * m.log(_naive_softmax(m, z))).sum(axis=1).mean(),
        _one_hot,
    ),
    Loss("softmax_log", lambda m, z, y: -(y * m.log(m.softmax(z))).sum(axis=1).mean(), _one_hot),
    Loss("log_softmax", lambda m, z, y: -(y * m.log_softmax(z)).sum(axis=1).mean(), _one_hot),
    Loss(
        "logsumexp",
        lambda m, z, y: (m.logsumexp(z) - (y * z).sum(axis=1)).sum(),
        _one_hot,
    ),
    Loss(
        "labels",
        lambda m, z, y: -m.log_softmax(z)[m.arange(y.shape[0]), y].mean(),
        _labels,
    ),
    Loss(
        "labels_total",
        lambda m, z, y: -m.log(m.softmax(z))[m.arange(y.shape[0]), y].sum(),
        _labels,
    ),
    Loss("labels_picked", lambda m, z, y: -m.pick(m.log_softmax(z), y).mean(), _labels),
    Loss(
        "labels_logsumexp",
        lambda m, z, y: (m.logsumexp(z) - z[m.arange(z.shape[0]), y]).mean(),
        _labels,
    ),
    Loss(
        "library_labels",
        lambda m, z, y: -m.pick(m.log_softmax(z), y).mean(),
        _labels,
        library=_library_labels,
    ),
    Loss(
        "library_one_hot",
        lambda m, z, y: -(y * m.log_softmax(z)).sum(axis=1).mean(),
        _one_hot,
        library=_library_one_hot,
    ),
]

_GENERIC = [
    Loss("poisson", lambda m, z, y: (m.exp(z) - y * z).sum(axis=1).mean(), _counts),
    Loss("huber", _rows(_huber), _real),
    Loss("log_cosh", lambda m, z, y: m.log(m.cosh(z - y)).sum(), _real),
    Loss("two_parts", lambda m, z, y: _two_parts(m, z, y).mean(), _bits),
    Loss("coupled", lambda m, z, y: _coupled(m, z, y).mean(), _real),
    Loss(
        "heteroscedastic",
        lambda m, z, y: _heteroscedastic(m, z, y).mean(),
        _one_number,
        convex=False,
    ),
    Loss("probability", lambda m, q, y: _probability(m, q, y).mean(), _bits),
    Loss("column_squared", lambda m, z, y: 0.5 * ((z - y) ** 2).mean(), _real, True),
]

LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (*_SQUARED, *_BERNOULLI, *_SOFTMAX, *_GENERIC)
}
