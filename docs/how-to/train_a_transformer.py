"""Train a causal transformer to predict the next character of a text, and print its layers."""

from pathlib import Path

import numpy as np
import pytensor.tensor as pt
from pytensor_ml.layers import Embedding, LayerNorm, Linear, Sequential, TransformerBlock
from pytensor_ml.model import Model

import kfgn_graph as kfgn

# --- data: windows of 32 characters of these pages, and the characters that follow
pages = sorted((Path(__file__).parents[1] / "explanation").glob("*.md"))
text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
text = "".join(character if character.isascii() else "?" for character in text)
alphabet = sorted(set(text))
codes = np.searchsorted(alphabet, list(text))
rng = np.random.default_rng(0)


def batch(count):
    """Return windows of shape (count, 32), and the next characters."""
    start = rng.integers(0, len(codes) - 33, size=(count, 1))
    window = codes[start + np.arange(33)]
    return window[:, :-1], window[:, 1:]


# --- network: one block of width 32, as pytensor-ml has it
x, y = pt.lmatrix("x", shape=(None, 32)), pt.lmatrix("y", shape=(None, 32))
logits = Sequential(
    Embedding("embedding", n_embeddings=len(alphabet), n_features=32),
    TransformerBlock("block", d_model=32, n_head=4, is_causal=True),
    LayerNorm("norm", n_in=32),
    Linear("head", n_in=32, n_out=len(alphabet)),
)(x)
model = Model(logits).initialize(seed=0)
log_p = pt.special.log_softmax(logits, axis=-1)
loss = -pt.take_along_axis(log_p, y[..., None], axis=-1).mean()

# --- train
update = kfgn.compile_update(loss, model.weights, [x, y], refresh_every=10)
losses = [update(*batch(128)).loss for _ in range(120)]

# --- layers: the table of the update, without what depends on the machine
table = update.explain().split("\n\n")[1]
print(table[: table.index("compiled")].rstrip())
print(f"\nnats a character: {losses[0]:.2f} -> {np.mean(losses[-20:]):.2f}")

# --- check
assert np.mean(losses[-20:]) < 2.7
