"""Fit a sine with a network of one hidden layer; the landing page shows this file."""

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn

rng = np.random.default_rng(0)
x, y = pt.matrix("x", shape=(None, 1)), pt.matrix("y", shape=(None, 1))
W = pytensor.shared(rng.normal(size=(1, 20)), name="W", shape=(1, 20))
V = pytensor.shared(rng.normal(size=(20, 1)), name="V", shape=(20, 1))
loss = pt.sqr(pt.tanh(x @ W) @ V - y).mean()

update = kfgn.compile_update(loss, [W, V], [x, y], method=kfgn.KFLR())

points = rng.uniform(-3, 3, size=(500, 1))
for k in range(61):
    stats = update(points, np.sin(points))
    if k % 20 == 0:
        print(f"update {k:2}   loss {stats.loss:.1e}   damping {stats.damping:.1e}")
