"""Lasagne's layers and losses, as graphs."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import (
    labels,
    layer,
    near_one,
    random_bits,
    small,
    weight,
)
from experiments.support.networks.theano import negative_log_likelihood

network = section("Lasagne")
Generator = np.random.Generator


@network("maxout", "FeaturePoolLayer: max over groups of linear units")
def maxout(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 8)
    V, c = layer(rng, "2", 4, 3)
    h = (pt.dot(x, W) + b).reshape((x.shape[0], 4, 2)).max(axis=2)
    logits = pt.dot(h, V) + c
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(negative_log_likelihood(logits, y), [W, b, V, c], [x, y], batch, [logits])


@network("dropout", "DropoutLayer, noise drawn in the graph by a RandomStream")
def dropout(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    h = pt.maximum(pt.dot(x, W) + b, 0)
    mask = random_bits(5, 0.7, h.shape)
    logits = pt.dot(h / 0.7 * mask, V) + c
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(negative_log_likelihood(logits, y), [W, b, V, c], [x, y], batch, [logits])


@network("batchnorm", "BatchNormLayer: statistics of the batch, gamma and beta")
def batchnorm(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W = weight(rng, "W", 3, 5)
    gamma, beta = near_one(rng, "gamma", 5), small(rng, "beta", 5)
    V, c = layer(rng, "2", 5, 3)
    h = pt.dot(x, W)
    normalised = (h - h.mean(axis=0)) * (gamma / pt.sqrt(h.var(axis=0) + 1e-4)) + beta
    logits = pt.dot(pt.tanh(normalised), V) + c
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    loss = negative_log_likelihood(logits, y)
    options = {"batch_statistics": "hold"}
    return Network(loss, [W, gamma, beta, V, c], [x, y], batch, [logits], options)


@network("scale layer", 'ScaleLayer and BiasLayer (also the "frozen batch norm")')
def scale_layer(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, s, b = weight(rng, "W", 3, 5), near_one(rng, "scales", 5), small(rng, "b", 5)
    V, c = layer(rng, "2", 5, 3)
    h = pt.dot(x, W) * s.dimshuffle("x", 0) + b.dimshuffle("x", 0)
    logits = pt.dot(pt.tanh(h), V) + c
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [W, s, b, V, c], [x, y], batch, [logits])


@network("prelu", "ParametricRectifierLayer: one slope for each unit")
def prelu(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    alpha = near_one(rng, "alpha", 5)
    V, c = layer(rng, "2", 5, 3)
    h = pt.dot(x, W) + b
    f1, f2 = 0.5 * (1 + alpha), 0.5 * (1 - alpha)
    logits = pt.dot(f1 * h + f2 * abs(h), V) + c
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [W, b, alpha, V, c], [x, y], batch, [logits])


@network("hinge", "multiclass_hinge_loss: piecewise linear in the outputs")
def hinge(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    scores = pt.dot(pt.tanh(pt.dot(x, W) + b), V) + c
    targets = pt.eye(3)[y]
    corrects = scores[targets.nonzero()]
    rest = scores[(1 - targets).nonzero()].reshape((-1, 2)).max(axis=1)
    loss = pt.maximum(rest - corrects + 1.0, 0).mean()
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(loss, [W, b, V, c], [x, y], batch, [scores])
