"""Functions as users write them, for ``graph = "graphs:..."``, and specs for them."""

from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt

WIDTH, CLASSES = 6, 3
HEADER = 'batch = {batch}\n[data]\nfile = "data.npz"\n[budget]\nupdates = 1\n'


def _affine(parameters: list, a, d_in: int, d_out: int):
    rng = np.random.default_rng(len(parameters))
    name = len(parameters) // 2
    W = pytensor.shared(rng.normal(size=(d_in, d_out)), name=f"W{name}")
    b = pytensor.shared(np.zeros(d_out), name=f"b{name}")
    parameters += [W, b]
    return a @ W + b


def _classified(h, y):
    log_p = pt.special.log_softmax(h, axis=-1)
    return -log_p[pt.arange(y.shape[0]), y].mean()


def residual():
    """A block that adds its result to its input, and one that has two branches."""
    x, y, parameters = pt.matrix("x"), pt.vector("y", dtype="int64"), []
    h = pt.tanh(_affine(parameters, x, 4, WIDTH))
    h = h + pt.tanh(_affine(parameters, h, WIDTH, WIDTH))
    swish = _affine(parameters, h, WIDTH, WIDTH)
    other = pt.maximum(_affine(parameters, h, WIDTH, WIDTH), 0)
    h = swish * pt.sigmoid(swish) + other
    return _classified(_affine(parameters, h, WIDTH, CLASSES), y), parameters, [x, y]


def shared_positions():
    """One weight at five places of each example, whose results are averaged."""
    x, y, parameters = pt.tensor3("x"), pt.vector("y", dtype="int64"), []
    h = pt.tanh(_affine(parameters, x, 4, WIDTH)).mean(axis=1)
    return _classified(_affine(parameters, h, WIDTH, CLASSES), y), parameters, [x, y]


def library_model():
    """A model of pytensor-ml."""
    from pytensor_ml.activations import ReLU
    from pytensor_ml.layers import Input, Linear, Sequential
    from pytensor_ml.loss import CrossEntropy

    x, y = Input("x", shape=(None, 4)), pt.vector("y", dtype="int64")
    first, second = Linear("first", n_in=4, n_out=WIDTH), Linear("last", n_in=WIDTH, n_out=CLASSES)
    output = Sequential(first, ReLU(), second)(x)
    loss = CrossEntropy(expect_logits=True)(y, output)
    return loss, [first.W, first.b, second.W, second.b], [x, y]


def write_spec(folder: Path, function: str, more: str = "", batch: int = 10) -> Path:
    """Write data and a spec for a function of this module; return the spec's path."""
    rng = np.random.default_rng(0)
    shape = (20, 5, 4) if function == "shared_positions" else (20, 4)
    np.savez(folder / "data.npz", x=rng.normal(size=shape), y=rng.integers(CLASSES, size=20))
    (folder / "graphs_of_users.py").write_text(Path(__file__).read_text("utf-8"), "utf-8")
    spec = folder / "spec.toml"
    text = f'graph = "graphs_of_users:{function}"\n{more}\n' + HEADER.format(batch=batch)
    spec.write_text(text, "utf-8")
    return spec
