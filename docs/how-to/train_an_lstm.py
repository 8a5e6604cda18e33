"""Train an LSTM, a loop over time, on the characters of this documentation."""

from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax

import kfgn_graph as kfgn

T, H = 16, 32
text = "".join(p.read_text("utf-8") for p in sorted(Path(__file__).parents[1].rglob("*.md")))
characters = sorted(set(text))
numbers = np.array([characters.index(c) for c in text])
rng = np.random.default_rng(0)


# --- network: one step, and the loop over the steps
def parameter(name, *shape):
    """Return a parameter; a matrix is drawn at random, a bias is zero."""
    value = rng.normal(size=shape) / np.sqrt(shape[0]) if len(shape) > 1 else np.zeros(shape)
    return pytensor.shared(value.astype("float32"), name=name, shape=shape)


V = len(characters)
W, U, b = parameter("W", V, 4 * H), parameter("U", H, 4 * H), parameter("b", 4 * H)
W_out, b_out = parameter("W_out", H, V), parameter("b_out", V)


def step(x, h, c):
    """Return the new state of an LSTM: x is (N, V), h and c are (N, H)."""
    gates = x @ W + h @ U + b
    i, f, o = (pt.sigmoid(gates[:, k * H : (k + 1) * H]) for k in range(3))
    c = f * c + i * pt.tanh(gates[:, 3 * H :])
    return o * pt.tanh(c), c


x = pt.tensor("x", dtype="float32", shape=(None, T, V))
y = pt.tensor("y", dtype="int64", shape=(None, T))
start = pt.zeros((x.shape[0], H), dtype="float32")
h, _ = pytensor.scan(
    step, sequences=x.dimshuffle(1, 0, 2), outputs_info=[start, start], return_updates=False
)
z = h.dimshuffle(1, 0, 2) @ W_out + b_out
loss = -pt.take_along_axis(log_softmax(z, axis=-1), y[..., None], axis=-1).mean()

# --- training: the next character, given those before
update = kfgn.compile_update(loss, [W, U, b, W_out, b_out], [x, y])
one_hot = np.eye(V, dtype="float32")
for k in range(60):
    places = rng.integers(len(numbers) - T - 1, size=(64, 1)) + np.arange(T + 1)
    sequences = numbers[places]
    stats = update(one_hot[sequences[:, :-1]], sequences[:, 1:])
    if k % 20 == 19:
        print(f"update {k + 1}: loss {float(stats.loss):.2f}")

# --- layers: what is trained, and how
print(update.explain())

# --- verdict: characters drawn by their frequencies have a loss of 3.4
assert float(stats.loss) < 3.0
