"""Random networks: layers with what stands between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.fuzzing.graphs_drawing import Drawing, Environment, Statement, Var

ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda m, h: m.tanh(h),
    "sigmoid": lambda m, h: m.sigmoid(h),
    "softplus": lambda m, h: m.softplus(h),
    "relu": lambda m, h: m.relu(h),
    "leaky": lambda m, h: m.maximum(0.1 * h, h),
    "swish": lambda m, h: h * m.sigmoid(h),
    "elu": lambda m, h: m.where(m.greater(h, 0), h, m.exp(m.minimum(h, 0)) - 1),
    "softsign": lambda m, h: h / (1 + m.absolute(h)),
    "cubic": lambda m, h: h + 0.2 * h**3,
    "clip": lambda m, h: m.clip(h, -0.7, 0.7),
    "square": lambda m, h: m.sqr(h),
    "softmax": lambda m, h: m.softmax(h),
    "arctan-like": lambda m, h: h / m.sqrt(1 + m.sqr(h)),
}


def activation(draw: Drawing, h: Var) -> Var:
    """Apply an elementwise function, now and then a softmax."""
    name = draw.rng.choice(list(ACTIVATIONS))
    f = ACTIVATIONS[name]
    return draw.let(f"{name}({h.name})", h.length, h.width, lambda m, e: f(m, e[h.name]))


def dense(draw: Drawing, h: Var, width: int) -> Var:
    """Multiply by a weight, and add a bias or none."""
    transposed = draw.chance(0.2)
    W = draw.parameter("W", *((width, h.width) if transposed else (h.width, width)))
    v = draw.let(
        f"{h.name} @ {W}{'.T' if transposed else ''}",
        h.length,
        width,
        lambda m, e: m.matmul(e[h.name], m.transposed(e[W]) if transposed else e[W]),
    )
    return bias(draw, v) if draw.chance(0.7) else v


def bias(draw: Drawing, v: Var) -> Var:
    """Add a bias, broadcast in one of several ways."""
    ndim = 3 if v.length else 2
    shapes = [(v.width,)] * 24 + [(1,) * (ndim - 1) + (v.width,)] * 4 + [(1,), ()]
    b = draw.parameter("b", *draw.rng.choice(shapes))
    note = f"{v.name} + {b}{draw.parameters[b].shape}"
    return draw.let(note, v.length, v.width, lambda m, e: m.plus_bias(e[v.name], e[b]))


def residual(draw: Drawing, h: Var) -> Var:
    """Add a layer's input to its output."""
    inner = dense(draw, activation(draw, h), h.width)
    ways: list[tuple[str, Statement]] = [
        (f"{h.name} + {inner.name}", lambda m, e: e[h.name] + e[inner.name]),
        (f"({h.name} + {inner.name}) / 2", lambda m, e: (e[h.name] + e[inner.name]) / 2),
        (f"{h.name} * {inner.name}", lambda m, e: e[h.name] * e[inner.name]),
    ]
    note, statement = draw.rng.choice(ways[:1] * 3 + ways)
    return draw.let(note, h.length, h.width, statement)


def by_data(draw: Drawing, h: Var) -> Var:
    """Multiply by a dropout mask, or by constants."""
    lengths = (h.length,) if h.length else ()
    per_row = draw.chance(0.6)
    shape = (draw.count, *lengths, h.width) if per_row else (h.width,)
    mask = (draw.numbers.random(shape) < 0.7).astype(
        draw.rng.choice(["float32", "float64", "int8", "bool"])
    )
    M = draw.datum("mask", mask, rows=per_row)
    return draw.let(
        f"{h.name} * {M} / 0.7", h.length, h.width, lambda m, e: e[h.name] * e[M] / 0.7
    )


def by_constant(draw: Drawing, h: Var) -> Var:
    """Scale or shift by constants of various types."""
    c = draw.rng.choice([2, 0.5, -1.5, 3.0, np.float64(1.5), np.int64(2), np.float32(0.25)])
    ways: list[tuple[str, Statement]] = [
        (f"{c} * {h.name}", lambda m, e: c * e[h.name]),
        (f"{h.name} / {c}", lambda m, e: e[h.name] / c),
        (f"{h.name} - {c}", lambda m, e: e[h.name] - c),
    ]
    note, statement = draw.rng.choice(ways)
    return draw.let(note, h.length, h.width, statement)


def normalised(draw: Drawing, h: Var) -> Var:
    """Normalise over the features of each example."""

    def statement(m: Any, e: Environment) -> Any:
        v = e[h.name]
        centred = v - m.mean(v, -1, keep=True)
        return centred / m.sqrt(m.mean(m.sqr(centred), -1, keep=True) + 0.3)

    return draw.let(f"layernorm({h.name})", h.length, h.width, statement)


def over_batch(draw: Drawing, h: Var) -> Var:
    """Subtract the mean over the batch."""
    return draw.let(
        f"{h.name} - mean over the batch",
        h.length,
        h.width,
        lambda m, e: e[h.name] - m.mean(e[h.name], 0, keep=True),
    )


def gated(draw: Drawing, h: Var) -> Var:
    """Multiply one half by a function of the other."""
    if h.width < 2:
        return activation(draw, h)
    k = h.width // 2
    return draw.let(
        f"gate({h.name})",
        h.length,
        k,
        lambda m, e: (
            m.columns(e[h.name], 0, k) * m.sigmoid(m.columns(e[h.name], h.width - k, h.width))
        ),
    )


def widened(draw: Drawing, h: Var) -> Var:
    """Join a variable with a function of it."""
    f = activation(draw, h)
    return draw.let(
        f"[{h.name}, {f.name}]",
        h.length,
        2 * h.width,
        lambda m, e: m.joined([e[h.name], e[f.name]]),
    )


def scaled(draw: Drawing, h: Var) -> Var:
    """Multiply by a parameter, as a normalisation layer does."""
    g = draw.parameter("g", *draw.rng.choice([(h.width,), (), (1,)]))
    return draw.let(f"{h.name} * {g}", h.length, h.width, lambda m, e: e[h.name] * e[g])


def tied(draw: Drawing, h: Var) -> Var:
    """Use a weight twice: as it is and transposed, or after itself."""
    W = draw.parameter("W", h.width, h.width)
    first = draw.let(
        f"tanh({h.name} @ {W})",
        h.length,
        h.width,
        lambda m, e: m.tanh(m.matmul(e[h.name], e[W])),
    )
    again = draw.chance(0.5)
    second = draw.let(
        f"{first.name} @ {W}{'' if again else '.T'}",
        h.length,
        h.width,
        lambda m, e: m.matmul(e[first.name], e[W] if again else m.transposed(e[W])),
    )
    return bias(draw, second) if draw.chance(0.6) else second


def attention(draw: Drawing, h: Var) -> Var:
    """Mix the positions of each example by softmax weights."""
    q, k = dense(draw, h, 2), dense(draw, h, 2)

    def statement(m: Any, e: Environment) -> Any:
        scores = m.softmax(e[q.name] @ m.transposed(e[k.name]))
        return scores @ e[h.name]

    return draw.let(f"attention({h.name})", h.length, h.width, statement)


STEPS: list[tuple[float, Callable[[Drawing, Var], Var]]] = [
    (4.0, activation),
    (1.5, residual),
    (0.8, by_data),
    (1.0, by_constant),
    (0.4, normalised),
    (0.15, over_batch),
    (0.4, gated),
    (0.4, widened),
    (0.25, scaled),
    (0.35, tied),
]


def body(draw: Drawing, h: Var) -> Var:
    """Draw zero to three layers with what stands between them."""
    for _ in range(draw.rng.choice([0, 1, 1, 1, 2, 2, 3])):
        h = dense(draw, h, draw.rng.randint(1, 4))
        steps = [*STEPS, (1.5, attention)] if h.length else STEPS
        weights, choices = zip(*steps, strict=True)
        for step in draw.rng.choices(choices, weights, k=draw.rng.choice([1, 1, 2])):
            h = step(draw, h)
            if h.width > 6:
                h = dense(draw, h, 2)
    return h


def inputs(draw: Drawing) -> Var:
    """Draw the inputs, now and then as rows of a trained table."""
    length = draw.rng.choice([0, 0, 0, 1, 2, 3])
    width = draw.rng.randint(1, 4)
    shape = (draw.count, *([length] if length else []), width)
    if draw.chance(0.03):
        table = draw.parameter("E", 5, width)
        index = draw.datum("i", draw.numbers.integers(0, 5, shape[:-1]))
        return draw.let(
            f"{table}[{index}]", length, width, lambda m, e: m.looked_up(e[table], e[index])
        )
    x = draw.datum("x", draw.real(*shape))
    return draw.let(x, length, width, lambda m, e: e[x])


def reshaped(draw: Drawing, h: Var, x: Var) -> Var:
    """Process (N, T, d) as tokens (N T, d), or bring it to (N, d), or leave it."""
    if not h.length:
        return h
    way = draw.rng.choice(["leave", "tokens", "flatten", "mean", "last", "tokens and back"])
    if way == "leave":
        return h
    if way == "flatten":
        return draw.let(
            f"flatten({h.name})",
            0,
            h.length * h.width,
            lambda m, e: m.flattened(e[h.name], e[x.name], h.length * h.width),
        )
    if way == "mean":
        return draw.let(f"mean of {h.name} over T", 0, h.width, lambda m, e: m.mean(e[h.name], 1))
    if way == "last":
        last = h.length - 1
        return draw.let(f"last of {h.name}", 0, h.width, lambda m, e: m.position(e[h.name], last))
    flat = draw.let(f"tokens({h.name})", 0, h.width, lambda m, e: m.tokens(e[h.name]))
    inner = dense(draw, flat, draw.rng.randint(1, 3))
    inner = activation(draw, inner)
    back = draw.let(
        f"{inner.name} as (N, T, d)",
        h.length,
        inner.width,
        lambda m, e: m.from_tokens(e[inner.name], e[x.name], h.length),
    )
    return back if way == "tokens and back" else reshaped(draw, back, x)
