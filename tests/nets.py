"""The nets of the table of cases, each written once for PyTensor and JAX (see tests.languages)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.languages import ACTIVATIONS, AFFINE, PIECEWISE_LINEAR

Maths = Any
Params = dict[str, Any]


@dataclass(frozen=True)
class LayerSpec:
    """The parameters of an affine layer by name; is its weight stored transposed?"""

    weight: str
    bias: str | None
    transposed: bool = False


@dataclass(frozen=True, eq=False)
class Net:
    """A network and what the theory says of it.

    Attributes
    ----------
    forward : callable
        ``(m, x, p) -> output``, with the mathematics taken from ``m``.
    chain : tuple of str or None
        For a plain chain of affine layers: the activation after every layer but the last.
    linear, piecewise_linear : bool
        The output is linear (piecewise linear) in each layer's pre-activation.
    shared : bool
        A weight meets several positions of one example, so that Kronecker factors approximate.
    structured : bool
        Every Op has a structured Jacobian, so that KFRA and BlockHessian apply.
    library : bool
        The PyTensor graph is made of pytensor-ml's ``Linear`` layers.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    forward: Callable[[Maths, Any, Params], Any]
    layers: tuple[LayerSpec, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    chain: tuple[str, ...] | None = None
    linear: bool = False
    piecewise_linear: bool = False
    shared: bool = False
    structured: bool = True
    library: bool = False


def chain(
    name: str, sizes: list[int], activations: str, affine: str = "plain", **facts: Any
) -> Net:
    """Return a chain of affine layers; ``activations`` is one name for all, or comma-separated."""
    depth = len(sizes) - 1
    names = activations.split(",") if "," in activations else [activations] * (depth - 1)
    transposed, biased = affine in {"transposed", "columns"}, affine != "no_bias"
    layers = tuple(
        LayerSpec(f"W{i}", f"b{i}" if biased else None, transposed) for i in range(depth)
    )
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (d_in, d_out) in enumerate(pairwise(sizes)):
        shapes[f"W{i}"] = (d_out, d_in) if transposed else (d_in, d_out)
        if biased:
            shapes[f"b{i}"] = (d_out,)

    def forward(m: Maths, x: Any, p: Params) -> Any:
        a = x
        for i in range(depth):
            h = m.tap(f"W{i}", AFFINE[affine](m, a, p[f"W{i}"], p.get(f"b{i}")), a)
            a = ACTIVATIONS[names[i]](m, h) if i < depth - 1 else h
        return a

    facts.setdefault("linear", set(names) <= {"identity"})
    facts.setdefault("piecewise_linear", set(names) <= PIECEWISE_LINEAR)
    return Net(name, shapes, forward, layers, (sizes[0],), (sizes[-1],), tuple(names), **facts)


def _dense(m: Maths, p: Params, i: int, a: Any) -> Any:
    """Apply layer ``i``, weight ``Wi`` and bias ``bi``."""
    return m.tap(f"W{i}", a @ p[f"W{i}"] + p[f"b{i}"], a)


def _graph(
    name: str,
    sizes: list[tuple[int, int]],
    forward: Callable[[Maths, Any, Params], Any],
    input_shape: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    **facts: Any,
) -> Net:
    """Return a net of biased layers ``0, 1, ...`` of the given sizes, joined by ``forward``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (d_in, d_out) in enumerate(sizes):
        shapes |= {f"W{i}": (d_in, d_out), f"b{i}": (d_out,)}
    layers = tuple(LayerSpec(f"W{i}", f"b{i}") for i in range(len(sizes)))
    return Net(
        name,
        shapes,
        forward,
        layers,
        (sizes[0][0],) if input_shape is None else input_shape,
        (sizes[-1][1],) if output_shape is None else output_shape,
        **facts,
    )


def _residual(m: Maths, x: Any, p: Params) -> Any:
    h = _dense(m, p, 0, x)
    h = h + m.tanh(_dense(m, p, 1, h))
    h = h + m.tanh(_dense(m, p, 2, h))
    return _dense(m, p, 3, h)


def _linear_residual(m: Maths, x: Any, p: Params) -> Any:
    h = _dense(m, p, 0, x)
    h = h + _dense(m, p, 1, h)
    h = _dense(m, p, 2, h) + h
    return _dense(m, p, 3, h) + h[:, :2]


def _relu_residual(m: Maths, x: Any, p: Params) -> Any:
    h = m.maximum(_dense(m, p, 0, x), 0.0)
    h = h + _dense(m, p, 2, m.maximum(_dense(m, p, 1, h), 0.0))
    return _dense(m, p, 3, h)


def _two_branches(m: Maths, x: Any, p: Params) -> Any:
    a = m.tanh(_dense(m, p, 0, x))
    return _dense(m, p, 3, m.sigmoid(_dense(m, p, 1, a)) + m.tanh(_dense(m, p, 2, a)))


def _concatenated(m: Maths, x: Any, p: Params) -> Any:
    a = m.tanh(_dense(m, p, 0, x))
    left, right = m.tanh(_dense(m, p, 1, a)), m.softplus(_dense(m, p, 2, a))
    return _dense(m, p, 3, m.concatenate([left, right], axis=1))


def _split(m: Maths, x: Any, p: Params) -> Any:
    left, right = m.split(_dense(m, p, 0, x), [2, 3])
    return _dense(m, p, 1, m.tanh(left)) + _dense(m, p, 2, m.sigmoid(right))


def _sliced(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x))
    return _dense(m, p, 1, h[:, :3]) + _dense(m, p, 2, h[:, 2:])


def _gated(m: Maths, x: Any, p: Params) -> Any:
    gate = m.sigmoid(_dense(m, p, 1, x))
    return _dense(m, p, 2, m.tanh(_dense(m, p, 0, x)) * gate)


def _reshaped(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x)).reshape((-1, 2, 3))
    return _dense(m, p, 1, m.tanh(h.reshape((-1, 6))))


def _pooled(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x)).reshape((-1, 2, 3))
    return _dense(m, p, 1, h.mean(axis=2))


def _maxout(m: Maths, x: Any, p: Params) -> Any:
    h = _dense(m, p, 0, x).reshape((x.shape[0], 2, 3))
    return _dense(m, p, 1, h.max(axis=2))


def _reversed(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x))
    return _dense(m, p, 1, h[:, ::-1])


def _skip_from_input(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x))
    h = m.tanh(_dense(m, p, 1, m.concatenate([h, x], axis=1)))
    return _dense(m, p, 2, h) + x[:, :2]


def _sequence(m: Maths, x: Any, p: Params) -> Any:
    return _dense(m, p, 1, m.tanh(_dense(m, p, 0, x)))


def _sequence_to_flat(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(_dense(m, p, 0, x))
    return _dense(m, p, 1, h.reshape((h.shape[0], 6)))


def _softmax_inside(m: Maths, x: Any, p: Params) -> Any:
    return _dense(m, p, 1, m.softmax(_dense(m, p, 0, x)))


def _normalised_inside(m: Maths, x: Any, p: Params) -> Any:
    h = _dense(m, p, 0, x)
    h = h - h.mean(axis=1, keepdims=True)
    h = h / ((h**2).mean(axis=1, keepdims=True) + 0.1) ** 0.5
    return _dense(m, p, 1, m.tanh(h))


def _scaled(m: Maths, x: Any, p: Params) -> Any:
    h = m.tanh(0.5 * _dense(m, p, 0, x) - 0.3)
    return 2.0 * _dense(m, p, 1, 1.5 * h) + 1.0


def _column(m: Maths, x: Any, p: Params) -> Any:
    return _dense(m, p, 1, m.tanh(_dense(m, p, 0, x)))[:, 0]


def _mixture(m: Maths, x: Any, p: Params) -> Any:
    h = m.sigmoid(_dense(m, p, 1, m.tanh(_dense(m, p, 0, x))))
    return h[:, 0] * h[:, 1] + (1 - h[:, 0]) * h[:, 2]


_CHAINS = [
    chain("one_layer", [3, 2], "identity"),
    chain("one_layer_one_output", [3, 1], "identity"),
    chain("tanh", [3, 4, 2], "tanh"),
    chain("tanh_deep", [4, 5, 3, 4, 3], "tanh"),
    chain("relu", [3, 5, 4, 2], "relu"),
    chain("relu_switch", [3, 5, 2], "relu_switch"),
    chain("leaky", [3, 4, 4, 2], "leaky"),
    chain("leaky_switch", [3, 5, 2], "leaky_switch"),
    chain("sigmoid", [3, 5, 4, 3], "sigmoid"),
    chain("softplus", [3, 4, 2], "softplus"),
    chain("swish", [3, 4, 3, 2], "swish"),
    chain("exp_tanh", [3, 4, 3, 2], "exp_tanh"),
    chain("elu", [3, 4, 3, 2], "elu"),
    chain("gelu", [3, 4, 2], "gelu"),
    chain("softsign", [3, 4, 3, 2], "softsign"),
    chain("cubic", [3, 4, 2], "cubic"),
    chain("mixed", [3, 4, 5, 3, 2], "tanh,softplus,leaky"),
    chain("no_bias", [3, 4, 3, 2], "tanh", "no_bias"),
    chain("transposed", [3, 4, 3, 2], "tanh", "transposed"),
    chain("bias_left", [3, 4, 2], "tanh", "bias_left"),
    chain("dot", [3, 4, 2], "tanh", "dot"),
    chain("tensordot", [3, 4, 2], "tanh", "tensordot"),
    chain("einsum", [3, 4, 2], "tanh", "einsum"),
    chain("columns", [3, 4, 2], "tanh", "columns"),
    chain("clip", [3, 5, 4, 2], "clip"),
    chain("row_bias", [3, 4, 2], "tanh", "row_bias"),
    chain("linear", [3, 4, 2, 3], "identity"),
    chain("linear_no_bias", [3, 2, 4, 3, 2], "identity", "no_bias"),
    chain("linear_transposed", [3, 4, 2], "identity", "transposed"),
    chain("library", [3, 4, 3, 2], "tanh", library=True),
]

_GRAPHS = [
    _graph("residual", [(3, 4), (4, 4), (4, 4), (4, 2)], _residual),
    _graph("linear_residual", [(3, 4), (4, 4), (4, 4), (4, 2)], _linear_residual, linear=True),
    _graph(
        "relu_residual", [(3, 4), (4, 5), (5, 4), (4, 2)], _relu_residual, piecewise_linear=True
    ),
    _graph("two_branches", [(3, 4), (4, 3), (4, 3), (3, 2)], _two_branches),
    _graph("concatenated", [(3, 4), (4, 3), (4, 2), (5, 2)], _concatenated),
    _graph("split", [(3, 5), (2, 2), (3, 2)], _split),
    _graph("sliced", [(3, 5), (3, 2), (3, 2)], _sliced),
    _graph("gated", [(3, 4), (3, 4), (4, 2)], _gated),
    _graph("reshaped", [(3, 6), (6, 2)], _reshaped),
    _graph("pooled", [(3, 6), (2, 2)], _pooled),
    _graph("maxout", [(3, 6), (2, 2)], _maxout, piecewise_linear=True),
    _graph("reversed", [(3, 4), (4, 2)], _reversed),
    _graph("skip_from_input", [(3, 4), (7, 3), (3, 2)], _skip_from_input),
    _graph("scaled", [(3, 4), (4, 2)], _scaled),
    _graph("column", [(3, 4), (4, 1)], _column, output_shape=()),
    _graph("mixture", [(3, 4), (4, 3)], _mixture, output_shape=()),
    _graph("softmax_inside", [(3, 4), (4, 2)], _softmax_inside),
    _graph("normalised_inside", [(3, 4), (4, 2)], _normalised_inside),
    _graph(
        "sequence",
        [(3, 4), (4, 2)],
        _sequence,
        input_shape=(3, 3),
        output_shape=(3, 2),
        shared=True,
    ),
    _graph("sequence_of_one", [(3, 4), (4, 2)], _sequence, (1, 3), (1, 2)),
    _graph("sequence_to_flat", [(3, 2), (6, 2)], _sequence_to_flat, (3, 3), (2,), shared=True),
]

NETS: dict[str, Net] = {net.name: net for net in (*_CHAINS, *_GRAPHS)}
