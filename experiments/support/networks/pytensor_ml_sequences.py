"""pytensor-ml's attention, transformers and recurrent networks."""

from __future__ import annotations

import numpy as np
from pytensor_ml.activations import Swish, Tanh
from pytensor_ml.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    CausalSelfAttention,
    FeedForward,
    Input,
    Linear,
    MultiheadAttention,
    Sequential,
    TransformerBlock,
)
from pytensor_ml.loss import CrossEntropy
from pytensor_ml.models import build_from_config
from pytensor_ml.params import TrainableParameter
from pytensor_ml.pytensorf import collect_trainable_params

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels
from experiments.support.networks.pytensor_ml import Layer, pooled, trained_on
from experiments.support.networks.sequences import next_token_loss

network = section("pytensor-ml")
further = section("further")
Generator = np.random.Generator


def sequence_classifier(rng: Generator, *layers: Layer, width: int = 4, count: int = 5) -> Network:
    """Return a classifier of (N, 3, 4) sequences: the layers, the mean over time, 3 logits."""
    X = Input("X", shape=(None, 3, 4))
    logits = Sequential(*layers, pooled, Linear("logits", n_in=width, n_out=3))(X)
    batch = [rng.normal(size=(count, 3, 4)), labels(rng, count, 3)]
    return trained_on(rng, logits, CrossEntropy(expect_logits=True), [X], batch)


def last(h):
    """Return the last step of (N, T, d)."""
    return h[..., -1, :]


def recurrent_classifier(rng: Generator, layer: Layer, width: int = 4) -> Network:
    """Return a classifier of (N, 3, 4) sequences by the last step of a recurrence."""
    X = Input("X", shape=(None, 3, 4))
    logits = Sequential(layer, last, Linear("logits", n_in=width, n_out=3))(X)
    batch = [rng.normal(size=(5, 3, 4)), labels(rng, 5, 3)]
    return trained_on(rng, logits, CrossEntropy(expect_logits=True), [X], batch)


@network("mha", "MultiheadAttention with two heads")
def mha(rng: Generator) -> Network:
    return sequence_classifier(rng, MultiheadAttention("attn", n_embd=4, n_head=2))


@network("mha fused", "the same, fused_qkv=True")
def mha_fused(rng: Generator) -> Network:
    attention = MultiheadAttention("attn", n_embd=4, n_head=2, fused_qkv=True)
    return sequence_classifier(rng, attention)


@network("mha gqa", "the same, n_kv_head=1")
def mha_gqa(rng: Generator) -> Network:
    return sequence_classifier(rng, MultiheadAttention("attn", n_embd=4, n_head=2, n_kv_head=1))


@network("causal", "CausalSelfAttention")
def causal(rng: Generator) -> Network:
    return sequence_classifier(rng, CausalSelfAttention("attn", n_embd=4, n_head=2))


@network("feedforward", "FeedForward")
def feedforward(rng: Generator) -> Network:
    return sequence_classifier(rng, FeedForward("ff", d_model=4, hidden_dim=5))


@network("feedforward gated", "FeedForward(gated=True) with Swish")
def feedforward_gated(rng: Generator) -> Network:
    block = FeedForward("ff", d_model=4, hidden_dim=5, gated=True, activation=Swish())
    return sequence_classifier(rng, block)


@network("transformer block", "TransformerBlock")
def transformer_block(rng: Generator) -> Network:
    block = TransformerBlock("block", d_model=4, n_head=2, mlp_ratio=1, activation=Tanh())
    return sequence_classifier(rng, block, count=4)


@network("rnn", "RNN, last step")
def rnn(rng: Generator) -> Network:
    return recurrent_classifier(rng, RNN("rnn", n_in=4, n_hidden=4))


@network("lstm", "LSTM, last step")
def lstm(rng: Generator) -> Network:
    return recurrent_classifier(rng, LSTM("lstm", n_in=4, n_hidden=3), width=3)


@network("bidirectional", "Bidirectional of two RNNs, mean over time")
def bidirectional(rng: Generator) -> Network:
    both = Bidirectional(RNN("fwd", n_in=4, n_hidden=3), RNN("bwd", n_in=4, n_hidden=3))
    return sequence_classifier(rng, both, width=6)


@further("gru", "GRU, last step")
def gru(rng: Generator) -> Network:
    return recurrent_classifier(rng, GRU("gru", n_in=4, n_hidden=3), width=3)


@network("gpt2", "models.architectures.gpt2 of one block, width 4, tied head")
def gpt2(rng: Generator) -> Network:
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": 5,
        "n_positions": 4,
        "n_embd": 4,
        "n_head": 2,
        "n_layer": 1,
        "n_inner": 4,
        "layer_norm_epsilon": 1e-5,
    }
    (ids,), (logits, *_), _ = build_from_config(config)
    y = Input("y", shape=(None, None), dtype="int64")
    parameters: list[TrainableParameter] = collect_trainable_params(logits)
    for parameter in parameters:
        shape = parameter.get_value().shape
        parameter.set_value(parameter.get_value() + 0.2 * rng.normal(size=shape))
    batch = [labels(rng, 12, 5).reshape(4, 3) for _ in range(2)]
    return Network(next_token_loss(logits, y), parameters, [ids, y], batch, [logits])
