"""Train a tied autoencoder on digits, by the nearest Kronecker product and by the exact sum."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

images = (load_digits().data / 16).astype("float32")


# --- network: the decoder reads the encoder's weight, transposed
def build():
    """Return the input, the loss and the parameters of a 64-40-64 autoencoder."""
    rng = np.random.default_rng(0)
    x = pt.matrix("x", dtype="float32", shape=(None, 64))
    weight = rng.normal(scale=104**-0.5, size=(64, 40)).astype("float32")
    W = pytensor.shared(weight, name="W", shape=(64, 40))
    b = pytensor.shared(np.zeros(40, "float32"), name="b", shape=(40,))
    c = pytensor.shared(np.zeros(64, "float32"), name="c", shape=(64,))
    z = pt.tanh(x @ W + b) @ W.T + c
    return [x], (pt.softplus(z) - x * z).sum(axis=1).mean(), [W, b, c]


# --- trial: forty updates on the same batches
def trial(tying):
    """Return the update and its last loss."""
    inputs, loss, params = build()
    update = kfgn.compile_update(loss, params, inputs, method=kfgn.KFRA(tying=tying))
    rng = np.random.default_rng(1)
    for _ in range(40):
        stats = update(images[rng.choice(len(images), size=500, replace=False)])
    return update, float(stats.loss)


# --- both: the nearest single product, and the exact sum
results = {tying: trial(tying) for tying in ("nearest", "sum")}
for tying, (_, loss) in results.items():
    print(f"{tying:8} loss {loss:.2f}")
print(results["nearest"][0].explain())

# --- verdict: an output of one half everywhere has the loss 64 ln 2 = 44.4
assert max(loss for _, loss in results.values()) < 20
