"""Train on JAX, on the device that it finds, with the data kept there."""

import jax
import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn

rng = np.random.default_rng(0)
inputs = rng.normal(size=(4000, 20)).astype("float32")
labels = (inputs[:, :10].sum(axis=1) > inputs[:, 10:].sum(axis=1)).astype("int32")

# --- network: float32 throughout, with the shapes that are known
x = pt.matrix("x", dtype="float32", shape=(None, 20))
y = pt.vector("y", dtype="int32")
shapes = [(20, 32), (32, 2)]
W0, W1 = (
    pytensor.shared(rng.normal(scale=0.2, size=s).astype("float32"), name=f"W{i}", shape=s)
    for i, s in enumerate(shapes)
)
log_p = pt.special.log_softmax(pt.tanh(x @ W0) @ W1, axis=1)
loss = -log_p[pt.arange(y.shape[0]), y].mean()

# --- training: data on the device, batches of one size, statistics read now and then
update = kfgn.compile_update(loss, [W0, W1], [x, y], backend="jax")
inputs, labels = jax.device_put(inputs), jax.device_put(labels)
size = 500
for epoch in range(5):
    for start in range(0, len(inputs) - size + 1, size):
        stats = update(inputs[start : start + size], labels[start : start + size])
    print(f"epoch {epoch}   loss {stats.loss:.4f}")

# --- small network: many updates a call, batches drawn by index
rows = np.stack([rng.permutation(len(inputs))[:size] for _ in range(20)])
losses = update.many([inputs, labels], rows).loss
print(f"twenty more   loss {losses[0]:.4f} to {losses[-1]:.4f}")

# --- reading: by NumPy, or by a function on the device
weight = W0.get_value()
predict = pytensor.function([x], log_p.argmax(axis=1), mode=update.mode)
accuracy = np.mean(np.asarray(predict(inputs)) == np.asarray(labels))
print(f"on {jax.devices()[0].platform}: {accuracy:.1%} right")
assert accuracy > 0.9
assert isinstance(weight, np.ndarray)
