"""Try dampings a thousandfold apart on a small autoencoder of digits, and tabulate the losses."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

images = (load_digits().data / 16).astype("float32")


# --- network: built anew for each damping, from the same seed
def build():
    """Return the input, the loss and the parameters of a 64-32-8-32-64 autoencoder."""
    rng = np.random.default_rng(0)
    x = pt.matrix("x", dtype="float32", shape=(None, 64))
    h, params = x, []
    for i, shape in enumerate([(64, 32), (32, 8), (8, 32), (32, 64)]):
        weight = rng.normal(scale=sum(shape) ** -0.5, size=shape).astype("float32")
        W = pytensor.shared(weight, name=f"W{i}", shape=shape)
        b = pytensor.shared(np.zeros(shape[1], "float32"), name=f"b{i}", shape=shape[1:])
        h = (pt.tanh(h) if i else h) @ W + b
        params += [W, b]
    return x, (pt.softplus(h) - x * h).sum(axis=1).mean(), params


# --- trial: the same sixty batches for each damping
def trial(damping):
    """Return the losses of sixty updates."""
    x, loss, params = build()
    update = kfgn.compile_update(loss, params, [x], damping=kfgn.ConstantDamping(damping))
    rng = np.random.default_rng(1)
    batches = [rng.choice(len(images), size=500, replace=False) for _ in range(60)]
    return [update(images[batch]).loss for batch in batches]


losses = {damping: trial(damping) for damping in (0.0002, 0.2, 200.0)}
for damping, values in losses.items():
    print(f"damping {damping:8.4f}   highest {max(values):8.2f}   last {values[-1]:8.2f}")

# --- verdict: too much crawls
assert losses[0.2][-1] < 0.6 * losses[0.2][0]
assert losses[200.0][-1] > 1.2 * losses[0.2][-1]
