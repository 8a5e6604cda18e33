"""Explain graphs of your own: a residual network in plain PyTensor, and a model of pytensor-ml."""

import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt

from kfgn_graph.program.cli.app import app

# --- a function that returns loss, parameters and inputs
WIDTH, CLASSES = 16, 3


def residual():
    """Two blocks that add what they compute to what they read."""
    rng = np.random.default_rng(0)
    x, y = pt.matrix("x", shape=(None, 8)), pt.vector("y", dtype="int64")
    parameters = []

    def affine(a, d_in, d_out):
        name = len(parameters) // 2
        W = pytensor.shared(rng.normal(scale=d_in**-0.5, size=(d_in, d_out)), name=f"W{name}")
        b = pytensor.shared(np.zeros(d_out), name=f"b{name}")
        parameters.extend([W, b])
        return a @ W + b

    h = pt.tanh(affine(x, 8, WIDTH))
    for _ in range(2):
        h = h + pt.tanh(affine(h, WIDTH, WIDTH))
    log_p = pt.special.log_softmax(affine(h, WIDTH, CLASSES), axis=1)
    return -log_p[pt.arange(y.shape[0]), y].mean(), parameters, [x, y]


# --- the same of a model of pytensor-ml
def pytensor_ml_model():
    """Layers of pytensor-ml, with its own loss."""
    from pytensor_ml.activations import ReLU
    from pytensor_ml.layers import Input, Linear, Sequential
    from pytensor_ml.loss import CrossEntropy
    from pytensor_ml.model import Model

    x, y = Input("x", shape=(None, 8)), pt.vector("y", dtype="int64")
    network = Sequential(
        Linear("first", n_in=8, n_out=WIDTH), ReLU(), Linear("second", n_in=WIDTH, n_out=CLASSES)
    )
    model = Model(network(x)).initialize(seed=0)
    return CrossEntropy(expect_logits=True)(y, model.y), model.weights, [x, y]


# --- a spec for it
SPEC = """
graph = "mynet:residual"
batch = 50
method = "kflr"

[data]
file = "data.npz"

[budget]
epochs = 5
"""


def write_data():
    """Write one array for each input of the loss, under its name."""
    # --- its data
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.normal(size=(200, 8)), y=rng.integers(3, size=200))


# --- explained
def main():
    here = Path(__file__).read_text()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        write_data()
        Path("mynet.py").write_text(here)
        for function in ("residual", "pytensor_ml_model"):
            Path("own.toml").write_text(SPEC.replace("residual", function))
            app(["explain", "own.toml"], standalone_mode=False)


if __name__ == "__main__":
    main()
