"""Train one small network with several optimisers through the same interface."""

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

images = (load_digits().data / 16).astype("float32")


def build():
    """Return the input, the loss and the parameters of a 64-12-64 autoencoder."""
    rng = np.random.default_rng(0)
    x = pt.matrix("x", dtype="float32", shape=(None, 64))
    h, params = x, []
    for i, shape in enumerate([(64, 12), (12, 64)]):
        weight = rng.normal(scale=sum(shape) ** -0.5, size=shape).astype("float32")
        W = pytensor.shared(weight, name=f"W{i}", shape=shape)
        b = pytensor.shared(np.zeros(shape[1], "float32"), name=f"b{i}", shape=shape[1:])
        h = (pt.tanh(h) if i else h) @ W + b
        params += [W, b]
    return x, (pt.softplus(h) - x * h).sum(axis=1).mean(), params


# --- optimisers: the settings in which they differ
optimisers = {
    "KFRA": {},
    "Hessian-free": {"method": kfgn.HessianFree(iterations=30)},
    "constants": {"damping": kfgn.ConstantDamping(0.3), "step": 0.5},
}


# --- run: the same weights and the same batches for each
def run(settings):
    """Return the compiled update after forty steps, and the losses."""
    x, loss, params = build()
    update = kfgn.compile_update(loss, params, [x], average_iterates=True, **settings)
    rng = np.random.default_rng(1)
    batches = [rng.choice(len(images), size=100, replace=False) for _ in range(40)]
    return update, [update(images[batch]).loss for batch in batches]


runs = {name: run(settings) for name, settings in optimisers.items()}
for name, (_, losses) in runs.items():
    print(f"{name:14} loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# --- averages: the loss over all images, at the last and at the averaged parameters
update, _ = runs["KFRA"]
x, loss, params = build()
evaluate = pytensor.function([x], loss, mode=update.mode)


def loss_at(values):
    """Return the loss over all images at other values of the parameters."""
    for p in params:
        p.set_value(values[p.name])
    return float(evaluate(images))


state = update.state()
last = loss_at({p.name: state[f"parameters/{p.name}"] for p in params})
averaged = loss_at(update.averaged())
print(f"KFRA over all images: last {last:.3f}, averaged {averaged:.3f}")

assert all(losses[-1] < 0.6 * losses[0] for _, losses in runs.values())
assert averaged < last
