"""pytensor-ml's dense networks: losses, activations, norms, dropout, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable
from pytensor_ml.activations import (
    GELU,
    LeakyReLU,
    QuickGELU,
    ReLU,
    Sigmoid,
    Softmax,
    SoftPlus,
    Swish,
    Tanh,
)
from pytensor_ml.layers import (
    BatchNorm,
    Concatenate,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    Input,
    LayerNorm,
    Linear,
    RMSNorm,
    Sequential,
    Squeeze,
)
from pytensor_ml.loss import CrossEntropy, Loss, SquaredError, supervised_loss
from pytensor_ml.model import Model

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels

network = section("pytensor-ml")
Generator = np.random.Generator
Layer = Callable[[TensorVariable], TensorVariable]


def trained_on(
    rng: Generator,
    output: TensorVariable,
    loss: Loss,
    inputs: Sequence[TensorVariable],
    batch: Sequence[np.ndarray],
    split: TensorVariable | None = None,
) -> Network:
    """Return a model with a supervised loss; its weights are moved off their initial zeros.

    ``batch`` ends with the targets. ``split`` is where the loss is split from the network, if
    that is not the model's output.
    """
    model = Model(output).initialize(seed=rng)
    for parameter in model.weights:
        value = parameter.get_value()
        parameter.set_value(value + 0.1 * rng.normal(size=value.shape))
    objective, target = supervised_loss(output, loss)
    outputs = [output if split is None else split]
    return Network(objective, model.weights, [*inputs, target], batch, outputs)


def classifier(rng: Generator, *layers: Layer, width: int = 4) -> Network:
    """Return a classifier of rows: 4 - ``width``, the layers given, then 3 logits."""
    X = Input("X", shape=(None, 4))
    logits = Sequential(
        Linear("fc1", n_in=4, n_out=width), *layers, Linear("fc2", n_in=width, n_out=3)
    )(X)
    batch = [rng.normal(size=(8, 4)), labels(rng, 8, 3)]
    return trained_on(rng, logits, CrossEntropy(expect_logits=True), [X], batch)


def held(network: Network) -> Network:
    """Return the network to be read with the statistics of its batches held constant."""
    return replace(network, options={"batch_statistics": "hold"})


def one_hot(rng: Generator) -> np.ndarray:
    """Return one-hot labels of 8 examples and 3 classes."""
    return np.eye(3)[labels(rng, 8, 3)]


@network("mlp int", "logits and integer labels")
def mlp_int(rng: Generator) -> Network:
    return classifier(rng, Tanh())


@network("mlp onehot", "logits and one-hot labels")
def mlp_onehot(rng: Generator) -> Network:
    X = Input("X", shape=(None, 4))
    logits = Sequential(Linear("fc1", n_in=4, n_out=5), ReLU(), Linear("fc2", n_in=5, n_out=3))(X)
    loss = CrossEntropy(expect_logits=True, expect_onehot_labels=True)
    return trained_on(rng, logits, loss, [X], [rng.normal(size=(8, 4)), one_hot(rng)])


def probabilities(rng: Generator, loss: Loss, target: np.ndarray) -> Network:
    """Return a classifier that ends in a softmax."""
    X = Input("X", shape=(None, 4))
    logits = Sequential(Linear("fc1", n_in=4, n_out=5), Tanh(), Linear("fc2", n_in=5, n_out=3))(X)
    return trained_on(rng, Softmax()(logits), loss, [X], [rng.normal(size=(8, 4)), target], logits)


@network("mlp probabilities", "the default CrossEntropy: probabilities and integer labels")
def mlp_probabilities(rng: Generator) -> Network:
    return probabilities(rng, CrossEntropy(), labels(rng, 8, 3))


@network("mlp probabilities onehot sum", "probabilities, one-hot labels, summed loss")
def mlp_probabilities_onehot_sum(rng: Generator) -> Network:
    loss = CrossEntropy(reduction="sum", expect_onehot_labels=True)
    return probabilities(rng, loss, one_hot(rng))


@network("mse", "SquaredError")
def mse(rng: Generator) -> Network:
    X = Input("X", shape=(None, 4))
    y = Sequential(Linear("fc1", n_in=4, n_out=5), Tanh(), Linear("fc2", n_in=5, n_out=2))(X)
    return trained_on(
        rng, y, SquaredError(), [X], [rng.normal(size=(8, 4)), rng.normal(size=(8, 2))]
    )


def notebook(rng: Generator, normed: bool) -> Network:
    """Return the gallery's feed-forward network, narrower."""
    X = Input("X", shape=(None, 4))
    layers: list[Layer] = []
    for k, (d_in, d_out) in enumerate([(4, 6), (6, 5)]):
        layers.append(Linear(f"fc{k}", n_in=d_in, n_out=d_out))
        if normed:
            layers.append(BatchNorm(f"bn{k}", n_in=d_out))
        layers += [LeakyReLU(), Dropout(f"drop{k}", p=0.2, random_state=k)]
    logits = Sequential(*layers, Linear("logits", n_in=5, n_out=3))(X)
    loss = CrossEntropy(expect_onehot_labels=True, expect_logits=True)
    return trained_on(rng, logits, loss, [X], [rng.normal(size=(8, 4)), one_hot(rng)])


@network("notebook batchnorm dropout", "the gallery's mnist_feed_forward, narrower")
def notebook_batchnorm_dropout(rng: Generator) -> Network:
    return held(notebook(rng, normed=True))


@network("notebook without batchnorm", "the same with dropout alone")
def notebook_without_batchnorm(rng: Generator) -> Network:
    return notebook(rng, normed=False)


@network("batchnorm no affine", "BatchNorm(affine=False)")
def batchnorm_no_affine(rng: Generator) -> Network:
    return held(classifier(rng, BatchNorm("bn", n_in=4, affine=False), Tanh()))


@network("layernorm", "LayerNorm")
def layernorm(rng: Generator) -> Network:
    return classifier(rng, LayerNorm("ln", n_in=4), Tanh())


@network("layernorm no affine", "LayerNorm(affine=False)")
def layernorm_no_affine(rng: Generator) -> Network:
    return classifier(rng, LayerNorm("ln", n_in=4, affine=False), Tanh())


@network("rmsnorm", "RMSNorm")
def rmsnorm(rng: Generator) -> Network:
    return classifier(rng, RMSNorm("rms", n_in=4), Tanh())


@network("rmsnorm no affine", "RMSNorm(affine=False)")
def rmsnorm_no_affine(rng: Generator) -> Network:
    return classifier(rng, RMSNorm("rms", n_in=4, affine=False), Tanh())


@network("groupnorm", "GroupNorm with two groups")
def groupnorm(rng: Generator) -> Network:
    return classifier(rng, GroupNorm("gn", n_groups=2, n_in=6), Tanh(), width=6)


@network("groupnorm no affine", "GroupNorm(affine=False)")
def groupnorm_no_affine(rng: Generator) -> Network:
    return classifier(rng, GroupNorm("gn", n_groups=2, n_in=6, affine=False), Tanh(), width=6)


@network("act leakyrelu", "LeakyReLU")
def act_leakyrelu(rng: Generator) -> Network:
    return classifier(rng, LeakyReLU())


@network("act sigmoid", "Sigmoid")
def act_sigmoid(rng: Generator) -> Network:
    return classifier(rng, Sigmoid())


@network("act softplus", "SoftPlus")
def act_softplus(rng: Generator) -> Network:
    return classifier(rng, SoftPlus())


@network("act gelu", "GELU")
def act_gelu(rng: Generator) -> Network:
    return classifier(rng, GELU())


@network("act gelu tanh", "GELU(approximate=True)")
def act_gelu_tanh(rng: Generator) -> Network:
    return classifier(rng, GELU(approximate=True))


@network("act swish", "Swish")
def act_swish(rng: Generator) -> Network:
    return classifier(rng, Swish())


@network("act quickgelu", "QuickGELU")
def act_quickgelu(rng: Generator) -> Network:
    return classifier(rng, QuickGELU())


@network("act softmax hidden", "Softmax in a hidden layer")
def act_softmax_hidden(rng: Generator) -> Network:
    return classifier(rng, Softmax())


@network("concatenate squeeze", "a wide and a deep branch joined; Squeeze of the last axis")
def concatenate_squeeze(rng: Generator) -> Network:
    X = Input("X", shape=(None, 4))
    deep = Sequential(Linear("d1", n_in=4, n_out=5), Tanh(), Linear("d2", n_in=5, n_out=3))(X)
    merged = Concatenate([Linear("wide", n_in=4, n_out=2)(X), deep], axis=-1)
    y = Squeeze(Linear("out", n_in=5, n_out=1)(merged))
    return trained_on(rng, y, SquaredError(), [X], [rng.normal(size=(8, 4)), rng.normal(size=8)])


@network("embedding", "Embedding of three tokens, flattened")
def embedding(rng: Generator) -> Network:
    ids = Input("ids", shape=(None, 3), dtype="int64")
    logits = Sequential(
        Embedding("embed", n_embeddings=6, n_features=3),
        Flatten,
        Linear("fc", n_in=9, n_out=4),
        Tanh(),
        Linear("out", n_in=4, n_out=3),
    )(ids)
    batch = [labels(rng, 24, 6).reshape(8, 3), labels(rng, 8, 3)]
    return trained_on(rng, logits, CrossEntropy(expect_logits=True), [ids], batch)


def pooled(h: TensorVariable) -> TensorVariable:
    """Return the mean over the positions of (N, T, d)."""
    return pt.mean(h, axis=1)
