"""Train a small spec, and take its parameters into NumPy and into a pytensor-ml model."""

import tempfile
from pathlib import Path

import numpy as np
import pytensor
from pytensor_ml.activations import Tanh
from pytensor_ml.layers import Input, Linear, Sequential
from rich.console import Console

from kfgn_graph.program.checkpoints import assign_parameters, load_parameters
from kfgn_graph.program.cli.progress import Silence
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.program.training import start

SPEC = """
loss = "softmax"
batch = 256
[network]
hidden = [16]
[data]
name = "digits"
[budget]
updates = 5
"""
folder = Path(tempfile.mkdtemp())
watch = Silence(Console(stderr=True))
run = start(parse_spec(SPEC, "toml"), folder, folder / "runs", watch).path

# --- into NumPy
parameters = load_parameters(run)  # the newest checkpoint of a run's folder, or a file
W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))


def logits(x):
    return np.tanh(x @ W1 + b1) @ W2 + b2


# --- into a pytensor-ml model
with pytensor.config.change_flags(floatX="float32"):  # as the spec's dtype
    first, last = Linear("first", n_in=64, n_out=16), Linear("last", n_in=16, n_out=10)
named = {first.W: "W1", first.b: "b1", last.W: "W2", last.b: "b2"}
for variable, name in named.items():
    variable.name = name
assign_parameters(list(named), parameters)

# --- checked
x = Input("x", shape=(None, 64))
model = Sequential(first, Tanh(), last)(x)
examples = np.random.default_rng(0).random((5, 64), np.float32)
np.testing.assert_allclose(model.eval({x: examples}), logits(examples), rtol=1e-4, atol=1e-5)
assert W1.shape == (64, 16)
