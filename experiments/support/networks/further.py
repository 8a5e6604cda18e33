"""Networks beyond the listed ones: other spellings of them, and kinds that were not listed."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels, layer, small, weight
from experiments.support.networks.sequences import cross_entropy
from experiments.support.networks.theano import negative_log_likelihood, patches

network = section("further")
Generator = np.random.Generator


@network("scaled product", "x @ W / sqrt(d) + b")
def scaled_product(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    h = pt.tanh(x @ W / np.sqrt(3) + b)
    z = h @ V / np.sqrt(4) + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("residual sum", "h = h + f(h) @ W + b, without parentheses")
def residual_sum(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    U, d = layer(rng, "residual", 4, 4)
    V, c = layer(rng, "2", 4, 2)
    h = pt.tanh(x @ W + b)
    h = h + pt.tanh(h) @ U + d
    z = h @ V + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, U, d, V, c], [x, y], batch, [z])


@network("two products", "one bias for two products, a @ W + c @ V + b")
def two_products(rng: Generator) -> Network:
    a, e, y = pt.matrix("a"), pt.matrix("e"), pt.matrix("y")
    W, V, b = weight(rng, "W", 3, 4), weight(rng, "V", 2, 4), small(rng, "b", 4)
    U, c = layer(rng, "2", 4, 2)
    z = pt.tanh(a @ W + e @ V + b) @ U + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, V, b, U, c], [a, e, y], batch, [z])


@network("einsum twice", "two layers by einsum over (N, T, d)")
def einsum_twice(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.tensor3("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    h = pt.tanh(pt.einsum("ntd,de->nte", x, W) + b)
    z = pt.einsum("nte,ef->ntf", h, V) + c
    batch = [rng.normal(size=(6, 3, 3)), rng.normal(size=(6, 3, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("im2col channels last", "patches by hand, pooling by a reshape of (N, places, F)")
def im2col_channels_last(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 1, 5, 5)), pt.lvector("y")
    kernel, b = layer(rng, "conv", 4, 3)
    W, c = layer(rng, "out", 12, 3)
    conv = (patches(x, 5, 2) @ kernel + b).reshape((x.shape[0], 2, 2, 2, 2, 3))
    logits = pt.tanh(conv.max(axis=(2, 4)).reshape((x.shape[0], 12))) @ W + c
    batch = [rng.normal(size=(6, 1, 5, 5)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [kernel, b, W, c], [x, y], batch, [logits])


@network("two means", "a mean over classes and a mean over examples added")
def two_means(rng: Generator) -> Network:
    x, y, t = pt.matrix("x"), pt.lvector("y"), pt.matrix("t")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    loss = cross_entropy(z, y).mean() + ((z - t) ** 2).mean()
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3), rng.normal(size=(8, 3))]
    return Network(loss, [W, b, V, c], [x, y, t], batch, [z])


@network("activity penalty", "squared activations of the hidden layer added to the loss")
def activity_penalty(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 2)
    h = pt.tanh(x @ W + b)
    z = h @ V + c
    loss = ((z - y) ** 2).mean() + 0.01 * (h**2).sum(axis=1).mean()
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(loss, [W, b, V, c], [x, y], batch, [z, h])


@network("dot of weights and losses", "pt.dot(w, losses) with a weight for each example")
def dot_of_weights(rng: Generator) -> Network:
    x, y, w = pt.matrix("x"), pt.vector("y"), pt.vector("w")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 1)
    z = (pt.tanh(x @ W + b) @ V + c)[:, 0]
    loss = pt.dot(w, (z - y) ** 2)
    batch = [rng.normal(size=(8, 3)), rng.normal(size=8), rng.uniform(size=8)]
    return Network(loss, [W, b, V, c], [x, y, w], batch, [z])


@network("dot of residuals", "pt.dot(d, d) of the vector of residuals")
def dot_of_residuals(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.vector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 1)
    z = (pt.tanh(x @ W + b) @ V + c)[:, 0]
    d = z - y
    batch = [rng.normal(size=(8, 3)), rng.normal(size=8)]
    return Network(pt.dot(d, d), [W, b, V, c], [x, y], batch, [z])


@network("weighted columns", "mse[0] * 2 + mse[1] of the mean squared errors by column")
def weighted_columns(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 2)
    z = pt.tanh(x @ W + b) @ V + c
    mse = ((z - y) ** 2).mean(axis=0)
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(mse[0] * 2 + mse[1], [W, b, V, c], [x, y], batch, [z])


@network("rmse", "the root of the mean squared error")
def rmse(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.vector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 1)
    z = (pt.tanh(x @ W + b) @ V + c)[:, 0]
    batch = [rng.normal(size=(8, 3)), rng.normal(size=8)]
    return Network(pt.sqrt(((z - y) ** 2).mean()), [W, b, V, c], [x, y], batch, [z])


@network("log softmax eps", "log(softmax + eps)")
def log_softmax_eps(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    p = pt.special.softmax(z, axis=1)
    loss = -pt.log(p + 1e-7)[pt.arange(y.shape[0]), y].mean()
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(loss, [W, b, V, c], [x, y], batch, [z])


@network("clipped softmax", "log of softmax clipped to [eps, 1 - eps]")
def clipped_softmax(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    p = pt.clip(pt.special.softmax(z, axis=1), 1e-7, 1 - 1e-7)
    loss = -pt.log(p)[pt.arange(y.shape[0]), y].mean()
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(loss, [W, b, V, c], [x, y], batch, [z])


@network("entropy bonus", "cross-entropy with the entropy of the prediction subtracted")
def entropy_bonus(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    logp = pt.special.log_softmax(z, axis=1)
    entropy = -(pt.exp(logp) * logp).sum(axis=1).mean()
    loss = -logp[pt.arange(y.shape[0]), y].mean() - 0.01 * entropy
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3)]
    return Network(loss, [W, b, V, c], [x, y], batch, [z])


@network("masked labels", "labels of -1 masked by switch")
def masked_labels(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    logp = pt.special.log_softmax(z, axis=1)
    right = logp[pt.arange(y.shape[0]), pt.switch(y < 0, 0, y)]
    loss = -pt.switch(y < 0, 0.0, right).sum() / (y >= 0).sum()
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 4) - 1]
    return Network(loss, [W, b, V, c], [x, y], batch, [z])


@network("class weights", "cross-entropy with an input that is no batch: class weights")
def class_weights(rng: Generator) -> Network:
    x, y, w = pt.matrix("x"), pt.lvector("y"), pt.vector("w")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = pt.tanh(x @ W + b) @ V + c
    logp = pt.special.log_softmax(z, axis=1)[pt.arange(y.shape[0]), y]
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3), rng.uniform(1, 2, size=3)]
    return Network(-(w[y] * logp).mean(), [W, b, V, c], [x, y, w], batch, [z])


@network("temperature input", "an input that is no batch: a scalar temperature")
def temperature_input(rng: Generator) -> Network:
    x, y, T = pt.matrix("x"), pt.lvector("y"), pt.scalar("T")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)
    z = (pt.tanh(x @ W + b) @ V + c) / T
    batch = [rng.normal(size=(8, 3)), labels(rng, 8, 3), np.asarray(1.5)]
    return Network(cross_entropy(z, y), [W, b, V, c], [x, y, T], batch, [z])


@network("scalar bias", "one number added to every output")
def scalar_bias(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = weight(rng, "V", 5, 2), small(rng, "c")
    z = pt.tanh(x @ W + b) @ V + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("constant mixing", "A @ X @ W with a constant A over the axis of positions")
def constant_mixing(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.matrix("y")
    A = rng.normal(size=(4, 4))
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 2)
    z = pt.tanh(A @ x @ W + b).mean(axis=1) @ V + c
    batch = [rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("masks by shared_rng", "dropout by pt.random.shared_rng and an update of the user's")
def masks_by_shared_rng(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 2)
    h = pt.tanh(x @ W + b)
    generator = pt.random.shared_rng(np.random.default_rng(7))
    _, mask = generator.bernoulli(0.8, size=h.shape)
    z = (h * mask / 0.8) @ V + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])
