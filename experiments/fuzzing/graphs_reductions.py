"""Random reductions of the losses of the examples to one number, with masks and penalties."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.fuzzing.graphs_drawing import Drawing, Environment, Var
from experiments.fuzzing.graphs_losses import shape_of


def weighted(draw: Drawing, v: Var) -> Var:
    """Multiply by weights of either sign, or mask by a switch or a product."""
    shape = shape_of(draw, v)
    rows = shape[:1] + (1,) * (len(shape) - 1) if draw.chance(0.5) else shape
    way = draw.rng.choice(["weights", "signed", "mask", "switch", "selected"])
    if way in ("weights", "signed"):
        values = draw.numbers.random(rows) + 0.2
        if way == "signed":
            values *= draw.numbers.choice([-1, 1, 1], size=rows)
        kind = draw.rng.choice(["float32", "float64", draw.dtype])
        w = draw.datum("weight", values.astype(kind))
    else:
        mask = draw.numbers.random(rows) < 0.7
        kind = "bool" if way == "selected" else draw.rng.choice(["int8", "int64", "float32"])
        w = draw.datum("weight", mask.astype(kind))

    def statement(m: Any, e: Environment) -> Any:
        if way == "switch":
            return m.where(m.equal(e[w], 1), e[v.name], 0.0)
        if way == "selected":
            return m.where(e[w], e[v.name], 0)
        return e[w] * e[v.name]

    return draw.let(f"{way} {w}{rows} of {v.name}", v.length, v.width, statement)


def reduced(draw: Drawing, v: Var) -> Var:
    """Return a scalar: a sum, a mean, a mean of means, a product with weights."""
    ndim = len(shape_of(draw, v))
    ways = ["mean", "mean", "sum", "sum / N"]
    ways += ["sums, mean", "means, sum", "means, mean"] if ndim > 1 else ["dot", "normalised"]
    way = draw.rng.choice(ways)
    w = ""
    if way in ("dot", "normalised"):
        w = draw.datum("weight", draw.numbers.random(draw.count).astype(draw.dtype) + 0.1)

    def statement(m: Any, e: Environment) -> Any:
        x = e[v.name]
        if way == "mean":
            return m.mean(x)
        if way == "sum":
            return m.total(x)
        if way == "sum / N":
            return m.total(x) / m.examples(x)
        if way == "dot":
            return m.matmul(e[w], x)
        if way == "normalised":
            return m.total(e[w] * x) / m.total(e[w])
        inner = (m.total if way == "sums, mean" else m.mean)(x, -1)
        if ndim > 2:
            inner = m.total(inner, -1)
        return (m.total if way == "means, sum" else m.mean)(inner)

    return draw.let(f"{way} of {v.name}", 0, 0, statement)


def joined_terms(draw: Drawing, parts: list[tuple[float, Var]]) -> Var:
    """Return the data loss: terms summed for each example, or after their reductions."""
    parts = [(c, weighted(draw, v) if draw.chance(0.2) else v) for c, v in parts]
    if len(parts) == 1:
        return reduced(draw, parts[0][1])
    if draw.chance(0.5):
        scalars = [(c, reduced(draw, v)) for c, v in parts]
    else:
        each = [(c, per_example(draw, v)) for c, v in parts]
        return reduced(draw, combined(draw, each))
    return combined(draw, scalars)


def combined(draw: Drawing, parts: list[tuple[float, Var]]) -> Var:
    """Return the weighted sum of two variables of one shape."""
    (a, u), (b, v) = parts
    return draw.let(
        f"{a} {u.name} + {b} {v.name}", 0, 0, lambda m, e: a * e[u.name] + b * e[v.name]
    )


def per_example(draw: Drawing, v: Var) -> Var:
    """Sum over all axes but the first."""

    def statement(m: Any, e: Environment) -> Any:
        x = e[v.name]
        for _ in range(len(shape_of(draw, v)) - 1):
            x = m.total(x, -1)
        return x

    return draw.let(f"{v.name} of each example", 0, 0, statement)


def penalised(draw: Drawing, loss: Var) -> Var:
    """Add penalties on parameters, and change the scale of the loss."""
    if draw.chance(0.3):
        names = draw.rng.sample(list(draw.parameters), draw.rng.choice([1, len(draw.parameters)]))
        way = draw.rng.choice(["squares", "squares", "absolute", "log-cosh", "mean"])
        c = draw.rng.choice([0.1, 1e-2, np.float64(0.3)])

        data = loss.name

        def penalty(m: Any, e: Environment) -> Any:
            total = e[data]
            for name in names:
                p = e[name]
                if way == "squares":
                    total = total + c * m.total(m.sqr(p))
                elif way == "absolute":
                    total = total + c * m.total(m.absolute(p))
                elif way == "mean":
                    total = total + c * m.mean(m.sqr(p))
                else:
                    total = total + c * m.total(m.softplus(2 * p) - p)
            return total

        loss = draw.let(f"{loss.name} + {c} {way} of {names}", 0, 0, penalty)
    for _ in range(draw.rng.choice([0, 0, 0, 1, 1, 2])):
        loss = rescaled(draw, loss)
    return loss


def rescaled(draw: Drawing, loss: Var) -> Var:
    """Multiply or shift the loss, now and then by a function that is not linear."""
    way = draw.rng.choices(["times", "divided", "plus", "root", "square"], [4, 2, 2, 0.3, 0.3])[0]

    def statement(m: Any, e: Environment) -> Any:
        x = e[loss.name]
        if way == "times":
            return 3 * x
        if way == "divided":
            return x / 2
        if way == "plus":
            return x + 1.5
        return m.sqrt(m.sqr(x) + 1) if way == "root" else m.sqr(x)

    return draw.let(f"{way} {loss.name}", 0, 0, statement)
