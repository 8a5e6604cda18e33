"""pytensor-ml's convolutions, pooling, padding and upsampling."""

from __future__ import annotations

import numpy as np
from pytensor_ml.activations import ReLU, Tanh
from pytensor_ml.layers import (
    AvgPool2D,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    Flatten,
    GroupNorm,
    Input,
    Linear,
    MaxPool2D,
    ReflectionPad2D,
    ReplicationPad2D,
    Sequential,
    Upsample2D,
    ZeroPad2D,
)
from pytensor_ml.loss import CrossEntropy
from pytensor_ml.models import AttentionBlock2D, ResnetBlock2D

from experiments.support.catalogue import Network, section
from experiments.support.networks.drawing import labels
from experiments.support.networks.pytensor_ml import Layer, trained_on

network = section("pytensor-ml")
further = section("further")
blocks = section("blocks")
Generator = np.random.Generator


def image_classifier(
    rng: Generator, *layers: Layer, shape: tuple[int, ...], features: int, count: int = 5
) -> Network:
    """Return a classifier of images of some shape: the layers, Flatten, then 3 logits."""
    X = Input("X", shape=(None, *shape))
    logits = Sequential(*layers, Flatten, Linear("logits", n_in=features, n_out=3))(X)
    batch = [rng.normal(size=(count, *shape)), labels(rng, count, 3)]
    return trained_on(rng, logits, CrossEntropy(expect_logits=True), [X], batch)


@network("conv2d", "Conv2D, Tanh, Flatten, Linear")
def conv2d(rng: Generator) -> Network:
    conv = Conv2D("conv", in_channels=2, out_channels=3, kernel_size=2)
    return image_classifier(rng, conv, Tanh(), shape=(4, 4, 2), features=27)


@network("conv2d lenet", "two convolutions with ReLU and MaxPool2D")
def conv2d_lenet(rng: Generator) -> Network:
    layers = [
        Conv2D("conv1", in_channels=1, out_channels=3, kernel_size=3, padding="same"),
        ReLU(),
        MaxPool2D(),
        Conv2D("conv2", in_channels=3, out_channels=3, kernel_size=2),
        ReLU(),
    ]
    return image_classifier(rng, *layers, shape=(6, 6, 1), features=12)


@network("conv1d", "Conv1D with a stride and a dilation")
def conv1d(rng: Generator) -> Network:
    conv = Conv1D("conv", in_channels=2, out_channels=3, kernel_size=2, stride=2, dilation=2)
    return image_classifier(rng, conv, Tanh(), shape=(7, 2), features=9)


def between(rng: Generator, layer: Layer, side: int) -> Network:
    """Return a classifier with a layer between a 1 x 1 map and the logits."""
    layers = [Linear("mix", n_in=2, n_out=3), Tanh(), layer]
    return image_classifier(rng, *layers, shape=(4, 4, 2), features=3 * side * side)


@network("maxpool2d", "MaxPool2D after a Linear on the channels")
def maxpool2d(rng: Generator) -> Network:
    return between(rng, MaxPool2D(), 2)


@network("avgpool2d", "AvgPool2D, the same")
def avgpool2d(rng: Generator) -> Network:
    return between(rng, AvgPool2D(), 2)


@network("upsample nearest", "Upsample2D, nearest")
def upsample_nearest(rng: Generator) -> Network:
    return between(rng, Upsample2D(scale_factor=2), 8)


@network("upsample linear", "Upsample2D, bilinear")
def upsample_linear(rng: Generator) -> Network:
    return between(rng, Upsample2D(scale_factor=2, mode="bilinear"), 8)


@network("zeropad", "ZeroPad2D")
def zeropad(rng: Generator) -> Network:
    return between(rng, ZeroPad2D(padding=1), 6)


@network("reflectpad", "ReflectionPad2D")
def reflectpad(rng: Generator) -> Network:
    return between(rng, ReflectionPad2D(padding=1), 6)


@network("replicationpad", "ReplicationPad2D")
def replicationpad(rng: Generator) -> Network:
    return between(rng, ReplicationPad2D(padding=1), 6)


@network("resnetblock2d", "models.ResnetBlock2D with a shortcut")
def resnetblock2d(rng: Generator) -> Network:
    block = ResnetBlock2D("block", in_channels=2, out_channels=4, n_groups=2)
    return image_classifier(rng, block, shape=(3, 3, 2), features=36, count=4)


@network("attentionblock2d", "models.AttentionBlock2D")
def attentionblock2d(rng: Generator) -> Network:
    block = AttentionBlock2D("block", channels=4, n_groups=2)
    return image_classifier(rng, block, shape=(2, 2, 4), features=16, count=4)


@blocks("resnet conv block", "conv-norm-relu-conv + skip, kernels (k, k, C, F)")
def resnet_conv_block(rng: Generator) -> Network:
    inner = Sequential(
        Conv2D("conv1", in_channels=2, out_channels=2, kernel_size=3, padding="same", bias=False),
        GroupNorm("norm", n_groups=1, n_in=2),
        ReLU(),
        Conv2D("conv2", in_channels=2, out_channels=2, kernel_size=3, padding="same"),
    )
    return image_classifier(rng, lambda X: X + inner(X), shape=(3, 3, 2), features=18)


@further("conv transpose 2d", "ConvTranspose2D with a stride")
def conv_transpose_2d(rng: Generator) -> Network:
    up = ConvTranspose2D("up", in_channels=2, out_channels=2, kernel_size=2, stride=2)
    return image_classifier(rng, up, Tanh(), shape=(2, 2, 2), features=32)


@further("conv transpose 1d", "ConvTranspose1D")
def conv_transpose_1d(rng: Generator) -> Network:
    up = ConvTranspose1D("up", in_channels=2, out_channels=3, kernel_size=3)
    return image_classifier(rng, up, Tanh(), shape=(3, 2), features=15)
