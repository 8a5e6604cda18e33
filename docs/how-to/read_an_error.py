"""Provoke errors and print them, as the page beside this file shows them."""

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn

x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 2))
W = pytensor.shared(np.ones((3, 2)), name="W", shape=(3, 2))
noise = pytensor.shared(0.0, name="noise")


def show(error, build):
    """Print the message of the error that is expected of ``build``."""
    try:
        build()
    except error as caught:
        print(f"{error.__name__}: {caught}\n")
    else:
        raise AssertionError(f"{error.__name__} was not raised")


# --- unmatched: a parameter outside all layers
error = pt.sqr(x @ W - y).sum(axis=1).mean()
loss = pt.exp(-noise) * error + noise
show(kfgn.UnmatchedParameterError, lambda: kfgn.trace_layers(loss, [W, noise]))

# --- treated: the same parameter, trained by plain gradient steps
graph = kfgn.trace_layers(loss, [W, noise], unmatched="gradient")
assert [layer.name for layer in graph.layers] == ["W"]
assert set(graph.unmatched) == {noise}

# --- written: the same loss, with the parameter in the loss of each example
each = pt.exp(-noise) * pt.sqr(x @ W - y).sum(axis=1)
graph = kfgn.trace_layers(each.mean() + noise, [W, noise])
assert [layer.name for layer in graph.layers] == ["W", "noise"]

# --- mixed: examples that are normalised over the batch
h = x @ W
normalised = (h - h.mean(axis=0)) / h.std(axis=0)
mixed = pt.sqr(normalised - y).sum(axis=1).mean()
show(kfgn.NotABatchLossError, lambda: kfgn.trace_layers(mixed, [W]))

# --- held: the same loss, its statistics of the batch constant in the curvature
graph = kfgn.trace_layers(mixed, [W], batch_statistics="hold")
assert [layer.name for layer in graph.layers] == ["W"] and graph.statistics

# --- structure: an Op whose Jacobian KFRA does not know
V = pytensor.shared(np.ones((2, 2)), name="V", shape=(2, 2))
h = x @ W
gated = pt.special.softmax(h[:, :, None] * h[:, None, :], axis=2)[:, :, 0] @ V
loss = pt.sqr(gated - y).sum(axis=1).mean()
graph = kfgn.trace_layers(loss, [W, V])
show(kfgn.CurvatureRuleNotFound, lambda: kfgn.curvature_factors(graph, kfgn.KFRA()))
assert kfgn.curvature_factors(graph, kfgn.KFLR()).keys() == set(graph.layers)
