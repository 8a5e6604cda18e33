"""Random losses: cross-entropies in many spellings, masks, weights, two heads, penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.fuzzing.graphs_drawing import Drawing, Environment, Var
from experiments.fuzzing.graphs_networks import dense

LABELS = ["int8", "int16", "int32", "int64", "uint8", "float32", "float64"]
Elementwise = Callable[[Any, Any, Any], Any]

REGRESSION: dict[str, Elementwise] = {
    "square": lambda m, z, y: m.sqr(z - y),
    "half square": lambda m, z, y: 0.5 * m.sqr(y - z),
    "expanded square": lambda m, z, y: m.sqr(z) - 2.0 * y * z + (1.0 * y) * y,
    "square of absolute": lambda m, z, y: m.sqr(m.absolute(z - y)),
    "absolute": lambda m, z, y: m.absolute(z - y),
    "huber": lambda m, z, y: m.where(
        m.greater(1.0, m.absolute(z - y)), 0.5 * m.sqr(z - y), m.absolute(z - y) - 0.5
    ),
    "quantile": lambda m, z, y: m.maximum(0.3 * (y - z), (0.3 - 1) * (y - z)),
    "cauchy": lambda m, z, y: m.log(1 + m.sqr(z - y)),
    "fourth": lambda m, z, y: (z - y) ** 4,
    "poisson": lambda m, z, y: m.exp(0.3 * z) - m.absolute(y) * (0.3 * z),
    "pseudo-huber": lambda m, z, y: m.sqrt(1 + m.sqr(z - y)) - 1,
    "squares apart": lambda m, z, y: m.sqr(m.sqr(z) - y),
    "log-cosh": lambda m, z, y: m.softplus(2 * (z - y)) - (z - y),
    "capped": lambda m, z, y: m.minimum(m.sqr(z - y), 2.0),
    "beyond": lambda m, z, y: m.where(
        m.greater(m.absolute(z - y), 1.5), 3 * m.absolute(z - y) - 2.25, m.sqr(z - y)
    ),
    "gamma": lambda m, z, y: 0.4 * z + (0.2 + m.absolute(y)) * m.exp(-0.4 * z),
    "of tanh": lambda m, z, y: m.sqr(m.tanh(z) - y),
}

BINARY: dict[str, Elementwise] = {
    "logits": lambda m, z, y: m.softplus(z) - y * z,
    "naive": lambda m, z, y: -(y * m.log(m.sigmoid(z)) + (1 - y) * m.log(1 - m.sigmoid(z))),
    "switch": lambda m, z, y: m.where(
        m.equal(y, 1), -m.log(m.sigmoid(z)), -m.log(1 - m.sigmoid(z))
    ),
    "two softplus": lambda m, z, y: y * m.softplus(-z) + (1 - y) * m.softplus(z),
    "signed": lambda m, z, y: m.softplus((1 - 2 * (1.0 * y)) * z),
    "stable": lambda m, z, y: m.maximum(z, 0) - z * y + m.softplus(-m.absolute(z)),
    "weighted": lambda m, z, y: 3.0 * y * m.softplus(-z) + (1 - y) * m.softplus(z),
    "focal": lambda m, z, y: m.sqr(y - m.sigmoid(z)) * (m.softplus(z) - y * z),
    "hinge": lambda m, z, y: m.relu(1 - (2.0 * y - 1) * z),
    "squared hinge": lambda m, z, y: m.sqr(m.relu(1 - (2.0 * y - 1) * z)),
    "brier": lambda m, z, y: m.sqr(m.sigmoid(z) - y),
}


def elementwise(draw: Drawing, z: Var, table: dict[str, Elementwise], targets: str) -> Var:
    """Compare each element of z with a target."""
    name = draw.rng.choice(list(table))
    f = table[name]
    return draw.let(
        f"{name}({z.name}, {targets})", z.length, z.width, lambda m, e: f(m, e[z.name], e[targets])
    )


def shape_of(draw: Drawing, z: Var) -> tuple[int, ...]:
    """Return the shape of a variable on the batch."""
    return tuple(n for n in (draw.count, z.length, z.width) if n)


def regression(draw: Drawing, z: Var) -> Var:
    """Compare with real targets."""
    return elementwise(draw, z, REGRESSION, draw.datum("y", draw.real(*shape_of(draw, z))))


def binary(draw: Drawing, z: Var) -> Var:
    """Compare with labels 0 and 1."""
    labels = draw.numbers.integers(0, 2, shape_of(draw, z)).astype(
        draw.rng.choice([*LABELS, "bool"] if draw.chance(0.3) else LABELS)
    )
    if labels.dtype == bool:
        labels = labels.astype("int8")
    return elementwise(draw, z, BINARY, draw.datum("y", labels))


def categorical(draw: Drawing, z: Var) -> Var:
    """Softmax cross-entropy with integer labels, one-hot or soft targets."""
    shape = shape_of(draw, z)
    labels = draw.numbers.integers(0, z.width, shape[:-1])
    way = draw.rng.choice(["labels", "labels", "one-hot", "soft", "made one-hot", "lse - z"])
    if way == "soft":
        y = draw.datum("y", draw.numbers.dirichlet(np.ones(z.width), shape[:-1]))
    elif way == "one-hot":
        kind = draw.rng.choice(LABELS)
        y = draw.datum("y", np.eye(z.width)[labels].astype(kind))
    else:
        y = draw.datum("y", labels.astype(draw.rng.choice(LABELS)))
    if z.length and way == "labels":
        way = "made one-hot"

    def statement(m: Any, e: Environment) -> Any:
        p = e[z.name]
        if way == "lse - z":
            hot = m.one_hot(e[y], z.width)
            return m.total(m.logsumexp(p), -1) - m.total(hot * p, -1)
        logs = m.log_softmax(p)
        if way == "labels":
            return -m.pick(logs, e[y], z.width)
        hot = m.one_hot(e[y], z.width) if way == "made one-hot" else e[y]
        return -m.total(hot * logs, -1)

    return draw.let(f"cross-entropy({z.name}, {y}, {way})", z.length, 0, statement)


def margin(draw: Drawing, z: Var) -> Var:
    """Multi-class hinge, largest entry, or product over the outputs."""
    way = draw.rng.choice(["crammer", "largest", "product", "entropy"])
    hot = draw.datum(
        "y", np.eye(z.width)[draw.numbers.integers(0, z.width, shape_of(draw, z)[:-1])]
    )

    def statement(m: Any, e: Environment) -> Any:
        p = e[z.name]
        if way == "crammer":
            return m.largest(p + (1 - e[hot])) - m.total(e[hot] * p, -1)
        if way == "largest":
            return m.sqr(m.largest(p))
        if way == "product":
            return m.sqr(m.multiplied(p) - 1)
        return -m.total(m.softmax(p) * m.log_softmax(p), -1)

    return draw.let(f"{way}({z.name})", z.length, 0, statement)


def coupled(draw: Drawing, z: Var) -> Var:
    """Functions that couple the outputs of an example: norms, distances, ratios."""
    y = draw.datum("y", draw.real(*shape_of(draw, z)))
    way = draw.rng.choice(["norm", "squared square", "cosine", "studentised"])

    def statement(m: Any, e: Environment) -> Any:
        r = e[z.name] - e[y]
        if way == "norm":
            return m.sqrt(m.total(m.sqr(r), -1) + 0.1)
        if way == "squared square":
            return m.sqr(m.total(m.sqr(r), -1))
        if way == "cosine":
            return 1 - m.total(e[z.name] * e[y], -1) / m.sqrt(m.total(m.sqr(e[z.name]), -1) + 1)
        return m.log(1 + m.total(m.sqr(r), -1))

    return draw.let(f"{way}({z.name}, {y})", z.length, 0, statement)


def gaussian(draw: Drawing, h: Var) -> Var:
    """A mean and a log variance, from one map or from two."""
    width = draw.rng.randint(1, 2)
    if draw.chance(0.5):
        both = dense(draw, h, 2 * width)
        mean, spread = (
            draw.let(
                f"{both.name}[..., {k}:{k + width}]",
                h.length,
                width,
                lambda m, e, k=k: m.columns(e[both.name], k, k + width),
            )
            for k in (0, width)
        )
    else:
        mean, spread = dense(draw, h, width), dense(draw, h, width)
    y = draw.datum("y", draw.real(*shape_of(draw, mean)))
    learned = draw.chance(0.15)
    sigma = draw.parameter("s", width) if learned else spread.name
    return draw.let(
        f"gaussian({mean.name}, {sigma}, {y})",
        h.length,
        width,
        lambda m, e: 0.5 * e[sigma] + 0.5 * m.sqr(e[y] - e[mean.name]) * m.exp(-e[sigma]),
    )


def variational(draw: Drawing, h: Var) -> list[tuple[float, Var]]:
    """Return the two terms of a variational autoencoder: reconstruction and divergence."""
    mu, logvar = dense(draw, h, 2), dense(draw, h, 2)
    noise = draw.datum("eps", draw.numbers.normal(size=shape_of(draw, mu)).astype(draw.dtype))
    code = draw.let(
        f"{mu.name} + exp({logvar.name} / 2) * {noise}",
        h.length,
        2,
        lambda m, e: e[mu.name] + m.exp(0.5 * e[logvar.name]) * e[noise],
    )
    out = dense(draw, code, draw.rng.randint(1, 3))
    error = draw.rng.choice([regression, binary])(draw, out)
    divergence = draw.let(
        f"kl({mu.name}, {logvar.name})",
        h.length,
        2,
        lambda m, e: 0.5 * (m.exp(e[logvar.name]) + m.sqr(e[mu.name]) - 1 - e[logvar.name]),
    )
    return [(1.0, error), (draw.rng.choice([1.0, 0.1, 2]), divergence)]


def terms(draw: Drawing, h: Var) -> list[tuple[float, Var]]:
    """Return the terms of the loss of each example, with their weights."""
    way = draw.rng.choices(
        ["one", "two", "gaussian", "variational", "vector"], [7, 1.2, 1, 0.8, 0.7]
    )[0]
    if way == "variational":
        return variational(draw, h)
    if way == "gaussian":
        return [(1.0, gaussian(draw, h))]
    if way == "vector":
        return [(1.0, scalar_output(draw, h))]
    if way == "two":
        return [
            (c, output_loss(draw, dense(draw, h, draw.rng.randint(1, 3))))
            for c in (1.0, draw.rng.choice([0.5, 1.0, 3]))
        ]
    z = h if draw.chance(0.05) and draw.parameters else dense(draw, h, draw.rng.randint(1, 4))
    return [(1.0, output_loss(draw, z))]


def output_loss(draw: Drawing, z: Var) -> Var:
    """Return a loss of one output."""
    kinds = [regression, regression, binary, categorical, categorical, coupled, margin]
    return draw.rng.choice(kinds)(draw, z)


def scalar_output(draw: Drawing, h: Var) -> Var:
    """A weight that is a vector: one output without an axis."""
    w = draw.parameter("w", h.width)
    z = draw.let(f"{h.name} @ {w}", h.length, 0, lambda m, e: m.matmul(e[h.name], e[w]))
    if draw.chance(0.5):
        b = draw.parameter("b", *draw.rng.choice([(), (1,)]))
        v = z.name
        z = draw.let(f"{v} + {b}", h.length, 0, lambda m, e: m.plus_bias(e[v], e[b]))
    return draw.rng.choice([regression, binary])(draw, z)
