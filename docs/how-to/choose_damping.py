"""Train a small autoencoder by the default damping, with its loss rescaled, and by constants."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

images = (load_digits().data / 16).astype("float32")


# --- network: built anew for each trial, from the same seed
def build(scale):
    """Return the input, the loss times a scale, and the parameters of a 64-24-8-64 network."""
    rng = np.random.default_rng(0)
    x = pt.matrix("x", dtype="float32", shape=(None, 64))
    h, params = x, []
    for i, shape in enumerate([(64, 24), (24, 8), (8, 64)]):
        weight = rng.normal(scale=sum(shape) ** -0.5, size=shape).astype("float32")
        W = pytensor.shared(weight, name=f"W{i}", shape=shape)
        b = pytensor.shared(np.zeros(shape[1], "float32"), name=f"b{i}", shape=shape[1:])
        h = (pt.tanh(h) if i else h) @ W + b
        params += [W, b]
    cross_entropy = (pt.softplus(h) - x * h).sum(axis=1).mean()
    return x, cross_entropy * np.float32(scale), params


# --- trial: the same sixty batches for each setting
def trial(name, scale=1.0, **settings):
    """Print how sixty updates went, and return the first and the last loss, in nats."""
    x, loss, params = build(scale)
    update = kfgn.compile_update(loss, params, [x], **settings)
    rng = np.random.default_rng(1)
    batches = [rng.choice(len(images), size=500, replace=False) for _ in range(60)]
    history = [update(images[batch]) for batch in batches]
    first, last = history[0], history[-1]
    print(
        f"{name:24} loss {first.loss / scale:.2f} -> {last.loss / scale:.2f}   "
        f"damping {first.damping:.2g} -> {last.damping:.2g}   "
        f"not taken {sum(s.rejected or s.skipped for s in history)}"
    )
    return first.loss / scale, last.loss / scale


# --- trials: the default, a loss a thousand times smaller, and constants
first, adapted = trial("default")
_, small = trial("default, loss / 1000", scale=1e-3)
_, little = trial("constant 1e-4", damping=kfgn.ConstantDamping(1e-4))
_, much = trial("constant 100", damping=kfgn.ConstantDamping(100.0))

# --- verdict: the default trains well, whatever the unit of the loss
assert adapted < 0.5 * first
assert abs(small / adapted - 1) < 0.05
assert adapted < much
