"""Train a convolutional net on scikit-learn's digits, and print its layers and its accuracy."""

import numpy as np
import pytensor
from pytensor_ml.activations import ReLU
from pytensor_ml.layers import Conv2D, Flatten, Input, Linear, MaxPool2D, Sequential
from pytensor_ml.loss import CrossEntropy, supervised_loss
from pytensor_ml.model import Model
from sklearn.datasets import load_digits

import kfgn_graph as kfgn

# --- data: images of 8 x 8 pixels with one channel, the channel last
digits = load_digits()
images, labels = digits.images[..., None] / 16, digits.target
rng = np.random.default_rng(0)
train, held_out = np.split(rng.permutation(len(images)), [1500])

# --- network: two convolutions with pooling, and a dense layer
X = Input("X", shape=(None, 8, 8, 1))
logits = Sequential(
    Conv2D("conv1", in_channels=1, out_channels=8, kernel_size=3, padding="same"),
    ReLU(),
    MaxPool2D(),
    Conv2D("conv2", in_channels=8, out_channels=16, kernel_size=3, padding="same"),
    ReLU(),
    MaxPool2D(),
    Flatten,
    Linear("dense", n_in=64, n_out=10),
)(X)
model = Model(logits).initialize(seed=0)
loss, target = supervised_loss(logits, CrossEntropy(expect_logits=True))

# --- update: all parameters, by the default method
update = kfgn.compile_update(loss, model.weights, [X, target], refresh_every=10)

# --- train: batches of 250
for _ in range(10):
    for batch in np.split(rng.permutation(train), 6):
        stats = update(images[batch], labels[batch])

# --- layers: the table of the update, without what depends on the machine
table = update.explain().split("\n\n")[1]
print(table[: table.index("compiled")].rstrip())

# --- accuracy: on images that were not trained on
predict = pytensor.function([X], logits, mode=update.mode)
right = np.asarray(predict(images[held_out])).argmax(axis=1) == labels[held_out]
print(f"\nloss of the last batch: {stats.loss:.3f}")
print(f"accuracy on {right.size} held-out images: {right.mean():.3f}")

# --- check
assert right.mean() > 0.95
