from itertools import pairwise

import numpy as np
import pytest

from experiments.networks import PAPER_HIDDEN, autoencoder, classifier, regressor
from experiments.training import parameter_values

X = np.random.default_rng(0).random((7, 6), dtype=np.float32)


def test_the_autoencoder_has_the_paper_s_widths() -> None:
    shapes = [value.shape for value in parameter_values(autoencoder(784))][::2]
    widths = (784, *PAPER_HIDDEN, 784)
    assert shapes == list(pairwise(widths))
    assert PAPER_HIDDEN == (1000, 500, 250, 30, 250, 500, 1000)


def test_a_linear_code_is_the_narrowest_layer_and_has_no_activation() -> None:
    network = autoencoder(6, (5, 2, 5), linear_code=True)
    W1, b1, W2, b2, W3, b3, W4, b4 = parameter_values(network)
    code = np.tanh(X @ W1 + b1) @ W2 + b2
    expected = np.tanh(code @ W3 + b3) @ W4 + b4
    np.testing.assert_allclose(network.logits.eval({network.inputs[0]: X}), expected, rtol=1e-4)


def test_only_the_autoencoder_is_its_own_target() -> None:
    assert len(autoencoder(6, (3,)).inputs) == 1
    assert [v.type.dtype for v in classifier((6, 5, 3)).inputs] == ["float32", "int64"]
    assert [v.type.ndim for v in regressor((6, 5, 3)).inputs] == [2, 2]


def test_a_sigmoid_autoencoder_s_output_depends_on_its_input() -> None:
    network = autoencoder(50, (80, 60, 40, 30, 40, 60, 80), activation="sigmoid")
    x = np.random.default_rng(0).random((200, 50), dtype=np.float32)
    logits = network.logits.eval({network.inputs[0]: x})
    # the spread over examples, beside that over outputs
    assert logits.std(axis=0).mean() > 1e-3 * logits.std()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_alone_decides_the_weights(seed: int) -> None:
    first, again = (parameter_values(regressor((6, 3), seed=seed)) for _ in range(2))
    other = parameter_values(regressor((6, 3), seed=seed + 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
