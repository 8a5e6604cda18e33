"""Train by kfgn.fit with held-out data and early stopping, and by a loop written out."""

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn

rng = np.random.default_rng(0)
inputs = rng.normal(size=(1003, 8)).astype("float32")
targets = np.sin(inputs[:, :1]) + 0.1 * rng.normal(size=(1003, 1)).astype("float32")
training, held_out = (inputs[:803], targets[:803]), (inputs[803:], targets[803:])

x = pt.matrix("x", dtype="float32", shape=(None, 8))
y = pt.matrix("y", dtype="float32", shape=(None, 1))
W0, W1 = (
    pytensor.shared(rng.normal(scale=0.3, size=shape).astype("float32"), name=name, shape=shape)
    for name, shape in (("W0", (8, 16)), ("W1", (16, 1)))
)
loss = ((pt.tanh(x @ W0) @ W1 - y) ** 2).sum(axis=1).mean()
update = kfgn.compile_update(loss, [W0, W1], [x, y])

# --- fit: two epochs, the loss of held-out data after each
history = kfgn.fit(update, training, batch_size=100, epochs=2, validation=held_out)
print(f"held out: {history['validation_loss'].round(3)}")

# --- callback: end when the held-out loss has not fallen for three validations, keep the best
best, best_loss, since = update.state(), np.inf, 0


def early_stopping(now: kfgn.LoopState) -> bool:
    global best, best_loss, since
    if not now.validation:
        return False
    if now.validation["loss"] < best_loss:
        best, best_loss, since = update.state(), now.validation["loss"], 0
    else:
        since += 1
    return since == 3


history = kfgn.fit(
    update,
    training,
    batch_size=100,
    epochs=50,
    validation=held_out,
    callbacks=[early_stopping],
    seed=1,
)
update.load_state(best)
print(f"{history.stopped} after {len(history['update'])} updates, held out: {best_loss:.3f}")
figure = history.plot()  # a notebook shows it; figure.savefig("loss.png") writes it

# --- loop: the same written out, with the rows of each batch from a permutation
for epoch in range(2):
    order = rng.permutation(803)
    for start in range(0, 800, 100):  # the three examples left over wait for another epoch
        rows = order[start : start + 100]
        stats = update(training[0][rows], training[1][rows])
    print(
        f"epoch {epoch}   {stats.asdict()['loss']:.3f}   held out {update.evaluate(*held_out):.3f}"
    )

# --- end
assert update.evaluate(*held_out) < 0.5
assert len(figure.axes[0].lines) == 2
