"""Train a deep autoencoder on handwritten digits: python autoencoder.py [UPDATES]."""

import sys
from itertools import pairwise

import numpy as np
import pytensor
import pytensor.tensor as pt
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 300

# --- data: 1,797 images of 8 x 8 pixels, one a row, grey values in [0, 1]
images = (load_digits().data / 16).astype("float32")

# --- network: an ordinary PyTensor graph over shared variables
rng = np.random.default_rng(0)
sizes = [64, 128, 64, 8, 64, 128, 64]
code_layer = 2
x = pt.matrix("x", dtype="float32", shape=(None, sizes[0]))
params, h = [], x
for i, (d_in, d_out) in enumerate(pairwise(sizes)):
    limit = np.sqrt(6 / (d_in + d_out))
    weight = rng.uniform(-limit, limit, size=(d_in, d_out)).astype("float32")
    bias = np.zeros(d_out, dtype="float32")
    W = pytensor.shared(weight, name=f"W{i}", shape=weight.shape)
    b = pytensor.shared(bias, name=f"b{i}", shape=bias.shape)
    params += [W, b]
    h = h @ W + b
    if i != code_layer and i != len(sizes) - 2:
        h = pt.tanh(h)
logits = h

# --- loss: Bernoulli cross-entropy, summed over the pixels, mean over the images
loss = (pt.softplus(logits) - x * logits).sum(axis=1).mean()

# --- layers: what the compiler finds in the graph
for layer in kfgn.trace_layers(loss, params).layers:
    print(layer.name, *layer.weight.type.shape)

# --- update: one compiled function that trains the network
update = kfgn.compile_update(loss, params, [x], method=kfgn.KFRA())

# --- training: a fresh batch for each update
for k in range(updates):
    batch = images[rng.choice(len(images), size=500, replace=False)]
    stats = update(batch)
    if k % 20 == 0 or k == updates - 1:
        print(f"update {k:4d}   loss {stats.loss:.3f}   damping {stats.damping:.2g}")

# --- use: the shared variables hold the trained network
reconstruct = pytensor.function([x], pt.sigmoid(logits), mode=update.mode)
error = np.square(reconstruct(images) - images).sum(axis=1).mean()
print(f"mean squared reconstruction error: {error:.3f} an image")
