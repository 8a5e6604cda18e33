"""Attention, transformers, mixers and networks on sets and graphs."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax, softmax
from pytensor.tensor.variable import TensorVariable

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels, layer, near_one, small, weight

network = section("blocks")
Generator = np.random.Generator


def cross_entropy(logits: TensorVariable, y: TensorVariable) -> TensorVariable:
    """Return the mean cross-entropy of labels (N,) from logits (N, classes)."""
    return -log_softmax(logits, axis=-1)[pt.arange(y.shape[0]), y].mean()


def next_token_loss(logits: TensorVariable, y: TensorVariable) -> TensorVariable:
    """Return the mean cross-entropy of tokens (N, T) from logits (N, T, vocabulary)."""
    logp = log_softmax(logits, axis=-1)
    return -pt.take_along_axis(logp, y[..., None], axis=-1).mean()


def attend(q: TensorVariable, k: TensorVariable, v: TensorVariable, mask: object = None):
    """Return the attention of queries over values, all of shape (N, T, d)."""
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.type.shape[-1] or 4)
    if mask is not None:
        scores = scores + mask
    return softmax(scores, axis=-1) @ v


class Block:
    """A transformer block of width d; ``scaled`` gives its norms a scale and a shift."""

    def __init__(self, rng: Generator, name: str, d: int, hidden: int, scaled: bool = True):
        self.q, self.k, self.v, self.o = (weight(rng, f"{name}_{c}", d, d) for c in "qkvo")
        self.W1, self.b1 = layer(rng, f"{name}_1", d, hidden)
        self.W2, self.b2 = layer(rng, f"{name}_2", hidden, d)
        self.parameters = [self.q, self.k, self.v, self.o, self.W1, self.b1, self.W2, self.b2]
        self.scales = (
            [(near_one(rng, f"{name}_g{i}", d), small(rng, f"{name}_s{i}", d)) for i in range(2)]
            if scaled
            else []
        )
        self.parameters += [p for pair in self.scales for p in pair]

    def norm(self, x: TensorVariable, number: int) -> TensorVariable:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / pt.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
        if not self.scales:
            return x
        scale, shift = self.scales[number]
        return x * scale + shift

    def __call__(self, x: TensorVariable, mask: object = None) -> TensorVariable:
        a = self.norm(x, 0)
        x = x + attend(a @ self.q, a @ self.k, a @ self.v, mask) @ self.o
        a = self.norm(x, 1)
        return x + pt.tanh(a @ self.W1 + self.b1) @ self.W2 + self.b2


@network("attention pool", "one attention layer, mean pooling, classifier")
def attention_pool(rng: Generator) -> Network:
    x, y = pt.tensor("x", shape=(None, 4, 3)), pt.lvector("y")
    q, k, v = (weight(rng, name, 3, 4) for name in "qkv")
    W, b = layer(rng, "out", 4, 3)
    logits = attend(x @ q, x @ k, x @ v).mean(axis=1) @ W + b
    batch = [rng.normal(size=(6, 4, 3)), labels(rng, 6, 3)]
    return Network(cross_entropy(logits, y), [q, k, v, W, b], [x, y], batch, [logits])


def encoder(rng: Generator, scaled: bool) -> Network:
    """Return a one-block encoder with mean pooling and a classifier."""
    x, y = pt.tensor("x", shape=(None, 4, 4)), pt.lvector("y")
    block = Block(rng, "block", 4, 6, scaled)
    W, b = layer(rng, "out", 4, 3)
    logits = block(x).mean(axis=1) @ W + b
    batch = [rng.normal(size=(5, 4, 4)), labels(rng, 5, 3)]
    parameters = [*block.parameters, W, b]
    return Network(cross_entropy(logits, y), parameters, [x, y], batch, [logits])


@network("transformer encoder", "pre-norm block, mean pooling, classifier")
def transformer_encoder(rng: Generator) -> Network:
    return encoder(rng, scaled=True)


@network("transformer encoder plain norm", "the same, norms without scale and shift")
def transformer_encoder_plain_norm(rng: Generator) -> Network:
    return encoder(rng, scaled=False)


def gpt(rng: Generator, head: str) -> Network:
    """Return a one-block language model; ``head`` is 'tied', 'untied' or 'frozen'."""
    V, T, d = 5, 3, 4
    ids, y = pt.lmatrix("ids"), pt.lmatrix("y")
    E, P = small(rng, "E", V, d), small(rng, "P", T, d)
    block = Block(rng, "block", d, 5)
    scale, shift = near_one(rng, "scale", d), small(rng, "shift", d)
    mask = np.triu(np.full((T, T), -1e9), 1)
    h = block(E[ids] + P, mask)
    h = h - h.mean(axis=-1, keepdims=True)
    h = h / pt.sqrt((h**2).mean(axis=-1, keepdims=True) + 1e-5) * scale + shift
    parameters = [*block.parameters, scale, shift]
    if head != "frozen":
        parameters += [E, P]
    if head == "tied":
        logits = h @ E.T
    else:
        W = weight(rng, "W_head", d, V)
        parameters.append(W)
        logits = h @ W
    batch = [labels(rng, 4 * T, V).reshape(4, T) for _ in range(2)]
    return Network(next_token_loss(logits, y), parameters, [ids, y], batch, [logits])


@network("gpt tied", "token and position embeddings, causal block, head E.T")
def gpt_tied(rng: Generator) -> Network:
    return gpt(rng, "tied")


@network("gpt untied", "the same with a head of its own")
def gpt_untied(rng: Generator) -> Network:
    return gpt(rng, "untied")


@network("gpt frozen embedding", "the same, embeddings not trained")
def gpt_frozen_embedding(rng: Generator) -> Network:
    return gpt(rng, "frozen")


def mixer(rng: Generator, normed: bool) -> Network:
    """Return an MLP mixer of one block."""
    T, d = 4, 3
    x, y = pt.tensor("x", shape=(None, T, d)), pt.lvector("y")
    W1, b1 = layer(rng, "token1", T, 5)
    W2, b2 = layer(rng, "token2", 5, T)
    V1, c1 = layer(rng, "channel1", d, 5)
    V2, c2 = layer(rng, "channel2", 5, d)
    W, b = layer(rng, "out", d, 3)
    parameters = [W1, b1, W2, b2, V1, c1, V2, c2, W, b]
    norms = [(near_one(rng, f"g{i}", d), small(rng, f"s{i}", d)) for i in range(2)]

    def norm(h: TensorVariable, number: int) -> TensorVariable:
        if not normed:
            return h
        h = h - h.mean(axis=-1, keepdims=True)
        scale, shift = norms[number]
        return h / pt.sqrt(h.var(axis=-1, keepdims=True) + 1e-5) * scale + shift

    u = norm(x, 0).transpose(0, 2, 1)
    h = x + (pt.tanh(u @ W1 + b1) @ W2 + b2).transpose(0, 2, 1)
    h = h + pt.tanh(norm(h, 1) @ V1 + c1) @ V2 + c2
    logits = h.mean(axis=1) @ W + b
    if normed:
        parameters += [p for pair in norms for p in pair]
    batch = [rng.normal(size=(5, T, d)), labels(rng, 5, 3)]
    return Network(cross_entropy(logits, y), parameters, [x, y], batch, [logits])


@network("mlp mixer", "token mixing by transposition, channel mixing")
def mlp_mixer(rng: Generator) -> Network:
    return mixer(rng, normed=True)


@network("mixer no norm", "the same without norms")
def mixer_no_norm(rng: Generator) -> Network:
    return mixer(rng, normed=False)


@network("swiglu", "gated feed-forward network without biases")
def swiglu(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.matrix("y")
    W, V, U = weight(rng, "W", 3, 5), weight(rng, "V", 3, 5), weight(rng, "U", 5, 2)
    gate = x @ W
    z = (gate * pt.sigmoid(gate) * (x @ V)) @ U
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    return Network(((z - y) ** 2).mean(), [W, V, U], [x, y], batch, [z])


@network("film", "conditioning c scales and shifts features of x")
def film(rng: Generator) -> Network:
    x, c, y = pt.matrix("x"), pt.matrix("c"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 4)
    G, S = weight(rng, "G", 2, 4), weight(rng, "S", 2, 4)
    g, s = near_one(rng, "g", 4), small(rng, "s", 4)
    V, v = layer(rng, "2", 4, 3)
    h = x @ W + b
    logits = pt.tanh(h * (c @ G + g) + c @ S + s) @ V + v
    batch = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), labels(rng, 8, 3)]
    return Network(cross_entropy(logits, y), [W, b, G, g, S, s, V, v], [x, c, y], batch, [logits])


@network("deepsets", "phi on each element, sum, rho")
def deepsets(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.vector("y")
    W, b = layer(rng, "phi", 3, 4)
    V, c = layer(rng, "rho1", 4, 4)
    U, d = layer(rng, "rho2", 4, 1)
    pooled = pt.tanh(x @ W + b).sum(axis=1)
    z = (pt.tanh(pooled @ V + c) @ U + d)[:, 0]
    batch = [rng.normal(size=(7, 4, 3)), rng.normal(size=7)]
    return Network(((z - y) ** 2).mean(), [W, b, V, c, U, d], [x, y], batch, [z])


@network("deepsets max masked", "padded sets: mask, mean over what is there")
def deepsets_max_masked(rng: Generator) -> Network:
    x, mask, y = pt.tensor3("x"), pt.matrix("mask"), pt.vector("y")
    W, b = layer(rng, "phi", 3, 4)
    U, d = layer(rng, "rho", 8, 1)
    h = pt.tanh(x @ W + b)
    there = mask[:, :, None]
    mean = (h * there).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    largest = pt.switch(there > 0, h, -1e9).max(axis=1)
    z = (pt.concatenate([mean, largest], axis=1) @ U + d).flatten()
    masks = (np.arange(4) < rng.integers(1, 5, size=(7, 1))).astype("float64")
    batch = [rng.normal(size=(7, 4, 3)), masks, rng.normal(size=7)]
    return Network(((z - y) ** 2).mean(), [W, b, U, d], [x, mask, y], batch, [z])


@network("deepsets reshape", "the same, time-distributed by flattening (N T, d) and back")
def deepsets_reshape(rng: Generator) -> Network:
    x, y = pt.tensor3("x"), pt.vector("y")
    W, b = layer(rng, "phi", 3, 4)
    U, d = layer(rng, "rho", 4, 1)
    N, T = x.shape[0], x.shape[1]
    h = pt.tanh(x.reshape((N * T, 3)) @ W + b).reshape((N, T, 4))
    z = (h.sum(axis=1) @ U + d)[:, 0]
    batch = [rng.normal(size=(7, 4, 3)), rng.normal(size=7)]
    return Network(((z - y) ** 2).mean(), [W, b, U, d], [x, y], batch, [z])


def flattened(rng: Generator, x: TensorVariable, count: int | None) -> Network:
    """Return a network that flattens after its first layer, by -1 where ``count`` is None."""
    y = pt.matrix("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 4)
    U, d = layer(rng, "3", 4, 2)
    h = pt.tanh(x @ W + b)
    T = h.shape[1] if count is None else 4
    rows = h.reshape((h.shape[0] * h.shape[1], 4) if count is None else (-1, 4))
    h = pt.tanh(rows @ V + c).reshape((h.shape[0] if count is None else -1, T, 4))
    z = h.mean(axis=1) @ U + d
    batch = [rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 2))]
    return Network(((z - y) ** 2).mean(), [W, b, V, c, U, d], [x, y], batch, [z])


@network("flatten middle", "layer on (N, T, d), flattened (N T, d) for the next, back, pooled")
def flatten_middle(rng: Generator) -> Network:
    return flattened(rng, pt.tensor3("x"), None)


@network("flatten middle static", "the same with -1 and numbers")
def flatten_middle_static(rng: Generator) -> Network:
    return flattened(rng, pt.tensor("x", shape=(None, 4, 3)), 4)


def adjacency(rng: Generator, *shape: int) -> np.ndarray:
    """Return symmetric adjacency matrices with self-loops, rows normalised."""
    A = rng.integers(2, size=shape)
    A = np.maximum(A, A.swapaxes(-1, -2)) + np.eye(shape[-1])
    return A / A.sum(axis=-1, keepdims=True)


@network("gcn full", "semi-supervised GCN: nodes are rows, A mixes them")
def gcn_full(rng: Generator) -> Network:
    A, x, y = pt.matrix("A"), pt.matrix("x"), pt.lvector("y")
    W, V = weight(rng, "W", 3, 4), weight(rng, "V", 4, 3)
    logits = A @ (pt.tanh(A @ (x @ W)) @ V)
    batch = [adjacency(rng, 7, 7), rng.normal(size=(7, 3)), labels(rng, 7, 3)]
    return Network(cross_entropy(logits, y), [W, V], [A, x, y], batch, [logits])


@network("gcn batched", "many small graphs: (N, nodes, nodes) adjacencies")
def gcn_batched(rng: Generator) -> Network:
    A, x, y = pt.tensor3("A"), pt.tensor3("x"), pt.lvector("y")
    W, b = layer(rng, "1", 3, 4)
    V, c = layer(rng, "2", 4, 4)
    U, d = layer(rng, "3", 4, 3)
    h = pt.tanh(pt.matmul(A, x @ W + b))
    h = pt.tanh(pt.matmul(A, h @ V + c))
    logits = h.mean(axis=1) @ U + d
    batch = [adjacency(rng, 6, 4, 4), rng.normal(size=(6, 4, 3)), labels(rng, 6, 3)]
    return Network(cross_entropy(logits, y), [W, b, V, c, U, d], [A, x, y], batch, [logits])
