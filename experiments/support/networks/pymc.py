"""PyMC models: the loss is the negative log joint density at shared values of the variables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.utils import rewrite_graph

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import bits, labels

network = section("PyMC")
Generator = np.random.Generator
N, D, H = 8, 3, 4


def maximum_a_posteriori(
    rng: Generator,
    model: pm.Model,
    outputs: Sequence[Variable],
    inputs: Sequence[Variable] = (),
    batch: Sequence[np.ndarray] = (),
) -> Network:
    """Return the negative log joint density of a model, its value variables shared.

    ``outputs`` are variables of the model in its random variables.
    """
    start = model.initial_point()
    values = [
        pytensor.shared(start[v.name] + 0.3 * rng.normal(size=np.shape(start[v.name])), v.name)
        for v in model.value_vars
    ]
    pairs = dict(zip(model.value_vars, values, strict=True))
    logp, *seen = model.replace_rvs_by_values([model.logp(), *outputs])
    graph = graph_replace([-logp, *seen], pairs, strict=False)
    # The model's own copy of an output is not that of its density: equal nodes are merged.
    loss, *seen = rewrite_graph(graph, include=("merge",), clone=False)
    return Network(loss, values, inputs, batch, seen)


def hidden_layers(x: Variable) -> Variable:
    """Return the activations of two layers with standard normal weights, as the example's."""
    w1 = pm.Normal("w_in_1", 0, sigma=1, shape=(D, H))
    w2 = pm.Normal("w_1_2", 0, sigma=1, shape=(H, H))
    return pt.tanh(pt.dot(pt.tanh(pt.dot(x, w1)), w2))


def classifier(rng: Generator, kind: str) -> Network:
    """Return the example's network for two classes.

    ``kind`` is 'p', 'total size', 'shared', 'minibatch' or 'logit'.
    """
    data, target = rng.normal(size=(N, D)), bits(rng, N)
    x, y = pt.matrix("x"), pt.vector("y")
    inputs, batch = [x, y], [data, target]
    with pm.Model() as model:
        if kind == "shared":
            x, y = pm.Data("x", data), pm.Data("y", target)
            inputs, batch = [], []
        if kind == "minibatch":
            x, y = pm.Minibatch(data, target, batch_size=5)
            inputs, batch = [], []
        w_out = pm.Normal("w_2_out", 0, sigma=1, shape=(H,))
        logit = pt.dot(hidden_layers(x), w_out)
        total = {"total_size": 10 * N} if kind in ("total size", "minibatch") else {}
        if kind == "logit":
            pm.Bernoulli("out", logit_p=logit, observed=y)
        else:
            pm.Bernoulli("out", pm.math.sigmoid(logit), observed=y, **total)
    return maximum_a_posteriori(rng, model, [logit], inputs, batch)


@network("bnn", "examples/variational_inference/bayesian_neural_network_advi")
def bnn(rng: Generator) -> Network:
    return classifier(rng, "p")


@network("bnn total size", "the same with total_size")
def bnn_total_size(rng: Generator) -> Network:
    return classifier(rng, "total size")


@network("bnn data shared", "data left where pm.Data keeps them: no inputs at all")
def bnn_data_shared(rng: Generator) -> Network:
    return classifier(rng, "shared")


@network("bnn minibatch", "pm.Minibatch draws rows inside the graph")
def bnn_minibatch(rng: Generator) -> Network:
    return classifier(rng, "minibatch")


@network("bnn logit", "logit_p in place of p")
def bnn_logit(rng: Generator) -> Network:
    return classifier(rng, "logit")


@network("bnn categorical", "three classes: pm.Categorical of a softmax")
def bnn_categorical(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    with pm.Model() as model:
        w_out = pm.Normal("w_2_out", 0, sigma=1, shape=(H, 3))
        logits = pt.dot(hidden_layers(x), w_out)
        pm.Categorical("out", p=pm.math.softmax(logits, axis=-1), observed=y)
    batch = [rng.normal(size=(N, D)), labels(rng, N, 3)]
    return maximum_a_posteriori(rng, model, [logits], [x, y], batch)


def regression(rng: Generator, learned: bool) -> Network:
    """Return a regression network with a normal likelihood."""
    x, y = pt.matrix("x"), pt.vector("y")
    with pm.Model() as model:
        w_out, b_out = pm.Normal("w_2_out", 0, sigma=1, shape=(H,)), pm.Normal("b_out", 0, 1)
        mu = pt.dot(hidden_layers(x), w_out) + b_out
        sigma = pm.HalfNormal("sigma", 1) if learned else 0.5
        pm.Normal("out", mu, sigma=sigma, observed=y)
    batch = [rng.normal(size=(N, D)), rng.normal(size=N)]
    return maximum_a_posteriori(rng, model, [mu], [x, y], batch)


@network("bnn regression sigma", "HalfNormal noise scale")
def bnn_regression_sigma(rng: Generator) -> Network:
    return regression(rng, learned=True)


@network("bnn regression", "known noise")
def bnn_regression(rng: Generator) -> Network:
    return regression(rng, learned=False)


@network("poisson glm", "Poisson regression with an intercept")
def poisson_glm(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.lvector("y")
    with pm.Model() as model:
        intercept = pm.Normal("intercept", 0, sigma=1)
        beta = pm.Normal("beta", 0, sigma=1, shape=D)
        eta = intercept + pt.dot(x, beta)
        pm.Poisson("out", mu=pm.math.exp(eta), observed=y)
    batch = [rng.normal(size=(N, D)), rng.poisson(2.0, size=N)]
    return maximum_a_posteriori(rng, model, [eta], [x, y], batch)


@network("pmf", "probabilistic matrix factorisation: R ~ N(U V^T)")
def pmf(rng: Generator) -> Network:
    R = pt.matrix("R")
    with pm.Model() as model:
        U = pm.Normal("U", 0, sigma=1, shape=(5, 2))
        V = pm.Normal("V", 0, sigma=1, shape=(4, 2))
        mean = pt.dot(U, V.T)
        pm.Normal("R", mean, sigma=0.5, observed=R)
    return maximum_a_posteriori(rng, model, [mean], [R], [rng.normal(size=(5, 4))])


@network("robust studentt", "linear regression with a Student t likelihood")
def robust_studentt(rng: Generator) -> Network:
    x, y = pt.matrix("x"), pt.vector("y")
    with pm.Model() as model:
        intercept = pm.Normal("intercept", 0, sigma=1)
        beta = pm.Normal("beta", 0, sigma=1, shape=D)
        mu = intercept + pt.dot(x, beta)
        pm.StudentT("out", nu=4, mu=mu, sigma=0.5, observed=y)
    batch = [rng.normal(size=(N, D)), rng.normal(size=N)]
    return maximum_a_posteriori(rng, model, [mu], [x, y], batch)
