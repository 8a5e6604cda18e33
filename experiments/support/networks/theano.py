"""The networks of the Theano tutorials."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.signal.conv import convolve2d
from pytensor.tensor.special import softmax
from pytensor.tensor.variable import TensorVariable

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import bits, labels, layer, random_bits, small, weight

network = section("Theano")
Generator = np.random.Generator


def negative_log_likelihood(logits: TensorVariable, y: TensorVariable) -> TensorVariable:
    """Return the tutorials' loss: the mean log of the softmax, indexed by arange."""
    p_y_given_x = softmax(logits, axis=1)
    return -pt.mean(pt.log(p_y_given_x)[pt.arange(y.shape[0]), y])


@network("logreg", "logistic_sgd.py: zeros init, log of softmax, indexed by arange")
def logreg(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W = pytensor.shared(np.zeros((4, 3)), name="W", borrow=True)
    b = pytensor.shared(np.zeros(3), name="b", borrow=True)
    logits = pt.dot(x, W) + b
    batch = [rng.normal(size=(10, 4)), labels(rng, 10, 3)]
    return Network(negative_log_likelihood(logits, y), [W, b], [x, y], batch, [logits])


@network("mlp l1 l2", "mlp.py: L1 and L2 terms")
def mlp_l1_l2(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "hidden", 4, 5)
    V, c = layer(rng, "out", 5, 3)
    logits = pt.dot(pt.tanh(pt.dot(x, W) + b), V) + c
    L1 = abs(W).sum() + abs(V).sum()
    L2_sqr = (W**2).sum() + (V**2).sum()
    loss = negative_log_likelihood(logits, y) + 0.001 * L1 + 0.0001 * L2_sqr
    batch = [rng.normal(size=(10, 4)), labels(rng, 10, 3)]
    return Network(loss, [W, b, V, c], [x, y], batch, [logits])


def denoising(rng: Generator, tied: bool) -> Network:
    """Return a denoising autoencoder with corruption drawn in the graph."""
    x = pt.matrix("x")
    W, b = weight(rng, "W", 5, 3), small(rng, "b", 3)
    b_prime = small(rng, "b_prime", 5)
    W_prime = W.T if tied else weight(rng, "W_prime", 3, 5)
    corrupted = random_bits(3, 0.7, x.shape) * x
    y = pt.sigmoid(pt.dot(corrupted, W) + b)
    logits = pt.dot(y, W_prime) + b_prime
    z = pt.sigmoid(logits)
    loss = -pt.sum(x * pt.log(z) + (1 - x) * pt.log(1 - z), axis=1).mean()
    parameters = [W, b, b_prime] if tied else [W, b, W_prime, b_prime]
    return Network(loss, parameters, [x], [bits(rng, 8, 5)], [logits])


@network("dA tied", "dA.py: denoising autoencoder, tied weights, corruption drawn in the graph")
def da_tied(rng: Generator) -> Network:
    return denoising(rng, tied=True)


@network("dA untied", "the same, untied")
def da_untied(rng: Generator) -> Network:
    return denoising(rng, tied=False)


@network("sparse ae", "sparse autoencoder: KL of the mean activation, over the batch")
def sparse_ae(rng: Generator) -> Network:
    x = pt.matrix("x")
    W, b = layer(rng, "enc", 5, 3)
    V, c = layer(rng, "dec", 3, 5)
    hidden = pt.sigmoid(pt.dot(x, W) + b)
    z = pt.dot(hidden, V) + c
    rho, rho_hat = 0.2, hidden.mean(axis=0)
    kl = (rho * pt.log(rho / rho_hat) + (1 - rho) * pt.log((1 - rho) / (1 - rho_hat))).sum()
    loss = 0.5 * ((z - x) ** 2).sum(axis=1).mean() + 0.5 * kl
    return Network(loss, [W, b, V, c], [x], [rng.normal(size=(8, 5))], [z, hidden])


def patches(x: TensorVariable, size: int, k: int) -> TensorVariable:
    """Return the (N, places, C k k) patches of images (N, C, size, size), in place order."""
    side = size - k + 1
    columns = [x[:, :, i : i + k, j : j + k].flatten(2) for i in range(side) for j in range(side)]
    return pt.stack(columns, axis=1)


def max_pool(h: TensorVariable, side: int, channels: int) -> TensorVariable:
    """Return the maxima of 2 x 2 windows of (N, F, side, side)."""
    half = side // 2
    return h.reshape((-1, channels, half, 2, half, 2)).max(axis=(3, 5))


@network("lenet", "convolutional_mlp.py, filters (F, C, k, k)")
def lenet(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 1, 5, 5)), pt.lvector("y")
    filters, b = weight(rng, "filters", 3, 1, 2, 2), small(rng, "b", 3)
    W, c = layer(rng, "out", 12, 3)
    kernel = filters[:, :, ::-1, ::-1].flatten(2)  # a convolution flips its filters
    conv = pt.dot(patches(x, 5, 2), kernel.T).transpose(0, 2, 1).reshape((-1, 3, 4, 4))
    hidden = pt.tanh(max_pool(conv, 4, 3) + b.dimshuffle("x", 0, "x", "x"))
    logits = pt.dot(hidden.flatten(2), W) + c
    batch = [rng.normal(size=(6, 1, 5, 5)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [filters, b, W, c], [x, y], batch, [logits])


@network("lenet im2col", "the same, but the kernel stored as a matrix (C k k, F)")
def lenet_im2col(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 1, 5, 5)), pt.lvector("y")
    kernel, b = layer(rng, "conv", 4, 3)
    W, c = layer(rng, "out", 12, 3)
    conv = (patches(x, 5, 2) @ kernel + b).transpose(0, 2, 1)
    pooled = conv.reshape((conv.shape[0], 3, 2, 2, 2, 2)).max(axis=(3, 5))
    logits = pt.tanh(pooled).reshape((pooled.shape[0], 12)) @ W + c
    batch = [rng.normal(size=(6, 1, 5, 5)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [kernel, b, W, c], [x, y], batch, [logits])


@network("convolve2d", "signal.convolve2d, one channel in, filters summed by hand")
def convolve_2d(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 4, 4)), pt.lvector("y")
    filters, b = weight(rng, "filters", 3, 2, 2), small(rng, "b", 3)
    W, c = layer(rng, "out", 3, 3)
    maps = [
        pt.tanh(convolve2d(x, filters[f][None], mode="valid") + b[f]).mean(axis=(1, 2))
        for f in range(3)
    ]
    logits = pt.stack(maps, axis=1) @ W + c
    batch = [rng.normal(size=(6, 4, 4)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [filters, b, W, c], [x, y], batch, [logits])


@network("word embedding mlp", "context-window word embeddings (rnnslu.py, no recurrence)")
def word_embedding_mlp(rng: Generator) -> Network:
    idxs, y = pt.lmatrix("idxs"), pt.lvector("y")
    emb = small(rng, "embeddings", 6, 3)
    W, b = layer(rng, "hidden", 9, 4)
    V, c = layer(rng, "out", 4, 3)
    x = emb[idxs].reshape((idxs.shape[0], 9))
    logits = pt.dot(pt.sigmoid(pt.dot(x, W) + b), V) + c
    batch = [labels(rng, 24, 6).reshape(8, 3), labels(rng, 8, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [emb, W, b, V, c], [idxs, y], batch, [logits])


@network("elman scan", "rnnslu.py: scan over time, batch second")
def elman_scan(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.lvector("y")  # (time, batch, features)
    wx, wh, bh = weight(rng, "wx", 3, 4), weight(rng, "wh", 4, 4), small(rng, "bh", 4)
    W, b = layer(rng, "out", 4, 3)

    def recurrence(x_t: TensorVariable, h_tm1: TensorVariable) -> TensorVariable:
        return pt.sigmoid(pt.dot(x_t, wx) + pt.dot(h_tm1, wh) + bh)

    h = pytensor.scan(
        recurrence,
        sequences=x,
        outputs_info=[pt.zeros((x.shape[1], 4))],
        return_updates=False,
    )
    logits = pt.dot(h[-1], W) + b
    batch = [rng.normal(size=(4, 6, 3)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [wx, wh, bh, W, b], [x, y], batch, [logits])


@network("elman unrolled", "the same recurrence unrolled by a Python loop, batch first")
def elman_unrolled(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 3, 3)), pt.lvector("y")
    wx, wh, bh = weight(rng, "wx", 3, 4), weight(rng, "wh", 4, 4), small(rng, "bh", 4)
    W, b = layer(rng, "out", 4, 3)
    h = pt.zeros((x.shape[0], 4))
    for t in range(3):
        h = pt.sigmoid(pt.dot(x[:, t], wx) + pt.dot(h, wh) + bh)
    logits = pt.dot(h, W) + b
    batch = [rng.normal(size=(6, 3, 3)), labels(rng, 6, 3)]
    loss = negative_log_likelihood(logits, y)
    return Network(loss, [wx, wh, bh, W, b], [x, y], batch, [logits])


@network("lstm imdb", "lstm.py: embedding, mask, scan, four gates in a matrix, mean pooling")
def lstm_imdb(rng: Generator) -> Network:
    d = 3
    x, mask, y = pt.lmatrix("x"), pt.matrix("mask"), pt.lvector("y")  # (time, batch)
    Wemb = small(rng, "Wemb", 6, d)
    W, U, b = (
        weight(rng, "lstm_W", d, 4 * d),
        weight(rng, "lstm_U", d, 4 * d),
        small(rng, "lstm_b", 4 * d),
    )
    V, c = weight(rng, "U", d, 2), small(rng, "b", 2)
    emb = Wemb[x.flatten()].reshape([x.shape[0], x.shape[1], d])

    def _slice(_x: TensorVariable, n: int) -> TensorVariable:
        return _x[:, n * d : (n + 1) * d]

    def _step(m_, x_, h_, c_):
        preact = pt.dot(h_, U) + x_
        i, f, o = (pt.sigmoid(_slice(preact, n)) for n in range(3))
        g = pt.tanh(_slice(preact, 3))
        c = m_[:, None] * (f * c_ + i * g) + (1.0 - m_)[:, None] * c_
        h = m_[:, None] * (o * pt.tanh(c)) + (1.0 - m_)[:, None] * h_
        return h, c

    start = pt.alloc(np.float64(0.0), x.shape[1], d)
    rval = pytensor.scan(
        _step,
        sequences=[mask, pt.dot(emb, W) + b],
        outputs_info=[start, start],
        n_steps=x.shape[0],
        return_updates=False,
    )
    proj = (rval[0] * mask[:, :, None]).sum(axis=0) / mask.sum(axis=0)[:, None]
    logits = pt.dot(proj, V) + c
    pred = softmax(logits, axis=1)
    loss = -pt.log(pred[pt.arange(x.shape[1]), y] + 1e-8).mean()
    masks = (np.arange(4)[:, None] < rng.integers(1, 5, size=6)).astype("float64")
    batch = [labels(rng, 24, 6).reshape(4, 6), masks, labels(rng, 6, 2)]
    return Network(loss, [Wemb, W, U, b, V, c], [x, mask, y], batch, [logits])
