import numpy as np
import pytensor
import pytest

from experiments.training import parameter_values
from kfgn_graph.program.networks import autoencoder, classifier, glorot_uniform


def forward(values: list[np.ndarray], x: np.ndarray, linear: tuple[int, ...] = ()) -> np.ndarray:
    layers = list(zip(values[::2], values[1::2], strict=True))
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if index < len(layers) - 1 and index not in linear:
            x = np.tanh(x)
    return x


def test_the_autoencoder_has_the_paper_s_widths() -> None:
    shapes = [value.shape for value in parameter_values(autoencoder(784))][::2]
    assert shapes == [
        (784, 1000),
        (1000, 500),
        (500, 250),
        (250, 30),
        (30, 250),
        (250, 500),
        (500, 1000),
        (1000, 784),
    ]


@pytest.mark.parametrize("linear_code", [False, True])
def test_the_bernoulli_loss_is_the_cross_entropy(
    rng: np.random.Generator, linear_code: bool
) -> None:
    network = autoencoder(6, (5, 2, 5), linear_code=linear_code, dtype="float64")
    x = rng.uniform(0.05, 0.95, (7, 6))
    logits = forward(parameter_values(network), x, (1,) if linear_code else ())
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1))
    loss, found = pytensor.function(
        list(network.inputs), [network.loss, network.reconstruction], mode="JAX"
    )(x)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found, p, rtol=1e-12)


def test_the_squared_loss_is_half_the_squared_distance(rng: np.random.Generator) -> None:
    network = autoencoder(6, (3,), loss="squared", dtype="float64")
    x = rng.normal(size=(7, 6))
    difference = forward(parameter_values(network), x) - x
    loss = pytensor.function(list(network.inputs), network.loss, mode="JAX")(x)
    assert float(loss) == pytest.approx(0.5 * np.mean(np.sum(difference**2, axis=1)), rel=1e-12)


# JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
@pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")
def test_the_classifier_s_loss_is_the_mean_negative_log_probability(
    rng: np.random.Generator,
) -> None:
    network = classifier((6, 5, 3), dtype="float64")
    x, labels = rng.normal(size=(7, 6)), rng.integers(0, 3, 7)
    logits = forward(parameter_values(network), x)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = pytensor.function(list(network.inputs), network.loss, mode="JAX")(x, labels)
    assert float(loss) == pytest.approx(-np.mean(np.log(p[np.arange(7), labels])), rel=1e-12)


def test_parameters_follow_the_seed_and_the_dtype() -> None:
    first, same, other = (parameter_values(autoencoder(6, (3,), seed=s)) for s in (0, 0, 1))
    assert all(value.dtype == np.float32 for value in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not first[1].any()


def test_glorot_s_limits(rng: np.random.Generator) -> None:
    drawn = glorot_uniform(rng, 300, 200)
    limit = np.sqrt(6 / 500)
    assert np.abs(drawn).max() <= limit
    assert drawn.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)


def test_a_sigmoid_autoencoder_s_output_depends_on_its_input() -> None:
    network = autoencoder(50, (80, 60, 40, 30, 40, 60, 80), activation="sigmoid")
    x = np.random.default_rng(0).random((200, 50), dtype=np.float32)
    logits = network.logits.eval({network.inputs[0]: x})
    # the spread over examples, beside that over outputs
    assert logits.std(axis=0).mean() > 1e-3 * logits.std()
