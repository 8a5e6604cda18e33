"""Uses of weights and biases under other shapes: sequences, positions, time-major batches."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import layer, small

network = section("blocks")
Generator = np.random.Generator


@network("einsum sequence", "einsum over (N, T, d)")
def einsum_sequence(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.tensor3("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    z = pt.tanh(pt.einsum("ntd,de->nte", x, W) + b) @ V + c
    batch = [rng.normal(size=(6, 3, 3)), rng.normal(size=(6, 3, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("bias free bias first", "b + x @ W and a bias used without a product")
def bias_free_bias_first(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    shift = small(rng, "shift", 4)
    V, c = layer(rng, "2", 4, 2)
    h = pt.tanh(b + x @ W)
    z = c + (h + shift) ** 2 @ V
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, shift, V, c], [x, y], batch, [z])


@network("positional", "learned positional embedding added to a projected sequence")
def positional(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 4, 3)), pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    P = small(rng, "P", 4, 4)
    V, c = layer(rng, "2", 4, 2)
    z = pt.tanh(x @ W + b + P).mean(axis=1) @ V + c
    batch = [rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, P, V, c], [x, y], batch, [z])


@network("batch second", "time-major (T, N, d), per-step targets: the leading axis is time")
def batch_second(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.tensor3("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    z = pt.tanh(x @ W + b) @ V + c
    batch = [rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])
