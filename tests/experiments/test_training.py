import itertools

import numpy as np
import pytest

import kfgn_graph as kfgn
from experiments.networks import autoencoder, classifier
from experiments.optimisers import FirstOrder, GaussNewton, optimiser
from experiments.runs import Budget
from experiments.training import (
    compile_evaluation,
    parameter_values,
    set_parameter_values,
    shuffled_batches,
    train,
)
from tests.stepping import slow


def test_batches_cover_an_epoch_once_and_keep_rows_together() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    batches = list(itertools.islice(shuffled_batches([x, x[:, 0] * 2], 3, seed=0), 6))
    first_epoch = np.concatenate([batch[0] for batch in batches[:3]]).ravel()
    assert len(set(first_epoch)) == 9
    assert not np.array_equal(first_epoch, np.concatenate([b[0] for b in batches[3:]]).ravel())
    for rows, doubled in batches:
        np.testing.assert_array_equal(rows[:, 0] * 2, doubled)
        assert rows.flags.c_contiguous


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="11 cannot be had from 10"):
        next(shuffled_batches([np.zeros((10, 2))], 11, seed=0))


@pytest.mark.parametrize(
    "arguments", [{}, {"updates": 0}, {"seconds": -1.0}], ids=["none", "zero", "negative"]
)
def test_an_empty_budget_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="udget"):
        Budget(**arguments)  # type: ignore[arg-type]


def test_a_budget_ends_at_whichever_limit_comes_first() -> None:
    budget = Budget(updates=10, seconds=5.0)
    assert budget.spent(5, 1.0) == pytest.approx(0.5)
    assert budget.spent(1, 5.0) == pytest.approx(1.0)


def test_the_evaluation_is_the_mean_over_examples_of_unequal_parts(
    rng: np.random.Generator,
) -> None:
    network = autoencoder(4, (3,))
    x = rng.random((10, 4), dtype=np.float32)
    whole = compile_evaluation(network, [x], 10, "jax")()
    parts = compile_evaluation(network, [x], 4, "jax")()
    assert parts == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("name", ["kfra", slow("kflr"), slow("kfac"), "adam"])
def test_every_method_lowers_the_loss_of_a_small_autoencoder(
    rng: np.random.Generator, name: str
) -> None:
    network = autoencoder(8, (6, 3, 6))
    x = rng.random((40, 2), dtype=np.float32) @ rng.random((2, 8), dtype=np.float32) / 2
    evaluate = compile_evaluation(network, [x], 40, "jax")
    batches = shuffled_batches([x], 20, seed=0)
    run = train(optimiser(name), network, batches, evaluate, Budget(updates=30), "jax")
    assert run.updates == len(run.seconds) == 30
    assert [e.updates for e in run.evaluations] == [0, 5, 10, 15, 20, 25, 30]
    assert run.seconds == sorted(run.seconds)
    assert run.compile_seconds > 0
    assert run.final.loss == pytest.approx(evaluate(), rel=1e-5)
    assert run.final.loss < run.evaluations[0].loss - 0.01


# JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
@pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")
def test_a_classifier_trains_on_inputs_and_labels(rng: np.random.Generator) -> None:
    network = classifier((4, 8, 2))
    x = rng.normal(size=(60, 4)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64)
    evaluate = compile_evaluation(network, [x, labels], 60, "jax")
    batches = shuffled_batches([x, labels], 30, seed=0)
    method = GaussNewton(damping=0.01, step=0.5)
    run = train(method, network, batches, evaluate, Budget(updates=20), "jax")
    assert run.final.loss < 0.5 * run.evaluations[0].loss


def test_the_same_start_gives_the_same_run_again(rng: np.random.Generator) -> None:
    network = autoencoder(5, (3,))
    x = rng.random((20, 5), dtype=np.float32)
    evaluate = compile_evaluation(network, [x], 20, "jax")
    initial = parameter_values(network)
    finals = []
    for _ in range(2):
        set_parameter_values(network, initial)
        batches = shuffled_batches([x], 10, seed=0)
        finals.append(train(FirstOrder(), network, batches, evaluate, Budget(updates=5), "jax"))
    assert finals[0].losses == finals[1].losses
    assert finals[0].final.loss == finals[1].final.loss


def test_evaluations_come_where_they_are_asked_for(rng: np.random.Generator) -> None:
    network = autoencoder(5, (3,))
    x = rng.random((20, 5), dtype=np.float32)
    evaluate = compile_evaluation(network, [x], 20, "jax")
    batches = shuffled_batches([x], 10, seed=0)
    run = train(FirstOrder(), network, batches, evaluate, Budget(updates=9), "jax", at=(2, 7, 30))
    assert [part.updates for part in run.evaluations] == [0, 2, 7, 9]


def test_a_run_whose_loss_is_lost_ends_early(rng: np.random.Generator) -> None:
    network = autoencoder(5, (3,), activation="relu", loss="squared")
    x = rng.random((20, 5), dtype=np.float32)
    evaluate = compile_evaluation(network, [x], 20, "jax")
    batches = shuffled_batches([x], 20, seed=0)
    method = FirstOrder("sgd", rate=1e12)
    run = train(method, network, batches, evaluate, Budget(updates=40), "jax", parts=8)
    assert run.lost
    assert run.diverged
    assert run.updates < 40


class Averaging:
    """Moves nothing; its averaged iterates are zeros."""

    name, settings, skipped = "Averaging", "", 2

    def compile(self, network: kfgn.Network, backend: str = "auto", seed: int = 0) -> "Averaging":
        self.network = network
        return self

    def __call__(self, *batch: np.ndarray) -> float:
        return 1.0

    def statistics(self) -> dict[str, float]:
        return {"damping": 3.0}

    def averaged(self) -> dict[str, np.ndarray]:
        return {str(p.name): np.zeros_like(p.get_value()) for p in self.network.parameters}


def test_averaged_iterates_are_evaluated_and_the_parameters_come_back(
    rng: np.random.Generator,
) -> None:
    network = autoencoder(5, (3,))
    x = rng.random((20, 5), dtype=np.float32)
    evaluate = compile_evaluation(network, [x], 20, "jax")
    before = parameter_values(network)
    batches = shuffled_batches([x], 10, seed=0)
    run = train(Averaging(), network, batches, evaluate, Budget(updates=2), "jax", parts=1)
    assert run.final.averaged_loss == pytest.approx(5 * np.log(2), rel=1e-5)
    assert run.final.loss == pytest.approx(run.evaluations[0].loss)
    assert run.final.statistics == {"damping": 3.0}
    assert run.skipped == 2
    for value, kept in zip(parameter_values(network), before, strict=True):
        np.testing.assert_array_equal(value, kept)
