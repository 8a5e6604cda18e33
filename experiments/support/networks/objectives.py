"""Losses: likelihoods with several parameters, weighted, robust and piecewise linear losses."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import bits, labels, layer, near_one, small, weight
from experiments.support.networks.sequences import cross_entropy

network = section("blocks")
Generator = np.random.Generator


class Perceptron:
    """A tanh network of one hidden layer, d_in - 5 - d_out, on a matrix x."""

    def __init__(self, rng: Generator, d_out: int, d_in: int = 3) -> None:
        self.x = pt.matrix("x")
        self.data = rng.normal(size=(8, d_in))
        W, b = layer(rng, "1", d_in, 5)
        V, c = layer(rng, "2", 5, d_out)
        self.parameters = [W, b, V, c]
        self.hidden = pt.tanh(self.x @ W + b)
        self.output = self.hidden @ V + c


def vae(rng: Generator, joined: bool) -> Network:
    """Return a variational autoencoder with noise as an input."""
    x, e = pt.matrix("x"), pt.matrix("e")
    W, b = layer(rng, "enc", 5, 4)
    Wm, bm = layer(rng, "mean", 4, 2)
    Ws, bs = layer(rng, "logvar", 4, 2)
    V, c = layer(rng, "dec", 2, 4)
    U, d = layer(rng, "out", 4, 5)
    h = pt.tanh(x @ W + b)
    mean, logvar = h @ Wm + bm, h @ Ws + bs
    code = mean + pt.exp(0.5 * logvar) * e
    logits = pt.tanh(code @ V + c) @ U + d
    parameters = [W, b, Wm, bm, Ws, bs, V, c, U, d]
    batch = [bits(rng, 6, 5), rng.normal(size=(6, 2))]
    outputs, options = [mean, logvar, logits], {}
    if joined:
        z = pt.concatenate(outputs, axis=1)
        mean, logvar, logits = z[:, :2], z[:, 2:4], z[:, 4:]
        outputs, options = [z], {"output": z}
    reconstruction = (pt.softplus(logits) - x * logits).sum(axis=1)
    divergence = 0.5 * (pt.exp(logvar) + mean**2 - 1 - logvar).sum(axis=1)
    loss = (reconstruction + divergence).mean()
    return Network(loss, parameters, [x, e], batch, outputs, options)


@network("vae", "reconstruction and divergence of a variational autoencoder")
def vae_plain(rng: Generator) -> Network:
    return vae(rng, joined=False)


@network("vae joined", "the same, its outputs concatenated and passed as output=")
def vae_joined(rng: Generator) -> Network:
    return vae(rng, joined=True)


@network("temperature", "learned scalar temperature")
def temperature(rng: Generator) -> Network:
    net, y = Perceptron(rng, 3), pt.lvector("y")
    T = near_one(rng, "T")
    logits = net.output / T
    loss = cross_entropy(logits, y)
    return Network(loss, [*net.parameters, T], [net.x, y], [net.data, labels(rng, 8, 3)], [logits])


@network("mdn", "mixture density network, one layer sliced into pi, mu, log sigma")
def mdn(rng: Generator) -> Network:
    net, y = Perceptron(rng, 6), pt.vector("y")
    z = net.output
    log_pi, mu, log_sigma = log_softmax(z[:, :2], axis=1), z[:, 2:4], z[:, 4:]
    log_p = log_pi - log_sigma - 0.5 * ((y[:, None] - mu) / pt.exp(log_sigma)) ** 2
    loss = -pt.logsumexp(log_p, axis=1).mean()
    return Network(loss, net.parameters, [net.x, y], [net.data, rng.normal(size=8)], [z])


@network("heteroscedastic", "mean and log variance of one layer")
def heteroscedastic(rng: Generator) -> Network:
    net, y = Perceptron(rng, 2), pt.vector("y")
    mean, log_variance = net.output[:, 0], net.output[:, 1]
    loss = (0.5 * log_variance + 0.5 * (y - mean) ** 2 / pt.exp(log_variance)).mean()
    batch = [net.data, rng.normal(size=8)]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


@network("heteroscedastic two heads", "the same with a layer for each")
def heteroscedastic_two_heads(rng: Generator) -> Network:
    net, y = Perceptron(rng, 1), pt.matrix("y")
    A, a = layer(rng, "logvar", 5, 1)
    mean, log_variance = net.output, net.hidden @ A + a
    loss = (0.5 * log_variance + 0.5 * (y - mean) ** 2 * pt.exp(-log_variance)).mean()
    batch = [net.data, rng.normal(size=(8, 1))]
    parameters = [*net.parameters, A, a]
    return Network(loss, parameters, [net.x, y], batch, [mean, log_variance])


@network("global sigma", "regression with a learned global noise scale")
def global_sigma(rng: Generator) -> Network:
    net, y = Perceptron(rng, 2), pt.matrix("y")
    log_sigma = small(rng, "log_sigma")
    z = net.output
    loss = (0.5 * ((y - z) / pt.exp(log_sigma)) ** 2 + log_sigma).sum(axis=1).mean()
    batch = [net.data, rng.normal(size=(8, 2))]
    return Network(loss, [*net.parameters, log_sigma], [net.x, y], batch, [z])


def multitask(rng: Generator, joined: bool) -> Network:
    """Return a network with a regression and a classification head."""
    net, y, k = Perceptron(rng, 2), pt.matrix("y"), pt.lvector("k")
    A, a = layer(rng, "class", 5, 3)
    z, logits = net.output, net.hidden @ A + a
    outputs, options = [z, logits], {}
    if joined:
        both = pt.concatenate(outputs, axis=1)
        z, logits = both[:, :2], both[:, 2:]
        outputs, options = [both], {"output": both}
    loss = ((z - y) ** 2).mean() + cross_entropy(logits, k)
    batch = [net.data, rng.normal(size=(8, 2)), labels(rng, 8, 3)]
    return Network(loss, [*net.parameters, A, a], [net.x, y, k], batch, outputs, options)


@network("multitask", "regression and classification heads, their losses added")
def multitask_plain(rng: Generator) -> Network:
    return multitask(rng, joined=False)


@network("multitask joined", "the same, heads concatenated and passed as output=")
def multitask_joined(rng: Generator) -> Network:
    return multitask(rng, joined=True)


@network("poisson offset", "Poisson GLM with exposure as offset")
def poisson_offset(rng: Generator) -> Network:
    x, exposure, y = pt.matrix("x"), pt.vector("exposure"), pt.vector("y")
    w, b = weight(rng, "w", 3), small(rng, "b")
    eta = x @ w + b + pt.log(exposure)
    loss = (pt.exp(eta) - y * eta).mean()
    counts = rng.poisson(2.0, size=8).astype("float64")
    batch = [rng.normal(size=(8, 3)), rng.uniform(1, 3, size=8), counts]
    return Network(loss, [w, b], [x, exposure, y], batch, [eta])


@network("poisson net", "Poisson regression by a network")
def poisson_net(rng: Generator) -> Network:
    net, y = Perceptron(rng, 1), pt.vector("y")
    eta = net.output[:, 0]
    loss = (pt.exp(eta) - y * eta).mean()
    batch = [net.data, rng.poisson(2.0, size=8).astype("float64")]
    return Network(loss, net.parameters, [net.x, y], batch, [eta])


@network("negbin", "negative binomial with learned dispersion")
def negbin(rng: Generator) -> Network:
    net, y = Perceptron(rng, 1), pt.vector("y")
    log_alpha = small(rng, "log_alpha")
    eta, alpha = net.output[:, 0], pt.exp(log_alpha)
    mu = pt.exp(eta)
    log_p = (
        pt.gammaln(y + alpha)
        - pt.gammaln(alpha)
        - pt.gammaln(y + 1)
        + alpha * pt.log(alpha / (alpha + mu))
        + y * pt.log(mu / (alpha + mu))
    )
    batch = [net.data, rng.poisson(2.0, size=8).astype("float64")]
    return Network(-log_p.mean(), [*net.parameters, log_alpha], [net.x, y], batch, [eta])


@network("l1 loss", "mean absolute error: no second derivative")
def l1_loss(rng: Generator) -> Network:
    net, y = Perceptron(rng, 2), pt.matrix("y")
    loss = abs(net.output - y).mean()
    batch = [net.data, rng.normal(size=(8, 2))]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


@network("quantile", "pinball loss for three quantiles")
def quantile(rng: Generator) -> Network:
    net, y = Perceptron(rng, 3), pt.vector("y")
    tau = pt.constant(np.array([0.1, 0.5, 0.9]))
    error = y[:, None] - net.output
    loss = pt.maximum(tau * error, (tau - 1) * error).sum(axis=1).mean()
    batch = [net.data, rng.normal(size=8)]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


@network("huber", "Huber loss by switch")
def huber(rng: Generator) -> Network:
    net, y = Perceptron(rng, 2), pt.matrix("y")
    error = abs(net.output - y)
    loss = pt.switch(error < 1, 0.5 * error**2, error - 0.5).mean()
    batch = [net.data, rng.normal(size=(8, 2))]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


@network("focal", "focal loss of softmax probabilities")
def focal(rng: Generator) -> Network:
    net, y = Perceptron(rng, 3), pt.lvector("y")
    p = pt.special.softmax(net.output, axis=1)[pt.arange(y.shape[0]), y]
    loss = -((1 - p) ** 2 * pt.log(p)).mean()
    batch = [net.data, labels(rng, 8, 3)]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


@network("policy gradient", "REINFORCE: log-likelihood weighted by advantages of either sign")
def policy_gradient(rng: Generator) -> Network:
    net, action, advantage = Perceptron(rng, 3), pt.lvector("action"), pt.vector("advantage")
    logp = log_softmax(net.output, axis=1)[pt.arange(action.shape[0]), action]
    loss = -(advantage * logp).mean()
    batch = [net.data, labels(rng, 8, 3), rng.normal(size=8)]
    return Network(loss, net.parameters, [net.x, action, advantage], batch, [net.output])


@network("signed weights mse", "squared error with weights of either sign (unlearning)")
def signed_weights_mse(rng: Generator) -> Network:
    net, y, w = Perceptron(rng, 2), pt.matrix("y"), pt.vector("w")
    loss = (w * ((net.output - y) ** 2).sum(axis=1)).mean()
    batch = [net.data, rng.normal(size=(8, 2)), rng.normal(size=8)]
    return Network(loss, net.parameters, [net.x, y, w], batch, [net.output])


@network("label smoothing", "cross-entropy with smoothed one-hot labels")
def label_smoothing(rng: Generator) -> Network:
    net, y = Perceptron(rng, 3), pt.lvector("y")
    smooth = 0.9 * pt.eye(3)[y] + 0.1 / 3
    loss = -(smooth * log_softmax(net.output, axis=1)).sum(axis=1).mean()
    batch = [net.data, labels(rng, 8, 3)]
    return Network(loss, net.parameters, [net.x, y], batch, [net.output])


def neighbours(rng: Generator, gather: str) -> Network:
    """Return a regression with a penalty on the difference of neighbouring rows."""
    net, y = Perceptron(rng, 2), pt.matrix("y")
    z = net.output
    rows = pt.arange(z.shape[0] - 1)
    if gather == "rows":
        steps = z[rows + 1] - z[rows]
    else:
        steps = z[rows + 1, 0] - z[rows, 0]
    loss = ((z - y) ** 2).mean() + 0.1 * (steps**2).mean()
    batch = [net.data, rng.normal(size=(8, 2))]
    return Network(loss, net.parameters, [net.x, y], batch, [z])


@network("arange shift", "smoothness penalty between neighbouring rows, by arange indices")
def arange_shift(rng: Generator) -> Network:
    return neighbours(rng, "rows")


@network("arange cols", "the same through a two-index gather")
def arange_cols(rng: Generator) -> Network:
    return neighbours(rng, "columns")
