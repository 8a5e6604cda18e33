"""Reused and factored weights, derivatives of the network, residual branches, tables."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.sparse as ps
import pytensor.tensor as pt
import scipy.sparse
from pytensor.tensor.variable import TensorVariable

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels, layer, near_one, small, weight
from experiments.support.networks.sequences import cross_entropy

network = section("blocks")
further = section("further")
Generator = np.random.Generator


def distance(left: TensorVariable, right: TensorVariable) -> TensorVariable:
    """Return the distance of each pair of embeddings."""
    return pt.sqrt(((left - right) ** 2).sum(axis=1) + 1e-6)


def contrastive(d: TensorVariable, same: TensorVariable) -> TensorVariable:
    """Return the contrastive loss of pairs at distances d."""
    return (same * d**2 + (1 - same) * pt.maximum(0, 2 - d) ** 2).mean()


@network("siamese", "same weights on two inputs, contrastive loss of the distance")
def siamese(rng: Generator) -> Network:
    left, right, same = pt.matrix("left"), pt.matrix("right"), pt.vector("same")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    d = distance(*(pt.tanh(x @ W + b) @ V + c for x in (left, right)))
    batch = [rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.integers(2, size=6) * 1.0]
    return Network(contrastive(d, same), [W, b, V, c], [left, right, same], batch, [d])


@network("siamese stacked", "the user's workaround: the pair as an extra axis")
def siamese_stacked(rng: Generator) -> Network:
    pair, same = pt.tensor3("pair"), pt.vector("same")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 2)
    z = pt.tanh(pair @ W + b) @ V + c
    d = distance(z[:, 0], z[:, 1])
    batch = [rng.normal(size=(6, 2, 3)), rng.integers(2, size=6) * 1.0]
    return Network(contrastive(d, same), [W, b, V, c], [pair, same], batch, [d])


@network("unet", "encoder-decoder with concatenated skip (dense)")
def unet(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W1, b1 = layer(rng, "down1", 4, 4)
    W2, b2 = layer(rng, "down2", 4, 3)
    W3, b3 = layer(rng, "up1", 3, 4)
    W4, b4 = layer(rng, "up2", 8, 4)
    skip = pt.tanh(x @ W1 + b1)
    up = pt.tanh(pt.tanh(skip @ W2 + b2) @ W3 + b3)
    z = pt.concatenate([up, skip], axis=1) @ W4 + b4
    batch = [rng.normal(size=(7, 4)), rng.normal(size=(7, 4))]
    parameters = [W1, b1, W2, b2, W3, b3, W4, b4]
    return Network(((z - y) ** 2).sum(axis=1).mean(), parameters, [x, y], batch, [z])


@network("deeponet no bias", "branch and trunk of aligned rows, their inner product")
def deeponet_no_bias(rng: Generator) -> Network:
    u, t, y = pt.matrix("u"), pt.matrix("t"), pt.vector("y")
    B1, c1 = layer(rng, "branch1", 4, 5)
    B2, c2 = layer(rng, "branch2", 5, 3)
    T1, d1 = layer(rng, "trunk1", 1, 5)
    T2, d2 = layer(rng, "trunk2", 5, 3)
    z = ((pt.tanh(u @ B1 + c1) @ B2 + c2) * pt.tanh(pt.tanh(t @ T1 + d1) @ T2 + d2)).sum(axis=1)
    batch = [rng.normal(size=(7, 4)), rng.uniform(size=(7, 1)), rng.normal(size=7)]
    parameters = [B1, c1, B2, c2, T1, d1, T2, d2]
    return Network(((z - y) ** 2).mean(), parameters, [u, t, y], batch, [z])


@network("deeponet grid", "the usual aligned form: branch (N, p) times trunk (M, p).T on a grid")
def deeponet_grid(rng: Generator) -> Network:
    u, y = pt.matrix("u"), pt.matrix("y")
    grid = pt.constant(np.linspace(0, 1, 4)[:, None])
    B1, c1 = layer(rng, "branch1", 4, 5)
    B2, c2 = layer(rng, "branch2", 5, 3)
    T1, d1 = layer(rng, "trunk1", 1, 5)
    T2, d2 = layer(rng, "trunk2", 5, 3)
    b = small(rng, "b")
    branch = pt.tanh(u @ B1 + c1) @ B2 + c2
    trunk = pt.tanh(pt.tanh(grid @ T1 + d1) @ T2 + d2)
    z = branch @ trunk.T + b
    batch = [rng.normal(size=(6, 4)), rng.normal(size=(6, 4))]
    parameters = [B1, c1, B2, c2, T1, d1, T2, d2, b]
    return Network(((z - y) ** 2).mean(), parameters, [u, y], batch, [z])


@network("pinn", "u' + u = 0, u(0) = 1, with u' by pytensor.grad of the network")
def pinn(rng: Generator) -> Network:
    t = pt.matrix("t")
    W1, b1 = layer(rng, "1", 1, 5)
    W2, b2 = layer(rng, "2", 5, 1)

    def u(points: TensorVariable) -> TensorVariable:
        return pt.tanh(points @ W1 + b1) @ W2 + b2

    value = u(t)
    slope = pytensor.grad(value.sum(), t)
    residual = slope + value
    start = u(pt.zeros((1, 1)))
    loss = (residual**2).mean() + ((start - 1) ** 2).sum()
    batch = [rng.uniform(0, 2, size=(8, 1))]
    return Network(loss, [W1, b1, W2, b2], [t], batch, [residual, start])


def coupling_flow(rng: Generator, scaled: bool, joined: bool = False) -> Network:
    """Return a flow of two affine coupling layers with the negative log likelihood.

    With ``scaled``, the log scales are tanh(...) times a learned factor for each coordinate.
    """
    x = pt.matrix("x")
    parameters = []
    z, logdet = x, pt.zeros(x.shape[0])
    for k in range(2):
        W, b = layer(rng, f"{k}1", 2, 4)
        V, c = layer(rng, f"{k}2", 4, 4)
        parameters += [W, b, V, c]
        kept, moved = (z[:, :2], z[:, 2:]) if k == 0 else (z[:, 2:], z[:, :2])
        st = pt.tanh(kept @ W + b) @ V + c
        s, t = pt.tanh(st[:, :2]), st[:, 2:]
        if scaled:
            factor = near_one(rng, f"factor{k}", 2)
            parameters.append(factor)
            s = factor * s
        moved = moved * pt.exp(s) + t
        logdet = logdet + s.sum(axis=1)
        z = pt.concatenate([kept, moved] if k == 0 else [moved, kept], axis=1)
    batch = [rng.normal(size=(8, 4))]
    if not joined:
        loss = -(-0.5 * (z**2).sum(axis=1) + logdet).mean()
        return Network(loss, parameters, [x], batch, [z, logdet])
    output = pt.concatenate([z, logdet[:, None]], axis=1)
    loss = (0.5 * (output[:, :4] ** 2).sum(axis=1) - output[:, 4]).mean()
    return Network(loss, parameters, [x], batch, [output], {"output": output})


@network("realnvp", "affine coupling layers; loss = negative log likelihood")
def realnvp(rng: Generator) -> Network:
    return coupling_flow(rng, scaled=True)


@network("realnvp joined", "z and logdet concatenated, passed as output=")
def realnvp_joined(rng: Generator) -> Network:
    return coupling_flow(rng, scaled=True, joined=True)


@further("coupling flow", "the same without learned factors of the log scales")
def plain_coupling_flow(rng: Generator) -> Network:
    return coupling_flow(rng, scaled=False)


def low_rank(rng: Generator, form: str) -> Network:
    """Return a layer with a low-rank term beside a frozen weight."""
    x, y = pt.matrix("x"), pt.matrix("y")
    W0 = weight(rng, "W0", 4, 5)
    A, B = weight(rng, "A", 4, 2), weight(rng, "B", 2, 5)
    V, c = layer(rng, "out", 5, 2)
    h = (x @ W0 + (x @ A) @ B) if form == "peft" else x @ (W0 + A @ B)
    z = pt.tanh(h) @ V + c
    batch = [rng.normal(size=(8, 4)), rng.normal(size=(8, 2))]
    parameters = [A, B] if form == "only" else [A, B, V, c]
    return Network(((z - y) ** 2).mean(), parameters, [x, y], batch, [z])


@network("lora", "frozen W0 plus trained A @ B")
def lora(rng: Generator) -> Network:
    return low_rank(rng, "sum")


@network("lora peft", "peft's way: x W0 + (x A) B")
def lora_peft(rng: Generator) -> Network:
    return low_rank(rng, "peft")


@network("lora only", "only A and B are trained")
def lora_only(rng: Generator) -> Network:
    return low_rank(rng, "only")


@network("weight norm", "W = g v / ‖v‖")
def weight_norm(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    v, g, b = weight(rng, "v", 4, 5), near_one(rng, "g", 5), small(rng, "b", 5)
    V, c = layer(rng, "out", 5, 2)
    W = g * v / pt.sqrt((v**2).sum(axis=0))
    z = pt.tanh(x @ W + b) @ V + c
    batch = [rng.normal(size=(8, 4)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [v, g, b, V, c], [x, y], batch, [z])


@network("weight left", "columns of features: W @ x.T as in many lecture notes")
def weight_left(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W1, b1 = weight(rng, "W1", 5, 3), small(rng, "b1", 5)
    W2, b2 = weight(rng, "W2", 2, 5), small(rng, "b2", 2)
    h = pt.tanh(W1 @ x.T + b1[:, None])
    z = (W2 @ h + b2[:, None]).T
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W1, b1, W2, b2], [x, y], batch, [z])


def factorised(rng: Generator) -> tuple[list, list]:
    """Return the tables of users and items with their biases, and the numbers of each."""
    U, V = small(rng, "U", 5, 3), small(rng, "V", 4, 3)
    bu, bv, mu = small(rng, "bu", 5), small(rng, "bv", 4), small(rng, "mu")
    return [U, V, bu, bv, mu], [5, 4]


@network("matrix factorisation", "embedding dot product with biases")
def matrix_factorisation(rng: Generator) -> Network:
    user, item, r = pt.lvector("user"), pt.lvector("item"), pt.vector("r")
    (U, V, bu, bv, mu), (users, items) = factorised(rng)
    z = (U[user] * V[item]).sum(axis=1) + bu[user] + bv[item] + mu
    batch = [labels(rng, 10, users), labels(rng, 10, items), rng.normal(size=10)]
    return Network(((z - r) ** 2).mean(), [U, V, bu, bv, mu], [user, item, r], batch, [z])


@network("matrix factorisation dense", "‖R - U V.T‖^2 over a whole rating matrix")
def matrix_factorisation_dense(rng: Generator) -> Network:
    R = pt.matrix("R")
    U, V = small(rng, "U", 5, 2), small(rng, "V", 4, 2)
    z = U @ V.T
    return Network(((R - z) ** 2).sum(), [U, V], [R], [rng.normal(size=(5, 4))], [z])


@network("onehot logreg", "sparse-like one-hot rows")
def onehot_logreg(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    W, b = layer(rng, "out", 6, 3)
    logits = x @ W + b
    batch = [np.eye(6)[labels(rng, 12, 6)], labels(rng, 12, 3)]
    return Network(cross_entropy(logits, y), [W, b], [x, y], batch, [logits])


@network("sparse logreg", "pytensor.sparse input")
def sparse_logreg(rng: Generator) -> Network:
    x, y = ps.csr_matrix("x", dtype="float64"), pt.lvector("y")
    W, b = layer(rng, "out", 6, 3)
    logits = ps.dot(x, W) + b
    rows = scipy.sparse.csr_matrix(np.eye(6)[labels(rng, 12, 6)] + np.eye(6)[labels(rng, 12, 6)])
    return Network(cross_entropy(logits, y), [W, b], [x, y], [rows, labels(rng, 12, 3)], [logits])


@network("bilinear", "x^T W y scores")
def bilinear(rng: Generator) -> Network:
    x, c, y = pt.matrix("x"), pt.matrix("c"), pt.vector("y")
    W = weight(rng, "W", 3, 4)
    z = ((x @ W) * c).sum(axis=1)
    loss = (pt.softplus(z) - y * z).mean()
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 4)), rng.integers(2, size=8) * 1.0]
    return Network(loss, [W], [x, c, y], batch, [z])


@network("ae tied linear", "linear autoencoder x W W.T")
def ae_tied_linear(rng: Generator) -> Network:
    x = pt.matrix("x")
    W = weight(rng, "W", 4, 2)
    z = x @ W @ W.T
    return Network(((z - x) ** 2).mean(), [W], [x], [rng.normal(size=(8, 4))], [z])


@network("neural ode rk4", "the same field at every stage: weights used many times")
def neural_ode_rk4(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W1, b1 = layer(rng, "1", 2, 4)
    W2, b2 = layer(rng, "2", 4, 2)

    def field(state: TensorVariable) -> TensorVariable:
        return pt.tanh(state @ W1 + b1) @ W2 + b2

    state, step = x, 0.5
    for _ in range(2):
        k1 = field(state)
        k2 = field(state + step / 2 * k1)
        k3 = field(state + step / 2 * k2)
        k4 = field(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    batch = [rng.normal(size=(8, 2)), rng.normal(size=(8, 2))]
    return Network(((state - y) ** 2).mean(), [W1, b1, W2, b2], [x, y], batch, [state])
