"""Train a small spec, and take its parameters into NumPy and into a pytensor-ml model."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytensor
from pytensor_ml.activations import Tanh
from pytensor_ml.layers import Input, Linear, Sequential

import kfgn_graph as kfgn

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
(folder / "digits.toml").write_text(SPEC)
command = [sys.executable, "-m", "kfgn_graph.program", "train", "digits.toml"]
subprocess.run(command, cwd=folder, check=True)
(run,) = (folder / "runs").iterdir()

# --- into NumPy
parameters = kfgn.load_parameters(run)  # the newest checkpoint of a run's folder, or a file
W1, b1, W2, b2 = (parameters[name] for name in ("W1", "b1", "W2", "b2"))


def logits(x):
    return np.tanh(x @ W1 + b1) @ W2 + b2


# --- into a pytensor-ml model
with pytensor.config.change_flags(floatX="float32"):  # as the spec's dtype
    first, last = Linear("first", n_in=64, n_out=16), Linear("last", n_in=16, n_out=10)
named = {first.W: "W1", first.b: "b1", last.W: "W2", last.b: "b2"}
for variable, name in named.items():
    variable.name = name
kfgn.assign_parameters(list(named), parameters)

# --- checked
x = Input("x", shape=(None, 64))
model = Sequential(first, Tanh(), last)(x)
examples = np.random.default_rng(0).random((5, 64), np.float32)
np.testing.assert_allclose(model.eval({x: examples}), logits(examples), rtol=1e-4, atol=1e-5)
assert W1.shape == (64, 16)
