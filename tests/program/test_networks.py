import numpy as np
import pytensor
import pytest

import kfgn_graph as kfgn
from kfgn_graph.program.stacks import glorot_uniform

# JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")


def values_of(network: kfgn.Network) -> list[np.ndarray]:
    return [parameter.get_value() for parameter in network.parameters]


def forward(values: list[np.ndarray], x: np.ndarray, linear: tuple[int, ...] = ()) -> np.ndarray:
    layers = list(zip(values[::2], values[1::2], strict=True))
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if index < len(layers) - 1 and index not in linear:
            x = np.tanh(x)
    return x


@pytest.mark.parametrize("linear", [(), (1,), (-2,)])
def test_the_bernoulli_loss_is_the_cross_entropy(
    rng: np.random.Generator, linear: tuple[int, ...]
) -> None:
    sizes = [6, 5, 2, 5, 6]
    network = kfgn.perceptron(sizes, "bernoulli", targets=False, linear=linear, dtype="float64")
    x = rng.uniform(0.05, 0.95, (7, 6))
    logits = forward(values_of(network), x, tuple(index % 3 for index in linear))
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1))
    loss, found = pytensor.function(
        list(network.inputs), [network.loss, network.reconstruction], mode="JAX"
    )(x)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(found, p, rtol=1e-12)


def test_the_squared_loss_is_half_the_squared_distance(rng: np.random.Generator) -> None:
    network = kfgn.perceptron([6, 3, 2], "squared", dtype="float64")
    x, y = rng.normal(size=(7, 6)), rng.normal(size=(7, 2))
    difference = forward(values_of(network), x) - y
    loss = pytensor.function(list(network.inputs), network.loss, mode="JAX")(x, y)
    assert float(loss) == pytest.approx(0.5 * np.mean(np.sum(difference**2, axis=1)), rel=1e-12)


def test_the_softmax_loss_is_the_mean_negative_log_probability(rng: np.random.Generator) -> None:
    network = kfgn.perceptron((6, 5, 3), "softmax", dtype="float64")
    x, labels = rng.normal(size=(7, 6)), rng.integers(0, 3, 7)
    logits = forward(values_of(network), x)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = pytensor.function(list(network.inputs), network.loss, mode="JAX")(x, labels)
    assert float(loss) == pytest.approx(-np.mean(np.log(p[np.arange(7), labels])), rel=1e-12)


def test_parameters_follow_the_seed_and_the_dtype() -> None:
    first, same, other = (
        values_of(kfgn.perceptron([6, 3, 6], "squared", seed=seed)) for seed in (0, 0, 1)
    )
    assert all(value.dtype == np.float32 for value in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not first[1].any()


def test_glorot_s_limits(rng: np.random.Generator) -> None:
    drawn = glorot_uniform(rng, 300, 200)
    limit = np.sqrt(6 / 500)
    assert np.abs(drawn).max() <= limit
    assert drawn.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": "hinge"}, "loss: found 'hinge'; allowed: bernoulli, squared, softmax"),
        ({"activation": "elu"}, "activation: found 'elu'"),
        ({"initialisation": "zeros"}, "initialisation: found 'zeros'"),
        ({"sizes": [6]}, "two or more"),
        ({"sizes": [6, 0, 6]}, "positive widths"),
        ({"sizes": [6, 3, 2], "targets": False}, "equally wide"),
        ({"loss": "softmax", "targets": False}, "needs labels"),
        ({"sizes": [6, 4, 3, 6], "tied": True}, "symmetric"),
        ({"sizes": [6, 4, 4, 6], "tied": True}, "even number of layers"),
        ({"linear": [1]}, "linear: found 1; there are 1 hidden layers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments: dict[str, object], words: str) -> None:
    settings = {"sizes": [6, 3, 6], "loss": "squared", **arguments}
    with pytest.raises(kfgn.SpecError, match=words):
        kfgn.perceptron(**settings)  # type: ignore[arg-type]
