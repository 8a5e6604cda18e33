"""Kinds of networks that were not listed: derivatives, functions of parameters, gates, terms."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.special import softmax
from pytensor.tensor.variable import TensorVariable

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels, layer, near_one, small, weight
from experiments.support.networks.sequences import attend, cross_entropy

network = section("further")
Generator = np.random.Generator


@network("sobolev", "values and slopes of a function of one variable are fitted")
def sobolev(rng: Generator) -> Network:
    x, y, slope = pt.matrix("x"), pt.matrix("y"), pt.matrix("slope")
    W, b = layer(rng, "1", 1, 5)
    V, c = layer(rng, "2", 5, 1)
    z = pt.tanh(x @ W + b) @ V + c
    dz = pytensor.grad(z.sum(), x)
    loss = ((z - y) ** 2).mean() + ((dz - slope) ** 2).mean()
    batch = [rng.normal(size=(8, 1)) for _ in range(3)]
    return Network(loss, [W, b, V, c], [x, y, slope], batch, [z, dz])


@network("heat equation", "u_t = u_xx by second derivatives of the network")
def heat_equation(rng: Generator) -> Network:
    x, t, target = pt.vector("x"), pt.vector("t"), pt.vector("target")
    W, b = layer(rng, "1", 2, 4)
    V, c = layer(rng, "2", 4, 1)

    def u(x: TensorVariable, t: TensorVariable) -> TensorVariable:
        return (pt.tanh(pt.stack([x, t], axis=1) @ W + b) @ V + c)[:, 0]

    value = u(x, t)
    u_x = pytensor.grad(value.sum(), x)
    u_xx = pytensor.grad(u_x.sum(), x)
    u_t = pytensor.grad(value.sum(), t)
    residual, start = u_t - u_xx, u(x, pt.zeros_like(t))
    loss = (residual**2).mean() + ((start - target) ** 2).mean()
    batch = [rng.uniform(size=7), rng.uniform(size=7), rng.normal(size=7)]
    return Network(loss, [W, b, V, c], [x, t, target], batch, [residual, start])


@network("contractive autoencoder", "the squared norm of the code's Jacobian is added")
def contractive_autoencoder(rng: Generator) -> Network:
    x = pt.matrix("x")
    W, b = layer(rng, "1", 4, 3)
    V, c = layer(rng, "2", 3, 4)
    h = pt.sigmoid(x @ W + b)
    z = h @ V + c
    jacobian = (h * (1 - h))[:, None, :] * W
    loss = ((z - x) ** 2).sum(axis=1).mean() + 0.1 * (jacobian**2).sum(axis=(1, 2)).mean()
    return Network(loss, [W, b, V, c], [x], [rng.normal(size=(7, 4))], [z, jacobian])


@network("masked weight", "a sparse layer, W * mask with a constant mask")
def masked_weight(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 4, 5)
    V, c = layer(rng, "2", 5, 2)
    mask = rng.integers(2, size=(4, 5)).astype("float64")
    z = pt.tanh(x @ (W * mask) + b) @ V + c
    batch = [rng.normal(size=(8, 4)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("positive weight", "a monotone layer, x @ softplus(W)")
def positive_weight(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 1)
    z = pt.tanh(x @ pt.softplus(W) + b) @ pt.exp(V) + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 1))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("spectral scaling", "a weight divided by its Frobenius norm")
def spectral_scaling(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 2)
    z = pt.tanh(x @ (W / pt.sqrt((W**2).sum())) + b) @ V + c
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c], [x, y], batch, [z])


@network("rezero", "residual branches with a learned scalar, h + alpha f(h)")
def rezero(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = layer(rng, "1", 4, 4)
    U, d = layer(rng, "2", 4, 4)
    V, c = layer(rng, "3", 4, 2)
    alphas = [near_one(rng, f"alpha{k}") for k in range(2)]
    h = x + alphas[0] * pt.tanh(x @ W + b)
    h = h + alphas[1] * pt.tanh(h @ U + d)
    z = h @ V + c
    batch = [rng.normal(size=(8, 4)), rng.normal(size=(8, 2))]
    parameters = [W, b, U, d, V, c, *alphas]
    return Network(((z - y) ** 2).mean(), parameters, [x, y], batch, [z])


@network("consistency", "predictions on labelled and unlabelled rows, two terms of one network")
def consistency(rng: Generator) -> Network:
    x, y, u, noisy = pt.matrix("x"), pt.lvector("y"), pt.matrix("u"), pt.matrix("noisy")
    W, b = layer(rng, "1", 3, 5)
    V, c = layer(rng, "2", 5, 3)

    def logits(rows: TensorVariable) -> TensorVariable:
        return pt.tanh(rows @ W + b) @ V + c

    z, clean, moved = logits(x), logits(u), logits(noisy)
    loss = cross_entropy(z, y) + ((softmax(clean, axis=1) - softmax(moved, axis=1)) ** 2).mean()
    free = rng.normal(size=(6, 3))
    batch = [
        rng.normal(size=(6, 3)),
        labels(rng, 6, 3),
        free,
        free + 0.1 * rng.normal(size=(6, 3)),
    ]
    return Network(loss, [W, b, V, c], [x, y, u, noisy], batch, [z, clean, moved])


@network("mixture of experts", "a soft gate over the outputs of three experts")
def mixture_of_experts(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    G, g = layer(rng, "gate", 3, 3)
    experts = [(*layer(rng, f"{k}a", 3, 4), *layer(rng, f"{k}b", 4, 2)) for k in range(3)]
    gate = softmax(x @ G + g, axis=1)
    outputs = pt.stack([pt.tanh(x @ W + b) @ V + c for W, b, V, c in experts], axis=1)
    z = (gate[:, :, None] * outputs).sum(axis=1)
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    parameters = [G, g, *(p for expert in experts for p in expert)]
    return Network(((z - y) ** 2).mean(), parameters, [x, y], batch, [z])


@network("batched experts", "the weights of all experts in one array (E, d_in, d_out)")
def batched_experts(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, b = weight(rng, "W", 3, 3, 4), small(rng, "b", 3, 4)
    V = weight(rng, "V", 3, 4, 2)
    h = pt.tanh(pt.matmul(x, W) + b[:, None, :])
    z = pt.matmul(h, V).mean(axis=0)
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V], [x, y], batch, [z])


@network("depthwise conv", "a filter for each channel: a sum of shifted, scaled maps")
def depthwise_conv(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 6, 3)), pt.lvector("y")
    K, b = small(rng, "K", 3, 3), small(rng, "b", 3)
    W, c = layer(rng, "out", 3, 3)
    h = sum(x[:, k : k + 4, :] * K[k] for k in range(3)) + b
    logits = pt.tanh(h).mean(axis=1) @ W + c
    batch = [rng.normal(size=(6, 6, 3)), labels(rng, 6, 3)]
    return Network(cross_entropy(logits, y), [K, b, W, c], [x, y], batch, [logits])


@network("conv of slices", "a causal convolution as a sum of shifted products, W[k]")
def conv_of_slices(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 5, 3)), pt.lvector("y")
    K, b = weight(rng, "K", 2, 3, 4), small(rng, "b", 4)
    W, c = layer(rng, "out", 4, 3)
    h = x[:, 1:] @ K[0] + x[:, :-1] @ K[1] + b
    logits = pt.tanh(h).mean(axis=1) @ W + c
    batch = [rng.normal(size=(6, 5, 3)), labels(rng, 6, 3)]
    return Network(cross_entropy(logits, y), [K, b, W, c], [x, y], batch, [logits])


@network("relative bias", "attention with a learned bias for each pair of positions")
def relative_bias(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 4, 3)), pt.lvector("y")
    q, k, v = (weight(rng, name, 3, 4) for name in "qkv")
    bias = small(rng, "bias", 4, 4)
    W, b = layer(rng, "out", 4, 3)
    logits = attend(x @ q, x @ k, x @ v, bias).mean(axis=1) @ W + b
    batch = [rng.normal(size=(5, 4, 3)), labels(rng, 5, 3)]
    parameters = [q, k, v, bias, W, b]
    return Network(cross_entropy(logits, y), parameters, [x, y], batch, [logits])


@network("class token", "a learned token put before the sequence, its output classified")
def class_token(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 3, 4)), pt.lvector("y")
    token = small(rng, "token", 4)
    q, k, v = (weight(rng, name, 4, 4) for name in "qkv")
    W, b = layer(rng, "out", 4, 3)
    first = pt.broadcast_to(token, (x.shape[0], 1, 4))
    h = pt.concatenate([first, x], axis=1)
    logits = attend(h @ q, h @ k, h @ v)[:, 0] @ W + b
    batch = [rng.normal(size=(5, 3, 4)), labels(rng, 5, 3)]
    return Network(cross_entropy(logits, y), [token, q, k, v, W, b], [x, y], batch, [logits])


@network("gru unrolled", "a gated unit unrolled by a Python loop")
def gru_unrolled(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 3, 3)), pt.lvector("y")
    W, b = layer(rng, "gates", 7, 8)
    C, d = layer(rng, "candidate", 7, 4)
    V, c = layer(rng, "out", 4, 3)
    h = pt.zeros((x.shape[0], 4))
    for t in range(3):
        gates = pt.sigmoid(pt.concatenate([x[:, t], h], axis=1) @ W + b)
        reset, update = gates[:, :4], gates[:, 4:]
        candidate = pt.tanh(pt.concatenate([x[:, t], reset * h], axis=1) @ C + d)
        h = (1 - update) * h + update * candidate
    logits = h @ V + c
    batch = [rng.normal(size=(6, 3, 3)), labels(rng, 6, 3)]
    return Network(cross_entropy(logits, y), [W, b, C, d, V, c], [x, y], batch, [logits])


@network("radial basis", "centres and widths learned: exp(-|x - c|^2 / 2 s^2) @ W")
def radial_basis(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    centres, log_width = weight(rng, "centres", 5, 3), small(rng, "log_width", 5)
    W, b = layer(rng, "out", 5, 2)
    squared = ((x[:, None, :] - centres[None]) ** 2).sum(axis=2)
    z = pt.exp(-0.5 * squared * pt.exp(-2 * log_width)) @ W + b
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [centres, log_width, W, b], [x, y], batch, [z])
